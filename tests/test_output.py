"""The folder of a run: for one run at a time, and checked before images are read."""

from __future__ import annotations

import argparse
import os
from collections import namedtuple
from pathlib import Path
from typing import Any

import pytest
from torch import nn

from specgen.runtime import output as folder
from specgen.runtime.errors import UserError

NET = nn.Linear(999, 1000)  # checkpoints of 8 MB
Usage = namedtuple("Usage", "total used free")


def open_output(output: Path, resume: str | Path | None = None) -> Path | None:
    resumed = None if resume is None else str(resume)
    args = argparse.Namespace(output=output, resume=resumed)
    return folder.open_output(args, NET)


@pytest.mark.parametrize("resume", [None, ""])
def test_a_run_that_ended_while_the_folder_was_locked_is_not_lost(
    resume: str | None, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "checkpoint.safetensors"

    def wait_and_lock(folder: Path) -> bool:
        path.write_bytes(b"of the other run")
        return True

    monkeypatch.setattr(folder, "lock_folder", wait_and_lock)
    if resume is None:
        with pytest.raises(UserError, match=r"exists: give --resume, or another"):
            open_output(tmp_path)
    else:
        assert open_output(tmp_path, resume) == path


def test_a_folder_in_use_is_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(folder, "lock_folder", lambda _: False)
    with pytest.raises(UserError, match="another run writes to"):
        open_output(tmp_path, "")


def test_a_run_that_is_refused_does_not_lock_out_another(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "checkpoint.safetensors").touch()
    monkeypatch.setattr(folder, "lock_folder", lambda _: pytest.fail("locked"))
    with pytest.raises(UserError, match=r"exists: give --resume, or another"):
        open_output(tmp_path)


@pytest.mark.parametrize(
    "name", ["checkpoint.safetensors", "metrics.csv", "curves.png"]
)
def test_a_folder_in_the_place_of_a_file_is_refused(name: str, tmp_path: Path) -> None:
    (tmp_path / name).mkdir()
    with pytest.raises(UserError, match=rf"{name} is a folder: move it elsewhere"):
        open_output(tmp_path, "")


@pytest.mark.parametrize("kind", ["link", "pipe", "folder"])
def test_what_is_not_a_lock_file_is_named(kind: str, tmp_path: Path) -> None:
    lock, output = tmp_path / "run" / ".lock", tmp_path / "run"
    output.mkdir()
    if kind == "link":
        lock.symlink_to(tmp_path / "nowhere")
    else:
        lock.mkdir() if kind == "folder" else os.mkfifo(lock)
    with pytest.raises(UserError, match=r"\.lock is not a file: remove it"):
        open_output(output)
    assert not (tmp_path / "nowhere").exists()


def test_a_checkpoint_is_the_same_by_any_path(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "run").mkdir()
    path = tmp_path / "run" / "checkpoint.safetensors"
    path.touch()
    monkeypatch.chdir(tmp_path)
    assert open_output(Path("run"), path) == path
    assert open_output(tmp_path / "run", Path("run", path.name)) is not None
    other = tmp_path / path.name
    other.touch()
    with pytest.raises(
        UserError, match=f"and {other.name} is another checkpoint: give another"
    ):
        open_output(Path("run"), other)


@pytest.mark.parametrize("there", [True, False])
def test_a_missing_checkpoint_to_resume_from_is_named_first(
    there: bool, tmp_path: Path
) -> None:
    output, missing = tmp_path / "run", tmp_path / "nosuch"
    if there:
        output.mkdir()
        (output / "checkpoint.safetensors").touch()
    with pytest.raises(UserError, match=f"^there is no checkpoint {missing}$"):
        open_output(output, missing)
    assert output.exists() == there


@pytest.mark.skipif(os.geteuid() == 0, reason="root may write anywhere")
def test_a_folder_that_cannot_be_written_to_is_refused(tmp_path: Path) -> None:
    tmp_path.chmod(0o500)
    with pytest.raises(UserError, match=r"cannot write to .*: Permission denied"):
        open_output(tmp_path / "run")


@pytest.mark.parametrize("copies", [1, 2])
def test_a_disk_without_room_for_checkpoints_is_refused(
    copies: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    if copies == 1:  # there already is one, which is replaced
        (tmp_path / "checkpoint.safetensors").touch()
    free = copies * 8_000_000

    def usage(_: Any) -> Usage:
        return Usage(10**12, 10**12 - free, free)

    monkeypatch.setattr("shutil.disk_usage", usage)
    open_output(tmp_path, "")
    free -= 1
    expected = rf"has {free / 1e6:.1f} MB free, and checkpoints need {8 * copies}.0 MB"
    with pytest.raises(UserError, match=expected):
        open_output(tmp_path, "")
