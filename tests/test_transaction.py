"""Builds that are killed at each step or run at once: old or new, never a mixture."""

from __future__ import annotations

import errno
import fcntl
import json
import os
import shutil
import signal
import sys
import time
import traceback
from collections.abc import Callable
from functools import partial
from pathlib import Path

import pytest

from specgen import lock, transaction, writer
from specgen.diagnostics import SpecError

ROUNDS = int(os.environ.get("SPECGEN_SOAK", "3"))
STRIDE = 1 if "SPECGEN_SOAK" in os.environ else 3  # from one kill to the next
# What changes files, as audit hooks see it; also `open`, to write.
STEPS = {"os.link", "os.rename", "os.remove", "os.mkdir", "os.rmdir"}

pytestmark = pytest.mark.filterwarnings("ignore:.*fork:DeprecationWarning")


def folders(**contents: str) -> dict[str, dict[str, bytes]]:
    """Return the folders of a network and of what it shares, each with these files."""
    outputs = {f"{name}.py": text.encode() for name, text in contents.items()}
    spec = Path("net.yaml")
    net = lock.dump(spec, {spec: b""}, [], outputs)
    return {
        "net": outputs | {lock.NAME: net},
        "runtime": outputs | {lock.NAME: lock.dump_runtime(outputs)},
    }


OLD = folders(a="1", b="2", c="3")
NEW = folders(a="1", b="new", d="4")


def found(root: Path) -> dict[str, dict[str, bytes]]:
    """Return what is in the root's folders."""
    return {
        folder.name: {path.name: path.read_bytes() for path in folder.iterdir()}
        for folder in root.iterdir()
    }


def write(root: Path, state: dict[str, dict[str, bytes]], times: int = 1) -> None:
    for _ in range(times):
        writer.write(root, state)


def in_a_process(run: Callable[[], object]) -> int:
    """Run something in a process of its own and return its ID."""
    process = os.fork()
    if process == 0:
        try:
            run()
            os._exit(0)
        except SpecError:
            os._exit(1)
        except BaseException:
            traceback.print_exc()
            os._exit(2)
    return process


def ended(process: int) -> int:
    """Wait for a process: its exit status, or minus the signal that ended it."""
    return os.waitstatus_to_exitcode(os.waitpid(process, 0)[1])


def killed_at(step: int, how: signal.Signals, run: Callable[[], object]) -> bool:
    """Run something and kill it before its `step`-th step; False if it ends first."""

    def killed() -> None:
        count = 0

        def hook(event: str, details: tuple[object, ...]) -> None:
            nonlocal count
            writes = event == "open" and "w" in str(details[1])
            if writes or event in STEPS:
                count += 1
                if count == step:
                    os.kill(os.getpid(), how)

        sys.addaudithook(hook)
        run()

    status = ended(in_a_process(killed))
    assert status in (0, -how)
    return status != 0


@pytest.fixture
def root(tmp_path: Path) -> Path:
    root = tmp_path / "generated"
    writer.write(root, OLD)
    return root


def test_a_build_that_is_killed_has_done_nothing_or_all(root: Path) -> None:
    states = []
    for step in range(1, 200, STRIDE):
        if not killed_at(step, signal.SIGKILL, lambda: writer.write(root, NEW)):
            break
        new = writer.drift(root, NEW) == []
        assert found(root) == (NEW if new else OLD)
        states.append(new)
        writer.write(root, OLD)
    assert found(root) == NEW
    assert states == sorted(states)
    assert 30 < step < 199


@pytest.mark.parametrize("how", [signal.SIGTERM, signal.SIGHUP])
def test_other_signals_do_no_harm_either(root: Path, how: signal.Signals) -> None:
    interrupted(root, how)
    writer.drift(root, NEW)
    assert found(root) == OLD


