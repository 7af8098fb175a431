"""Group norms where torch refuses them, or crashes."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from helpers import compile_data, refused
from scripts import generate, photos

from specgen.compiler import render

POOL = {"op": "max_pool2d", "kernel_size": 2}
CONV = {"op": "conv2d", "out_channels": 6, "kernel_size": 1}
NORM = {"op": "group_norm", "num_groups": 3}
END = {"flat": {"op": "flatten"}, "fc": {"op": "linear", "out_features": 3}}
ONE: dict[str, Any] = {"devices": {"gpu0": {}}}


def test_one_that_learns_first_trains_in_channels_last(tmp_path: Path) -> None:
    """In a process of its own, which torch would crash."""
    layers = {"pool": POOL, "norm": NORM} | END
    recipe = {"epochs": 1, "batch_size": 8}
    code = generate(tmp_path / "tiny", recipe, layers=layers, placement=ONE)
    data = photos(tmp_path / "photos")
    command: list[str | Path] = [
        sys.executable,
        code / "train.py",
        "--data",
        data,
        "--devices",
        "cpu",
    ]
    command += ["--workers", "0", "--output", tmp_path / "run"]
    ended = subprocess.run(command, capture_output=True, text=True)
    assert ended.returncode == 0, ended.stderr


@pytest.mark.parametrize(
    ("layers", "expected"),
    [
        ({"norm": NORM}, True),
        ({"norm": NORM | {"affine": False}}, False),
        ({"conv": CONV, "norm": NORM}, False),
        ({"norm": NORM, "conv": CONV, "again": NORM}, True),
        ({"conv": CONV, "norm": NORM | {"from": "input"}}, True),
    ],
)
def test_only_its_input_gets_a_gradient(layers: dict[str, Any], expected: bool) -> None:
    if "from" in layers["norm"]:
        layers = layers | {"cat": {"op": "concat", "from": ["conv", "norm"]}}
    data = {
        "specgen": 1,
        "name": "Net",
        "input": {"channels": 3, "height": 8, "width": 8},
        "layers": layers | END,
    }
    text = render(compile_data(data))["train.py"].decode()
    assert ("requires_grad_" in text) == expected


NET = """
specgen: 1
name: Net
input: {channels: 3, height: 8, width: 8}
layers:
  conv: {op: conv2d, out_channels: CHANNELS, kernel_size: 8}
  norm: {op: group_norm, num_groups: GROUPS}
  flat: {op: flatten}
  fc: {op: linear, out_features: 2}
"""


@pytest.mark.parametrize(
    ("channels", "help"),
    [(4, "divide the 4 channels into fewer groups"), (1, "remove the layer")],
)
def test_groups_of_one_value_are_refused(channels: int, help: str) -> None:
    """Their variance is 0 whatever the value is, and torch refuses them alone."""
    text = NET.replace("CHANNELS", str(channels)).replace("GROUPS", str(channels))
    (error,) = refused(text)
    said = "norm: each group has a single value, and normalizing that always gives 0"
    assert (error.message, error.help) == (said, help)
    assert error.path == ("layers", "norm", "num_groups")
