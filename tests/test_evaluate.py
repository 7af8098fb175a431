"""The generated evaluate.py in several processes, and on both forms of the data."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file
from scripts import finished, generate, photos, run

RECIPE = {"epochs": 1, "batch_size": 8, "optimizer": {"lr": 0.01}}


@pytest.fixture(scope="module")
def code(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return generate(tmp_path_factory.mktemp("code") / "tiny", RECIPE)


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return photos(tmp_path_factory.mktemp("photos"))


@pytest.fixture(scope="module")
def checkpoint(
    code: Path, data: Path, tmp_path_factory: pytest.TempPathFactory
) -> Path:
    output = finished(code, data, tmp_path_factory.mktemp("run"))
    return output / "checkpoint.safetensors"


# 12 images: batches of 5, 5 and 2, and one batch, of which a process gets none.
@pytest.mark.parametrize("batch_size", [5, 12])
def test_two_processes_find_what_one_does(
    batch_size: int, code: Path, data: Path, checkpoint: Path, tmp_path: Path
) -> None:
    tree = photos(tmp_path / "photos")
    (tree / "val/class1/2.jpg").write_bytes(b"")  # since it was trained
    script, flags = code / "evaluate.py", [checkpoint, "--data", tree, "--ten-crop"]
    flags += ["--batch-size", batch_size, "--workers", 0, "--devices", "cpu"]
    alone = run(script, *flags)
    assert alone.code == 0, alone.err
    assert "left out cannot read 'val/class1/2.jpg': " in alone.out
    assert "\n11 images: loss" in alone.out
    launch = ["-m", "torch.distributed.run", "--standalone", "--nproc-per-node", "2"]
    together = subprocess.run(
        [sys.executable, *launch, str(script), *map(str, flags)],
        capture_output=True,
        text=True,
    )
    assert together.returncode == 0, together.stderr
    assert together.stdout == alone.out


def test_both_forms_of_the_data_train_and_evaluate_the_same(
    code: Path, data: Path, checkpoint: Path, tmp_path: Path
) -> None:
    packed, output = tmp_path / "packed", tmp_path / "run"
    assert run(code / "pack.py", data, packed).code == 0
    flags = ("--data", packed, "--output", output, "--workers", 1)
    assert run(code / "train.py", *flags).code == 0
    one, other = load_file(checkpoint), load_file(output / checkpoint.name)
    assert [name for name in one if not torch.equal(one[name], other[name])] == []
    figures = {
        run(code / "evaluate.py", checkpoint, "--data", form).out
        for form in (data, packed)
    }
    assert len(figures) == 1
    assert "12 images: loss" in figures.pop()