def test_a_folder_of_a_killed_build_is_made_by_the_next(tmp_path: Path) -> None:
    def build() -> None:
        writer.write(tmp_path / "generated", NEW)

    for step in range(2, 200, STRIDE):  # the first makes the root
        if not killed_at(step, signal.SIGKILL, build):
            break
        whole = writer.drift(tmp_path / "generated", NEW) == []
        assert found(tmp_path / "generated") == (NEW if whole else {})
        shutil.rmtree(tmp_path / "generated")
    assert 20 < step < 199


def test_undoing_can_be_killed_too(root: Path) -> None:
    before = shutil.copytree(root, root.parent / "before")
    last = interrupted(root)
    for step in range(1, 100, STRIDE):
        if not killed_at(step, signal.SIGKILL, lambda: writer.drift(root, OLD)):
            break
        assert writer.drift(root, OLD) == []
        assert found(root) == found(before)
        assert killed_at(last, signal.SIGKILL, lambda: writer.write(root, NEW))
    assert 10 < step < 99


def interrupted(root: Path, how: signal.Signals = signal.SIGKILL) -> int:
    """End a build in the middle of its swap; return the step at which."""
    for step in range(18, 100):
        assert killed_at(step, how, lambda: writer.write(root, NEW))
        if (root / "net" / "d.py").exists():
            return step
        writer.drift(root, OLD)
    raise AssertionError


def test_an_interrupted_swap_is_a_mixture_until_specgen_runs(root: Path) -> None:
    interrupted(root)
    assert (root / lock.STAGE).is_dir()
    mixture = {path.name: path.read_bytes() for path in (root / "net").iterdir()}
    assert mixture not in (OLD["net"], NEW["net"])
    assert writer.drift(root, OLD) == []
    assert found(root) == OLD


def test_later_changes_by_a_person_stay(root: Path) -> None:
    (root / "net" / "notes.md").write_text("mine")
    interrupted(root)
    (root / "net" / "b.py").write_text("mine")
    (root / "net" / "more.md").write_text("mine")
    (problem,) = writer.drift(root, OLD)
    assert problem.code == "edited-file"
    mine = {"notes.md": b"mine", "more.md": b"mine", "b.py": b"mine"}
    assert found(root)["net"] == OLD["net"] | mine


def test_a_stage_that_was_copied_along_does_nothing(root: Path) -> None:
    interrupted(root)
    copy = shutil.copytree(root, root.parent / "copy", symlinks=True)
    shutil.rmtree(root / lock.STAGE)
    writer.compare(copy, OLD)
    assert found(copy) == found(root)


@pytest.mark.parametrize("kind", ["a pipe", "a link", "a file"])
def test_what_is_not_a_stage_is_named(kind: str, root: Path) -> None:
    stage = root / lock.STAGE
    if kind == "a pipe":
        os.mkfifo(stage)
    elif kind == "a link":
        stage.symlink_to(root.parent)
    else:
        stage.touch()
    for ask in (writer.write, writer.drift):
        with pytest.raises(SpecError, match=f"{stage} is not a folder of specgen"):
            ask(root, NEW)
    stage.unlink()
    assert found(root) == OLD


@pytest.mark.parametrize(
    "journal", ["", "[]", "{}", "null", '{"inode": 1}', "[" * 9999, "..", "made"]
)
def test_a_journal_written_by_someone_else(root: Path, journal: str) -> None:
    outside = root.parent / "outside.py"
    outside.write_text("mine")
    digest = lock.digest("outside.py", b"mine")
    escape = {"inode": root.stat().st_ino, "made": [], "files": []}
    if journal == "..":
        names = ("../outside.py", "net/../../outside.py", str(outside))
        journal = json.dumps(escape | {"files": [[name, digest] for name in names]})
    (root.parent / "empty").mkdir()
    if journal == "made":
        journal = json.dumps(escape | {"made": ["../empty"]})
    stage = root / lock.STAGE
    stage.mkdir()
    (stage / "journal").write_text(journal)
    assert writer.drift(root, OLD) == []
    assert found(root) == OLD
    assert outside.read_text() == "mine"
    assert (root.parent / "empty").is_dir()


