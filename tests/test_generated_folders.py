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

from specgen import build, runtime_files, writer
from specgen.compiler import render

ROOT = Path(__file__).parent.parent
GENERATED = ROOT / "generated"
FOLDERS = sorted(path.parent for path in GENERATED.glob("*/train.py"))
each_folder = pytest.mark.parametrize("folder", FOLDERS, ids=lambda path: path.name)


def test_ruff_has_no_complaints() -> None:
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


def test_the_run_time_modules_exist_once() -> None:
    copied = {
        path.name: path.read_bytes() for path in (GENERATED / "runtime").iterdir()
    }
    del copied["specgen.lock"]
    assert copied == runtime_files.read()


def test_a_line_of_run_time_code_is_in_one_generated_file(tmp_path: Path) -> None:
    """A copy of the compiler has another line in a run-time module, and builds."""
    for name in ("specgen", "templates", "specs"):
        ignored = shutil.ignore_patterns("__pycache__")
        shutil.copytree(ROOT / name, tmp_path / name, ignore=ignored)
    programs = build.compile_all(build.find([ROOT / "specs"]), [])
    folders = build.outputs(programs, [], onnx_devices=False)
    writer.write(tmp_path / "generated", folders)
    before = contents(tmp_path / "generated")
    module = tmp_path / "specgen/runtime/console.py"
    module.write_text(module.read_text().replace("= 16  #", "= 15  #"))
    script = """
from specgen.cli import main
assert main(["build", "specs/alexnet_mini.yaml"]) == 0
print("--- check", flush=True)
assert main(["build", "--check", "specs"]) == 1
assert main(["build", "specs"]) == 0
"""
    environment = os.environ | {"XDG_CACHE_HOME": str(tmp_path / "cache")}
    done = subprocess.run(
        [sys.executable, "-c", script],
        cwd=tmp_path,
        env=environment | {"PYTHONPATH": str(tmp_path)},
        capture_output=True,
        text=True,
    )
    assert done.returncode == 0, done.stderr
    after = contents(tmp_path / "generated")
    assert after.keys() == before.keys()
    changed = {name for name in after if after[name] != before[name]}
    locks = {name for name in after if name.endswith("specgen.lock")}
    assert changed - locks == {"runtime/console.py"}

    others = {path.name for path in FOLDERS} - {"alexnet_mini"}
    stale = "generated/{} is out of date: it was built with another runtime"
    built = done.stdout.partition("--- check")[0].splitlines()
    assert {stale.format(name) for name in others} <= set(built)
    failed = {line for line in done.stderr.splitlines() if line.startswith("error")}
    late = "error[drift]: generated/{}/specgen.lock is out of date"
    assert failed == {late.format(name) for name in others}


def contents(folder: Path) -> dict[str, bytes]:
    files = [path for path in folder.rglob("*") if path.is_file()]
    return {path.relative_to(folder).as_posix(): path.read_bytes() for path in files}


@each_folder
def test_a_network_s_own_folder_is_small(folder: Path) -> None:
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
