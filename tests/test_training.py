"""The generated training script: what it writes, and what its flags do."""

from __future__ import annotations

import resource
import shutil
import signal
import sys
from pathlib import Path
from types import ModuleType

import pytest
import torch
from safetensors.torch import load_file
from scripts import (
    BASE,
    LAYERS,
    STEPS,
    TWO_DEVICES,
    assert_same_run,
    generate,
    generate_tiny,
    module,
    rows,
    run,
)

from specgen.runtime import checkpoint, curves, evaluation, report
from specgen.runtime.dataset import open_split
from specgen.runtime.errors import CheckpointError

COLUMNS = "epoch,step,split,loss,top1,top5,lr,images_per_second"


@pytest.fixture(scope="module")
def code(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return generate_tiny(tmp_path_factory.mktemp("code"))


def test_a_run_writes_metrics_curves_and_a_checkpoint(whole: Path) -> None:
    text = (whole / "metrics.csv").read_text()
    assert text.splitlines()[0] == COLUMNS
    table = rows(whole)
    assert [(row["epoch"], row["step"], row["split"]) for row in table] == [
        (str(epoch), str(epoch * STEPS), split)
        for epoch in (1, 2, 3)
        for split in ("train", "val")
    ]
    assert all(float(row["top1"]) <= float(row["top5"]) <= 1 for row in table)
    assert (whole / "curves.png").read_bytes().startswith(b"\x89PNG")
    assert {path.name for path in whole.glob("[!.]*")} == {
        "checkpoint.safetensors",
        "curves.png",
        "metrics.csv",
    }


def test_a_checkpoint_has_whole_tensors_under_the_names_in_the_spec(
    whole: Path,
) -> None:
    tensors = load_file(whole / "checkpoint.safetensors")
    weights = {
        f"{name}.{leaf}"
        for name in ("conv1", "fc2", "fc3")
        for leaf in ("weight", "bias")
    }
    velocity = {f"momentum_buffer.{name}" for name in weights}
    assert tensors.keys() == weights | velocity | {"data.mean", "data.colors"}
    assert tensors["conv1.weight"].shape == (8, 3, 5, 5)
    assert tensors["momentum_buffer.conv1.weight"].shape == (8, 3, 5, 5)
    assert tensors["momentum_buffer.conv1.weight"].any()


def test_a_stop_within_the_first_epoch_draws_no_empty_picture(
    code: Path, data: Path, tmp_path: Path
) -> None:
    stopped = shutil.copytree(code.parent, tmp_path / "copy") / code.name
    text = (stopped / "train.py").read_text()
    line = "            session.add(sums)\n"
    assert text.count(line) == 1
    kill = f"            os.kill(os.getpid(), {signal.SIGTERM:d})\n"
    (stopped / "train.py").write_text(text.replace(line, line + kill))
    output = tmp_path / "run"
    ended = run(stopped / "train.py", "--data", data, "--output", output)
    assert ended.code == 143
    assert "no curves: no epoch is complete yet\nstopped after step 1 of" in ended.out
    assert not (output / "curves.png").exists()


def test_tensorboard_is_written_if_it_is_installed(
    code: Path, data: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    told: list[tuple[object, ...]] = []

    class SummaryWriter:
        def __init__(self, folder: Path, purge_step: int) -> None:
            told.append((folder, purge_step))

        def add_scalar(self, *figure: object) -> None:
            told.append(figure)

        def flush(self) -> None:
            told.append(())

    name = "torch.utils.tensorboard"
    stub = ModuleType(name)
    monkeypatch.setattr(stub, "SummaryWriter", SummaryWriter, raising=False)
    monkeypatch.setitem(sys.modules, name, stub)
    train = (code / "train.py", "--data", data, "--output", tmp_path, "--workers", 0)
    assert run(*train, "--epochs", 1).code == 0
    assert run(*train, "--epochs", 2, "--resume").code == 0
    table, expected = rows(tmp_path), list[tuple[object, ...]]()
    for epoch, purged in ((0, 0), (1, STEPS + 1)):
        step = STEPS * (epoch + 1)
        expected.append((tmp_path, purged))
        train_row, val_row = table[2 * epoch : 2 * epoch + 2]
        for row in (train_row, val_row):
            for figure in ("loss", "top1", "top5"):
                title = f"{figure}/{row['split']}"
                expected.append((title, float(row[figure]), step))
        expected += [("lr", float(train_row["lr"]), step), ()]
    assert told == expected


def test_without_tensorboard_nothing_is_missing(
    code: Path, data: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, "torch.utils.tensorboard", None)
    train = (code / "train.py", "--data", data, "--output", tmp_path, "--workers", 0)
    ended = run(*train, "--steps", 1)
    assert (ended.code, ended.err) == (0, "")


def test_switches_change_no_more_than_the_last_digits(
    data: Path, tmp_path: Path
) -> None:
    # Without dropout, which draws in the order of numbers in memory.
    layers = {name: layer for name, layer in LAYERS.items() if name != "drop2"}
    split = TWO_DEVICES | {"layers": {"conv1..relu2": "split", "fc3..prob": "gpu0"}}
    code = generate(tmp_path / "code", BASE, layers=layers, placement=split)
    train = (code / "train.py", "--data", data, "--workers", 0, "--steps", 1)
    found = []
    for switch in ("", "--no-channels-last", "--no-fused"):
        output = tmp_path / switch
        ended = run(*train, "--output", output / "run", *filter(None, [switch]))
        assert ended.code == 0, ended.err
        found.append(load_file(output / "run" / "checkpoint.safetensors"))
    for other in found[1:]:
        torch.testing.assert_close(other, found[0], rtol=1e-4, atol=1e-6)


def test_it_says_which_devices_and_how_many_outputs_are_unused(
    code: Path, data: Path, tmp_path: Path
) -> None:
    train = (code / "train.py", "--data", data, "--output", tmp_path, "--steps", 1)
    ended = run(*train, "--devices", "cpu,cpu", "--seed", 5)
    assert "gpu0 on cpu, gpu1 on cpu" in ended.out
    assert "3 classes: 1 of 4 outputs are unused" in ended.out
    assert "epoch 1: train loss" in ended.out


def test_evaluate_repeats_the_last_validation(
    code: Path, data: Path, whole: Path
) -> None:
    checkpoint = whole / "checkpoint.safetensors"
    ended = run(code / "evaluate.py", checkpoint, "--data", data)
    last = rows(whole)[-1]
    assert (
        f"12 images: loss {float(last['loss']):.4f}, top-1 {float(last['top1']):.4f}"
        in ended.out
    )
    ten = run(code / "evaluate.py", checkpoint, "--data", data, "--ten-crop")
    assert ten.code == 0, ten.err
    assert "top-5" in ten.out


def test_a_checkpoint_that_cannot_be_written_leaves_the_previous_one(
    tmp_path: Path,
) -> None:
    path = tmp_path / "checkpoint.safetensors"
    run_ = checkpoint.Run({}, {}, [], {}, 1)
    checkpoint.save(path, {"w": torch.zeros(10)}, run_)
    before = path.read_bytes()
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (1000, hard))  # as a disk that is full
    try:
        with pytest.raises(CheckpointError, match="the one before is intact"):
            checkpoint.save(path, {"w": torch.ones(1000)}, run_)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
    assert path.read_bytes() == before
    assert list(tmp_path.iterdir()) == [path]


def test_a_table_that_cannot_be_written_leaves_the_previous_one(tmp_path: Path) -> None:
    path = tmp_path / "metrics.csv"
    row = report.row(1, 4, "val", (1.0, 0.5, 0.9), 0.01, 100.0)
    train_row = report.row(1, 4, "train", (1.0, 0.5, 0.9), 0.01, 100.0)
    report.write_metrics(path, [train_row, row])
    before = path.read_bytes()
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (1000, hard))  # as a disk that is full
    try:
        with pytest.raises(Exception, match=r"cannot write .*metrics\.csv"):
            report.write_metrics(path, [row] * 100)
        with pytest.raises(Exception, match=r"cannot write .*curves\.png"):
            curves.draw([path], tmp_path / "curves.png")
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
    assert path.read_bytes() == before
    assert list(tmp_path.iterdir()) == [path]


