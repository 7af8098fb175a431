"""The memory that an op takes for some channels of a tensor."""

from __future__ import annotations

from pathlib import Path

from helpers import compile_text
from test_memory import check, check_inference


def test_a_norm_that_reads_some_channels_copies_them_first(tmp_path: Path) -> None:
    program = compile_text("""
specgen: 1
name: Net
input: {channels: 3, height: 4, width: 4}
data: {size: 5}
layers:
  conv: {op: conv2d, out_channels: 12, kernel_size: 1}
  norm: {op: group_norm, num_groups: 2}
  flat: {op: flatten}
  fc: {op: linear, out_features: 2}
placement:
  devices: {gpu0: {}, gpu1: {}}
  layers: {conv: gpu0, norm: split, flat..fc: gpu0}
""")
    check(program, tmp_path)
    check_inference(program, tmp_path)
