"""Writing that fails, and things that are not files in place of generated ones."""

from __future__ import annotations

import errno
import os
from collections.abc import Callable
from pathlib import Path
from tempfile import TemporaryDirectory

import pytest
from written import build_net, contents, drift, files, messages, names, snapshot, write

from specgen import lock, writer
from specgen.diagnostics import SpecError
from specgen.transaction import LEFT


@pytest.fixture
def built(tmp_path: Path) -> Path:
    return build_net(tmp_path / "generated")


def fail_at(count: int, operation: Callable[..., object]) -> Callable[..., object]:
    """Return the operation, out of disk space from its `count`-th call on, once."""
    calls = iter(range(1_000_000))

    def planted(*args: object, **kwargs: object) -> object:
        if next(calls) == count:
            raise OSError(errno.ENOSPC, "No space left on device")
        return operation(*args, **kwargs)

    return planted


@pytest.mark.parametrize(
    ("operation", "count"),
    [
        *[("write_bytes", count) for count in range(5)],
        *[("replace", count) for count in range(4)],
        *[("unlink", count) for count in range(2)],
        *[("mkdir", count) for count in range(2)],
    ],
)
def test_a_failure_leaves_everything_as_it_was(
    built: Path, monkeypatch: pytest.MonkeyPatch, operation: str, count: int
) -> None:
    before = snapshot(built)
    monkeypatch.setattr(Path, operation, fail_at(count, getattr(Path, operation)))
    with pytest.raises(SpecError) as error:
        write(built, files(a="1", b="new", d="4"))
    monkeypatch.undo()
    root = built.parent
    assert messages(error) == [f"cannot write {root}: No space left on device"]
    assert snapshot(built) == before
    assert list(root.iterdir()) == [built]


@pytest.mark.parametrize("operation", ["write_bytes", "replace"])
def test_a_failure_leaves_no_new_folder(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, operation: str
) -> None:
    monkeypatch.setattr(Path, operation, fail_at(1, getattr(Path, operation)))
    with pytest.raises(SpecError):
        write(tmp_path / "generated" / "net", files(a="1", b="2"))
    assert not any(tmp_path.iterdir())