def test_the_loss_of_ten_crops_is_finite_where_the_softmax_is_0(
    code: Path, data: Path
) -> None:
    images = open_split(data, "val", 28)
    ten_crops = module(code, "data").ten_crops

    class Certain(torch.nn.Module):
        def forward(self, x: torch.Tensor) -> torch.Tensor:
            return torch.tensor([[300.0, 0.0, 0.0, 0.0]]).expand(len(x), 4)

    loss, top1, _, count = evaluation.evaluate(
        Certain(), images, torch.zeros(3, 28, 28), ten_crops, 5, 0
    )
    assert count == 12
    assert loss == pytest.approx(200)  # 0 for a third of the images, 300 for the others
    assert top1 == pytest.approx(1 / 3)


def test_the_seed_is_that_of_the_spec_or_of_the_flag(
    data: Path, tmp_path: Path
) -> None:
    flags = {"spec": (), "flag": ("--seed", 5), "default": ()}
    for name, its in flags.items():
        seed = {"seed": 5} if name == "spec" else {}
        code = generate(tmp_path / "code" / name, BASE | seed)
        ended = run(
            *(code / "train.py", "--data", data, "--output", tmp_path / name),
            *("--workers", 0, "--steps", 1, *its),
        )
        assert ended.code == 0, ended.err
    assert_same_run(tmp_path / "spec", tmp_path / "flag")
    with pytest.raises(AssertionError):
        assert_same_run(tmp_path / "default", tmp_path / "flag")
