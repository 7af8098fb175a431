"""runtime/files.py: what the scripts write, and what they leave alone."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest
from helpers import ROOT
from scripts import finished, generate, photos, run

LOCK = """
import pathlib, sys
from specgen.runtime.files import lock_folder
print([lock_folder(pathlib.Path(folder)) for folder in sys.argv[1:]], flush=True)
input()
"""


@pytest.fixture(scope="module")
def code(tmp_path_factory: pytest.TempPathFactory) -> Path:
    recipe = {"epochs": 2, "batch_size": 8}
    return generate(tmp_path_factory.mktemp("code") / "tiny", recipe)


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return photos(tmp_path_factory.mktemp("photos"))


@pytest.fixture(scope="module")
def checkpoint(
    code: Path, data: Path, tmp_path_factory: pytest.TempPathFactory
) -> Path:
    output = finished(code, data, tmp_path_factory.mktemp("run"))
    return output / "checkpoint.safetensors"


def test_a_folder_is_for_one_process_until_it_is_dead(
    code: Path, data: Path, checkpoint: Path, tmp_path: Path
) -> None:
    output, packed = tmp_path / "run", tmp_path / "packed"
    output.mkdir()
    packed.mkdir()
    path = output / checkpoint.name
    path.write_bytes(checkpoint.read_bytes())
    flags = ("--data", data, "--resume", path, "--epochs", 3, "--workers", 1)
    with subprocess.Popen(
        [sys.executable, "-c", LOCK, output, packed],
        cwd=ROOT,
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
    ) as other:
        assert other.stdout is not None
        assert other.stdout.readline() == b"[True, True]\n"
        ended = run(code / "train.py", *flags)
        expected = f"error: another run writes to {output}"
        assert (ended.code, ended.err) == (1, expected)
        assert path.read_bytes() == checkpoint.read_bytes()
        assert {file.name for file in output.iterdir()} == {path.name, ".lock"}
        ended = run(code / "pack.py", data, packed)
        expected = f"error: another pack.py writes to {str(packed)!r}"
        assert (ended.code, ended.err) == (1, expected)
        assert [file.name for file in packed.iterdir()] == [".lock"]
        other.kill()
    assert run(code / "train.py", *flags).code == 0
    assert run(code / "pack.py", data, packed).code == 0


def test_an_export_leaves_a_pipe_in_its_place(
    code: Path, checkpoint: Path, tmp_path: Path
) -> None:
    pipe = tmp_path / "pipe"
    os.mkfifo(pipe)
    ended = run(code / "export.py", checkpoint, "--output", pipe)
    expected = f"error: {pipe} is not a file: give another --output"
    assert (ended.code, ended.err) == (1, expected)
    assert pipe.is_fifo()
