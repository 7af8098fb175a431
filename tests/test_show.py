"""What `show` prints for a spec with errors: its sound parts, then the errors."""

from __future__ import annotations

from pathlib import Path

import pytest
from helpers import ROOT

from specgen import cli


def show(capsys: pytest.CaptureFixture[str], *options: str) -> tuple[list[str], str]:
    """Return the lines on stdout, and stderr."""
    assert cli.main(["show", str(ROOT / "specs/alexnet.yaml"), *options]) == 1
    out, said = capsys.readouterr()
    return [" ".join(line.split()) for line in out.splitlines()], said


def test_over_budget_the_table_comes_first(capsys: pytest.CaptureFixture[str]) -> None:
    lines, said = show(capsys, "--set", "training.batch_size=900")
    assert "gpu1 conv1..drop7 28,434,112 47% 4.27 GiB 3.00 GiB 142%" in lines
    assert said.count("error[over-budget]") == 2
    lines, _ = show(capsys, "--set", "training.batch_size=900", "--batch-size", "1000")
    assert any(line.startswith("For 1,000 images at once") for line in lines)


def test_a_budget_is_for_the_batch_that_was_asked_for(
    capsys: pytest.CaptureFixture[str],
) -> None:
    spec = str(ROOT / "specs/alexnet.yaml")
    fits, over = "598", "599"
    for recipe in ("128", "900"):
        sets = ["--set", f"training.batch_size={recipe}"]
        for form in ("text", "json"):
            asked = [spec, *sets, "--format", form, "--batch-size"]
            assert cli.main(["show", *asked, fits]) == 0
            assert not capsys.readouterr().err
            assert cli.main(["show", *asked, over]) == 1
            said = capsys.readouterr().err
            assert "error[over-budget]: training on 599 images at once" in said
            assert "help: at most 598 images at once can fit" in said
            assert "note: CUDA, its libraries and fragmentation" in said
    lines, said = show(capsys, "--batch-size", over)
    assert "At most 598 images fit; CUDA, its libraries" in " ".join(lines)
    assert "training.batch_size" not in said  # it is not what is wrong


def test_a_budget_without_room_for_an_image(capsys: pytest.CaptureFixture[str]) -> None:
    lines, said = show(capsys, "--set", "placement.devices.gpu0.memory=1KiB")
    assert "Not even one image fits." in lines
    assert "place fewer layers there" in said


def test_layers_are_shown_up_to_the_first_wrong_one(
    capsys: pytest.CaptureFixture[str],
) -> None:
    sets = ["--set", "layers.conv3.groups=5", "--set", "layers.conv1.stride=2"]
    lines, said = show(capsys, *sets)
    assert "conv1 conv2d 11 2 b3 r3 96 x 109 x 109 11" in lines
    assert "pool2 max_pool2d 3 2 256 x 26 x 26 39" in lines
    assert "layer parameters MACs" in lines  # and no shares of what is not known
    assert "so far 342,400 1,309,824,288" in lines
    assert not any(line.startswith("total") for line in lines)
    assert "What comes after pool2 is not known." in lines
    assert not any(line.startswith(("conv3", "relu3", "device")) for line in lines)
    assert "conv3: 384 output channels cannot be divided into 5 groups" in said


def test_all_layers_are_shown_if_they_cannot_be_placed(
    capsys: pytest.CaptureFixture[str],
) -> None:
    lines, said = show(capsys, "--set", "layers.fc7.out_features=4095")
    assert "prob softmax 1000" in lines
    assert not any("is not known" in line for line in lines)
    assert "error[cannot-split]" in said


@pytest.mark.parametrize(
    "options",
    [
        ["--set", "layers.conv3.groups=5", "--format", "json"],
        ["--set", "layers.conv3.groups=5", "--resolved"],
        ["--set", "input.channels=x"],
        ["--set", "layers.conv1.out_channels=x"],
    ],
)
def test_nothing_unknown_is_shown(
    options: list[str], capsys: pytest.CaptureFixture[str]
) -> None:
    lines, said = show(capsys, *options)
    assert lines == []
    assert said.startswith("error[")


def test_defaults_are_shown_as_they_will_be(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    text = "specgen: 1\nname: Net\ninput: {channels: 3, height: 32, width: 32}\n"
    text += "layers: {flat: {op: flatten}, fc1: {op: linear, out_features: 4}}\n"
    spec = tmp_path / "net.yaml"
    spec.write_text(text)
    cli.main(["show", str(spec)])
    shown = capsys.readouterr().out
    assert "size 37, crops of 32 x 32" in shown
    assert "None" not in shown


@pytest.mark.parametrize("op", ["softmax", "relu"])
def test_a_softmax_that_is_read_is_shown(
    op: str, capsys: pytest.CaptureFixture[str]
) -> None:
    lines, said = show(capsys, "--set", f"layers.more={{op: {op}, after: prob}}")
    assert "prob softmax 1000" in lines
    assert said.count("error[") == said.count("error[softmax-inside]: prob:") == 1
