"""How a network can end: in a linear layer, or in a convolution and pooling."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from helpers import compile_text, model, refused

NET = """
specgen: 1
name: Net
input: {{channels: 3, height: 8, width: 8}}
layers:
  conv: {{op: conv2d, out_channels: {classes}, kernel_size: 1}}
  pool: {{op: adaptive_avg_pool2d, output_size: {size}}}
  {more}
"""


def test_a_convolution_and_global_pooling(tmp_path: Path) -> None:
    more = "flat: {op: flatten}\n  prob: {op: softmax}"
    program = compile_text(NET.format(classes=5, size=1, more=more))
    net = model(program, tmp_path)
    assert net(torch.rand(2, 3, 8, 8)).shape == (2, 5)


@pytest.mark.parametrize(
    ("size", "help"),
    [
        (1, "insert {op: flatten} after it: it has 5 scores"),
        (2, "end it with flatten, linear and softmax layers"),
    ],
)
def test_an_ending_in_maps(size: int, help: str) -> None:
    (found,) = refused(NET.format(classes=5, size=size, more=""))
    assert found.message.startswith("the network ends in maps (5, ")
    assert found.help == help


def test_a_single_score_is_blamed_on_what_makes_it() -> None:
    (found,) = refused(NET.format(classes=1, size=1, more="flat: {op: flatten}"))
    assert found.path == ("layers", "conv", "out_channels")