@pytest.mark.parametrize("again", range(ROUNDS))
def test_concurrent_builds_and_kills(again: int, root: Path) -> None:
    """Four builds, half of them killed at some moment, while a reader looks on."""
    states = [OLD, NEW, folders(a="5"), folders(a="6", e="7")]
    builds = [in_a_process(partial(write, root, state, times=5)) for state in states]
    for number, build in enumerate(builds[:2]):
        time.sleep(0.003 * (1 + again % 7 + number))
        os.kill(build, signal.SIGKILL)
    for _ in range(20):
        with transaction.reading(root):
            assert found(root) in states
    assert [ended(build) for build in builds[2:]] == [0, 0]
    for build in builds[:2]:
        assert ended(build) in (0, -signal.SIGKILL)
    writer.compare(root, OLD)
    assert found(root) in states


def test_a_new_root_with_concurrent_builds(tmp_path: Path) -> None:
    states = [folders(a=str(number)) for number in range(4)]
    for round in range(ROUNDS):
        root = tmp_path / str(round) / "generated"
        builds = [in_a_process(partial(write, root, state)) for state in states]
        assert [ended(build) for build in builds] == [0] * len(states)
        assert found(root) in states


def test_a_root_that_disappears_during_the_wait_is_made_again(tmp_path: Path) -> None:
    root = tmp_path / "generated"

    def write_soon() -> None:
        while not root.exists():
            time.sleep(0.001)
        writer.write(root, NEW)

    def fail_late() -> None:
        with transaction.writing(root):
            time.sleep(0.1)
            raise SpecError([])  # the root is empty and is removed

    waiting = in_a_process(write_soon)
    with pytest.raises(SpecError):
        fail_late()
    assert ended(waiting) == 0
    assert found(root) == NEW


def test_a_folder_locked_for_long_is_an_error(
    root: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(transaction, "PATIENCE", 0.05)
    with transaction.writing(root):
        for ask in (writer.write, writer.drift):
            with pytest.raises(SpecError) as error:
                ask(root, NEW)
            assert error.value.diagnostics[0].code == "folder-busy"
    assert found(root) == OLD


def test_a_disk_that_cannot_lock_folders(
    root: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    flock = fcntl.flock

    def as_on_nfs(file: int, operation: int) -> None:
        if os.path.isdir(file):
            raise OSError(errno.EBADF, "Bad file descriptor")
        flock(file, operation)

    monkeypatch.setattr(fcntl, "flock", as_on_nfs)
    monkeypatch.setattr(transaction, "PATIENCE", 0.05)
    writer.write(root, NEW)
    with (
        transaction.writing(root),
        pytest.raises(SpecError, match="another specgen is writing"),
    ):
        writer.write(root, OLD)
    (root / transaction.LOCK_FILE).unlink()
    assert found(root) == NEW

    def read_only(path: Path, flags: int, mode: int = 0o777) -> int:
        if path.name == transaction.LOCK_FILE:
            raise OSError(errno.EROFS, "Read-only file system")
        return os_open(path, flags, mode)

    os_open = os.open
    monkeypatch.setattr(os, "open", read_only)
    assert writer.drift(root, NEW) == []
    with pytest.raises(SpecError, match="Read-only file system"):
        writer.write(root, OLD)


def test_a_read_only_folder_can_be_checked(root: Path) -> None:
    for path in (root, *root.iterdir()):
        path.chmod(0o555)
    before = {path: path.stat().st_mtime_ns for path in (root, *root.rglob("*"))}
    assert writer.drift(root, OLD) == []
    assert len(writer.drift(root, NEW)) == 8
    after = {path: path.stat().st_mtime_ns for path in (root, *root.rglob("*"))}
    assert after == before
