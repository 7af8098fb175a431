"""The committed folders as their users meet them: judged, copied, trained."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
from helpers import compile_text, spec_text
from judges import mypy, ruff
from scripts import photos, rows

from specgen import runtime_files
from specgen.compiler import render

ROOT = Path(__file__).parent.parent
GENERATED = ROOT / "generated"
FOLDERS = sorted(path.parent for path in GENERATED.glob("*/train.py"))
each_folder = pytest.mark.parametrize("folder", FOLDERS, ids=lambda path: path.name)


def test_ruff_has_nothing_to_say() -> None:
    for command in (["format", "--check"], ["check"]):
        arguments = [sys.executable, "-m", "ruff", *command, "generated"]
        done = subprocess.run(arguments, cwd=ROOT, capture_output=True, text=True)
        assert done.returncode == 0, done.stdout


@each_folder
def test_types_are_strict(folder: Path) -> None:
    files = sorted(file.name for file in folder.glob("*.py"))
    mypy(*files, cwd=folder, beside=GENERATED)


def test_types_of_the_run_time_modules_are_strict() -> None:
    mypy("-p", "runtime", cwd=GENERATED)


def test_the_run_time_modules_stand_once() -> None:
    copied = {
        path.name: path.read_bytes() for path in (GENERATED / "runtime").iterdir()
    }
    del copied["specgen.lock"]
    assert copied == runtime_files.read()


@each_folder
def test_a_folder_of_its_own_is_short(folder: Path) -> None:
    lines = [len(path.read_text().splitlines()) for path in folder.glob("*.py")]
    assert sum(lines) < 900


def test_two_folders_copied_elsewhere_train(tmp_path: Path) -> None:
    images = photos(tmp_path / "images", classes=2, train=4, val=4)
    for name in ("alexnet_mini", "runtime"):
        shutil.copytree(GENERATED / name, tmp_path / "elsewhere" / name)
    script = tmp_path / "elsewhere/alexnet_mini/train.py"
    out = tmp_path / "out"
    command = [sys.executable, str(script), "--data", str(images), "--output", str(out)]
    flags = ["--epochs", "1", "--batch-size", "2", "--workers", "0", "--devices", "cpu"]
    environment = {k: v for k, v in os.environ.items() if k != "PYTHONPATH"}
    done = subprocess.run(
        [*command, *flags], cwd="/", env=environment, capture_output=True, text=True
    )
    assert done.returncode == 0, done.stderr
    assert (out / "checkpoint.safetensors").is_file()
    assert (out / "curves.png").is_file()
    table = rows(out)
    assert [row["split"] for row in table] == ["train", "val"]
    columns = "epoch,step,split,loss,top1,top5,lr,images_per_second"
    assert ",".join(table[0]) == columns


def test_the_longest_names_fit(tmp_path: Path) -> None:
    text = spec_text("alexnet_mini").replace("name: AlexNet", f"name: {'N' * 40}")
    files = render(compile_text(text, "n" * 40))
    for name in (
        "predict.py",
        "evaluate.py",
        "export.py",
        "pack.py",
        "data.py",
        "train.py",
    ):
        (tmp_path / name).write_bytes(files[name])
    ruff("format --check", tmp_path)
    ruff("check --select E501", tmp_path)
