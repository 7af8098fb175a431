"""The initial weights are those of the spec, exactly."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from helpers import compile_text, load

SPEC = """
specgen: 1
name: Net
input: {channels: 3, height: 8, width: 8}
layers:
  conv: {op: conv2d, out_channels: 4, kernel_size: 3, init: {bias: 1234567.25}}
  flat: {op: flatten}
  fc: {op: linear, out_features: 2, init: {weight: {normal: {std: 0.123456789012}}}}
"""


def test_start_has_the_numbers_of_the_spec(tmp_path: Path) -> None:
    module = load(compile_text(SPEC), tmp_path / "model.py")
    assert module.START["conv"] == (
        pytest.approx((2 / 27) ** 0.5, abs=1e-6),
        1234567.25,
    )
    assert module.START["fc"] == (0.123456789012, 0)
    net = module.Net(["cpu"])
    assert torch.equal(net.conv.bias, torch.full((4,), 1234567.25))
    assert net.fc.weight.std().item() == pytest.approx(0.1235, rel=0.1)
