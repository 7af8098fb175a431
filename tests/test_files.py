"""What the scripts write, and what they leave alone."""

from __future__ import annotations

import errno
import os
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from pathlib import Path

import pytest
from scripts import finished, generate, run

from specgen.runtime.errors import CheckpointError
from specgen.runtime.files import atomic_write, exclusive, open_file, require_file

LOCK = """
import pathlib, sys
from runtime.files import lock_folder
print([lock_folder(pathlib.Path(folder)) for folder in sys.argv[1:]], flush=True)
input()
"""


@pytest.fixture(scope="module")
def code(tmp_path_factory: pytest.TempPathFactory) -> Path:
    recipe = {"epochs": 2, "batch_size": 8}
    return generate(tmp_path_factory.mktemp("code") / "tiny", recipe)


@pytest.fixture(scope="module")
def checkpoint(
    code: Path, data: Path, tmp_path_factory: pytest.TempPathFactory
) -> Path:
    output = finished(code, data, tmp_path_factory.mktemp("run"))
    return output / "checkpoint.safetensors"


def test_a_folder_is_for_one_process_until_it_ends(
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
        cwd=code.parent,
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
    ) as other:
        assert other.stdout is not None
        assert other.stdout.readline() == b"[True, True]\n"
        ended = run(code / "train.py", *flags)
        expected = f"error: another run writes to {output}\n"
        assert (ended.code, ended.err) == (1, expected)
        assert path.read_bytes() == checkpoint.read_bytes()
        assert {file.name for file in output.iterdir()} == {path.name, ".lock"}
        ended = run(code / "pack.py", data, packed)
        expected = f"error: another pack.py is writing to {packed}\n"
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
    expected = f"error: {pipe} is not a file: give another --output\n"
    assert (ended.code, ended.err) == (1, expected)
    assert pipe.is_fifo()


def partials(path: Path) -> list[Path]:
    return list(path.parent.glob(f"{path.name}.*.partial"))


def test_concurrent_writers_of_one_file_do_not_mix(tmp_path: Path) -> None:
    path = tmp_path / "a[1]"
    with ExitStack() as writers:
        first = writers.enter_context(atomic_write(path))
        with atomic_write(path) as second:
            first.write(b"first")
            second.write(b"second")
            assert len(partials(path.parent / "*")) == 2
        assert path.read_bytes() == b"second"
        first.write(b", whole")
    assert path.read_bytes() == b"first, whole"
    assert list(tmp_path.iterdir()) == [path]


def test_leftovers_of_a_killed_writer_are_removed(tmp_path: Path) -> None:
    path, other = tmp_path / "a[1]", tmp_path / "a[1].txt.0123abcd.partial"
    other.touch()
    (tmp_path / "a[1].0123abcd.partial").write_bytes(b"half")
    with atomic_write(path) as file:
        file.write(b"whole")
    assert sorted(tmp_path.iterdir()) == [path, other]


@pytest.mark.parametrize("kind", ["link", "pipe"])
def test_an_existing_partial_file_is_left_alone(
    kind: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path, precious = tmp_path / "a", tmp_path / "precious"
    precious.write_text("precious")
    names = iter(["0123abcd", "89abcdef"])
    monkeypatch.setattr("secrets.token_hex", lambda _: next(names))
    for taken in (tmp_path / "a.partial", tmp_path / "a.0123abcd.partial"):
        taken.symlink_to(precious) if kind == "link" else os.mkfifo(taken)
    with atomic_write(path) as file:
        file.write(b"new")
    assert path.read_bytes() == b"new"
    assert not path.is_symlink()
    assert precious.read_text() == "precious"


def test_a_process_says_what_it_waits_for(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    def enter() -> bool:
        with exclusive(tmp_path) as alone:
            return alone

    with ThreadPoolExecutor(1) as other:
        with exclusive(tmp_path) as alone:
            assert alone
            second = other.submit(enter)
            while not (said := capsys.readouterr().err):
                assert not second.done()
        assert said == f"waiting for another process that writes to {tmp_path}\n"
        assert second.result()


def test_a_failure_keeps_the_old_file(tmp_path: Path) -> None:
    path = tmp_path / "a"
    path.write_text("old")
    with pytest.raises(TypeError), atomic_write(path) as file:
        file.writelines([b"new" * 9999, 5])  # type: ignore[list-item]
    assert path.read_text() == "old"
    assert list(tmp_path.iterdir()) == [path]


def test_opening_a_pipe_does_not_wait(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe")
    with pytest.raises(OSError, match="it is not a file"):
        open_file(tmp_path / "pipe")


def test_a_file_that_cannot_be_read_is_named_with_the_reason(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "checkpoint"
    with pytest.raises(CheckpointError, match=f"^there is no checkpoint {path}$"):
        require_file(path, "checkpoint")
    with pytest.raises(CheckpointError, match=f"^cannot read {tmp_path}: it is not"):
        require_file(tmp_path, "checkpoint")

    def refuse(*_: object) -> int:
        raise PermissionError(errno.EACCES, os.strerror(errno.EACCES))

    monkeypatch.setattr(os, "open", refuse)
    with pytest.raises(CheckpointError, match=f"^cannot read {path}: Permission"):
        require_file(path, "checkpoint")


def test_permissions_are_those_of_any_new_file(tmp_path: Path) -> None:
    before = os.umask(0o027)
    try:
        with atomic_write(tmp_path / "a") as file:
            file.write(b"new")
    finally:
        os.umask(before)
    assert (tmp_path / "a").stat().st_mode & 0o777 == 0o640
