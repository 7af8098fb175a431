"""The committed folders as their users meet them: judged, copied, trained."""

from __future__ import annotations

import csv
import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
from PIL import Image

ROOT = Path(__file__).parent.parent
FOLDERS = sorted(path.parent for path in (ROOT / "generated").glob("*/model.py"))
each_folder = pytest.mark.parametrize("folder", FOLDERS, ids=lambda path: path.name)


def test_ruff_has_nothing_to_say() -> None:
    for command in (["format", "--check"], ["check"]):
        arguments = [sys.executable, "-m", "ruff", *command, "generated"]
        done = subprocess.run(arguments, cwd=ROOT, capture_output=True, text=True)
        assert done.returncode == 0, done.stdout


@pytest.mark.xdist_group("mypy")  # one after the other: they share a cache
@each_folder
def test_types_are_strict(folder: Path) -> None:
    files = sorted(file.name for file in folder.glob("*.py"))
    cache = ROOT / ".mypy_cache" / "generated"
    command = [sys.executable, "-m", "mypy", "--strict", "--cache-dir", str(cache)]
    done = subprocess.run(
        [*command, *files], cwd=folder, capture_output=True, text=True
    )
    assert done.returncode == 0, done.stdout


@pytest.fixture
def images(tmp_path: Path) -> Path:
    """A tree of eight images of two classes."""
    for split in ("train", "val"):
        for index in range(4):
            kind = ("dark", "light")[index % 2]
            file = tmp_path / "images" / split / kind / f"{index}.jpg"
            file.parent.mkdir(parents=True, exist_ok=True)
            Image.new("RGB", (160, 130), (60 + 120 * (index % 2),) * 3).save(file)
    return tmp_path / "images"


def test_a_folder_copied_elsewhere_trains(tmp_path: Path, images: Path) -> None:
    folder = shutil.copytree(ROOT / "generated/alexnet_mini", tmp_path / "elsewhere")
    out = tmp_path / "out"
    command = [sys.executable, "train.py", "--data", str(images), "--output", str(out)]
    flags = ["--epochs", "1", "--batch-size", "2", "--workers", "0", "--devices", "cpu"]
    environment = {k: v for k, v in os.environ.items() if k != "PYTHONPATH"}
    done = subprocess.run(
        [*command, *flags], cwd=folder, env=environment, capture_output=True, text=True
    )
    assert done.returncode == 0, done.stderr
    assert (out / "checkpoint.safetensors").is_file()
    assert (out / "curves.png").is_file()
    with (out / "metrics.csv").open(newline="") as file:
        rows = list(csv.DictReader(file))
    assert [row["split"] for row in rows] == ["train", "val"]
    columns = "epoch,step,split,loss,top1,top5,lr,images_per_second"
    assert ",".join(rows[0]) == columns