def test_an_interrupt_leaves_everything_as_it_was(
    built: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    before = snapshot(built)

    def interrupt(path: Path) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(Path, "unlink", interrupt)
    with pytest.raises(KeyboardInterrupt):
        write(built, files(a="new"))
    monkeypatch.undo()
    assert snapshot(built) == before


def test_a_file_where_the_folder_should_be(tmp_path: Path) -> None:
    (tmp_path / "net").write_text("mine")
    for folder in (tmp_path / "net", tmp_path / "net" / "deeper"):
        with pytest.raises(SpecError) as error:
            write(folder, files(a="1"))
        reason = f"{tmp_path / 'net'} is a file"
        wrong = folder if folder.is_file() else folder.parent
        assert messages(error) == [f"cannot write {wrong}: {reason}"]
    assert contents(tmp_path) == {"net": b"mine"}


def test_a_name_that_no_folder_can_have(tmp_path: Path) -> None:
    folder = tmp_path / ("a" * 300) / "net"
    with pytest.raises(SpecError, match="File name too long"):
        write(folder, files(a="1"))
    assert not any(tmp_path.iterdir())


def test_a_read_only_folder(built: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(path: str, mode: int = 0o777) -> None:  # since chmod does not stop root
        raise PermissionError(errno.EACCES, "Permission denied", path)

    monkeypatch.setattr(os, "mkdir", refuse)
    with pytest.raises(SpecError) as error:
        write(built, files(a="new"))
    assert messages(error) == [f"cannot write {built.parent}: Permission denied"]


def test_a_folder_where_a_file_should_be(built: Path) -> None:
    (built / "a.py").unlink()
    (built / "a.py").mkdir()
    for force in (False, True):
        done = write(built, files(a="new", b="new"), force=force)
        (problem,) = [writer.problem(built.parent, change) for change in done.refused]
        assert problem.message == f"{built / 'a.py'} is a folder"
        assert "move it" in str(problem.help)
    assert (built / "b.py").read_text() == "new"
    assert (built / "a.py").is_dir()


@pytest.mark.parametrize("kind", ["a folder", "not a file"])
def test_something_other_than_a_file_in_place_of_the_lock(
    built: Path, kind: str
) -> None:
    lock_file = built / lock.NAME
    lock_file.unlink()
    if kind == "a folder":
        lock_file.mkdir()
    else:
        os.mkfifo(lock_file)
    before = snapshot(built)
    for force in (False, True):
        with pytest.raises(SpecError) as error:
            write(built, files(a="1", b="new"), force=force)
        assert messages(error) == [f"{lock_file} is {kind}"]
    assert "not-a-file" in {p.code for p in drift(built, files(a="1", b="new"))}
    assert snapshot(built) == before


def test_a_link_is_replaced_and_its_target_kept(built: Path) -> None:
    target = built.parent / "target.py"
    target.write_text("mine")
    (built / "a.py").unlink()
    (built / "a.py").symlink_to(target)
    assert names(write(built, files(a="new")).refused) == ["a.py"]
    write(built, files(a="new"), force=True)
    assert not (built / "a.py").is_symlink()
    assert (built / "a.py.orig").readlink() == target
    assert target.read_text() == "mine"


def test_a_failure_keeps_a_link(built: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (built / "b.py").unlink()
    (built / "b.py").symlink_to(built / "a.py")
    monkeypatch.setattr(Path, "replace", fail_at(3, Path.replace))
    with pytest.raises(SpecError):
        write(built, files(a="new", b="new"), force=True)
    monkeypatch.undo()
    assert (built / "b.py").readlink() == built / "a.py"
    assert (built / "a.py").read_text() == "1"


def test_a_dangling_link_is_not_written_through(built: Path) -> None:
    (built / "d.py").symlink_to(built.parent / "nowhere")
    (refused,) = write(built, files(d="4")).refused
    assert writer.problem(built.parent, refused).code == "edited-file"
    assert not (built.parent / "nowhere").exists()


def test_a_linked_folder_is_written_into(built: Path) -> None:
    link = built.parent / "link"
    link.symlink_to(built, target_is_directory=True)
    write(link, files(a="new"))
    assert link.is_symlink()
    assert contents(built) == files(a="new")


def test_a_pipe_does_not_block(built: Path) -> None:
    os.mkfifo(built / "d.py")
    for force in (False, True):
        (refused,) = write(built, files(d="4"), force=force).refused
        problem = writer.problem(built.parent, refused)
        assert problem.message == f"{built / 'd.py'} is not a file"


def test_a_linked_folder_on_another_disk(tmp_path: Path) -> None:
    shm = Path("/dev/shm")
    if not shm.is_dir() or shm.stat().st_dev == tmp_path.stat().st_dev:
        pytest.skip("there is no other disk")
    with TemporaryDirectory(dir=shm) as elsewhere:
        (tmp_path / "net").symlink_to(elsewhere, target_is_directory=True)
        for build in (files(a="1", b="2"), files(a="new", c="3")):
            write(tmp_path / "net", build)
            assert contents(Path(elsewhere)) == build
        before = snapshot(Path(elsewhere))
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(Path, "unlink", fail_at(0, Path.unlink))
            with pytest.raises(SpecError):
                write(tmp_path / "net", files(a="newer", d="4"))
        assert snapshot(Path(elsewhere)) == before
        assert list(tmp_path.iterdir()) == [tmp_path / "net"]


def test_a_link_to_nothing_where_the_folder_should_be(tmp_path: Path) -> None:
    link = tmp_path / "net"
    link.symlink_to(tmp_path / "gone")
    with pytest.raises(SpecError) as error:
        write(link / "deeper", files(a="1"))
    reason = f"{link} is a link to what does not exist"
    assert messages(error) == [f"cannot write {link}: {reason}"]
    assert link.is_symlink()


def test_a_link_that_is_called_like_what_is_left_is_removed(
    built: Path, tmp_path: Path
) -> None:
    mine = tmp_path / "mine"
    mine.mkdir()
    (mine / "file").write_text("kept")
    (built / f"{LEFT}x").symlink_to(mine)
    (built / f"{LEFT}gone").symlink_to(tmp_path / "gone")
    write(built, files(a="new"))
    assert not [*built.glob(f"{LEFT}*")]
    assert contents(mine) == {"file": b"kept"}
