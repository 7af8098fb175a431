"""The generated evaluate.py in several processes, and on both forms of the data."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file
from scripts import finished, generate, photos, rows, run
from torch import nn

from specgen.runtime import dataset, evaluation

RECIPE = {"epochs": 1, "batch_size": 8, "optimizer": {"lr": 0.01}}


@pytest.fixture(scope="module")
def code(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return generate(tmp_path_factory.mktemp("code") / "tiny", RECIPE)


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
    assert "left out: cannot read 'val/class1/2.jpg': " in alone.out
    assert "\n11 images: loss" in alone.out
    launch = ["-m", "torch.distributed.run", "--standalone", "--nproc-per-node", "2"]
    together = subprocess.run(
        [sys.executable, *launch, str(script), *map(str, flags)],
        env=os.environ | {"COLUMNS": "9999"},
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


@pytest.mark.parametrize(
    ("flags", "stride", "dtype"),
    [
        ({}, 3, torch.float32),
        ({"layout": torch.contiguous_format}, 1, torch.float32),
        ({"precision": "bfloat16"}, 3, torch.bfloat16),
    ],
)
def test_the_network_computes_as_in_training(
    flags: dict[str, Any], stride: int, dtype: torch.dtype, data: Path
) -> None:
    net = nn.Sequential(nn.Conv2d(3, 3, 4, stride=4), nn.Flatten(), nn.Linear(108, 3))
    seen = []
    net[0].register_forward_hook(lambda _, args, y: seen.append((*args, y)))
    images = dataset.open_split(data, "val", 24)
    scores = evaluation.evaluate(
        net, images, torch.zeros(3, 24, 24), lambda x, mean: [x - mean], 5, 0, **flags
    )
    assert scores.images == 12
    assert len(seen) == 3
    for x, y in seen:
        assert (x.stride(3), y.dtype) == (stride, dtype)


def test_train_and_evaluate_find_the_same_in_bfloat16(
    data: Path, tmp_path: Path
) -> None:
    code = generate(tmp_path / "tiny", RECIPE | {"precision": "bfloat16"})
    output = finished(code, data, tmp_path / "run")
    last = rows(output)[-1]
    loss, top1, top5 = (float(last[name]) for name in ("loss", "top1", "top5"))
    ended = run(code / "evaluate.py", output / "checkpoint.safetensors", "--data", data)
    said = f"12 images: loss {loss:.4f}, top-1 {top1:.4f}, top-5 {top5:.4f}\n"
    assert ended.out.endswith(said), ended.err
