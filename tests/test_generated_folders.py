"""The committed folders as their users meet them: judged, copied, trained."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
from scripts import photos, rows

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


def test_a_folder_copied_elsewhere_trains(tmp_path: Path) -> None:
    images = photos(tmp_path / "images", classes=2, train=4, val=4)
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
    table = rows(out)
    assert [row["split"] for row in table] == ["train", "val"]
    columns = "epoch,step,split,loss,top1,top5,lr,images_per_second"
    assert ",".join(table[0]) == columns
