"""A spec that says only what it must: it trains, and claims nothing."""

from __future__ import annotations

import re
from pathlib import Path

import pytest
from helpers import TOWERS, compile_text, write
from scripts import rows, run

from specgen import sample_data
from specgen.compiler import render
from specgen.spec.data import Data

SPEC = """\
specgen: 1
name: Small
input: {channels: 3, height: 32, width: 32}
layers:
  conv1: {op: conv2d, out_channels: 16, kernel_size: 3, padding: 1}
  relu1: {op: relu}
  pool1: {op: max_pool2d, kernel_size: 2}
  flat: {op: flatten}
  fc2: {op: linear, out_features: 10}
"""


def test_the_defaults_train(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sample_data, "IMAGES_PER_CLASS", {"train": 6, "val": 1})
    sample_data.render(tmp_path / "shapes")
    code = write(compile_text(SPEC), tmp_path / "code")
    out = tmp_path / "run"
    flags = ("--epochs", 10, "--batch-size", 30, "--workers", 0, "--output", out)
    ended = run(code / "train.py", "--data", tmp_path / "shapes", *flags)
    assert ended.code == 0, ended.err
    losses = [float(row["loss"]) for row in rows(out) if row["split"] == "train"]
    assert losses[0] < 5  # knowing nothing gives log(10), or 2.3
    assert losses[-1] < losses[0] / 2


@pytest.mark.parametrize(
    ("height", "width", "side"),
    [(224, 224, 256), (32, 32, 37), (8, 96, 110), (1, 1, 2)],
)
def test_images_are_a_little_larger_than_crops(
    height: int, width: int, side: int
) -> None:
    assert Data().side(height, width) == side
    assert Data(size=300).side(height, width) == 300


def test_a_network_cites_no_paper_but_its_own() -> None:
    more = "  spatial: {op: spatial_response_norm, size: 3}\n  pool1:"
    reference = "reference: A paper of ours, Section 9\n"
    program = compile_text(TOWERS.replace("  pool1:", more) + reference)
    files = render(program)
    source = "Krizhevsky, Sutskever & Hinton (NIPS 2012), Section 5"
    for name in ("model.py", "recipe.py", "model.onnx.txt"):
        text = " ".join(files[name].decode().split())
        text = text.replace(source, "").replace("A paper of ours, Section 9.", "")
        claims = re.findall(r"paper|published|Section|20\d\d|AlexNet|ImageNet", text)
        assert claims == [], name
    assert source in " ".join(files["recipe.py"].decode().split())
