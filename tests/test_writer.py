from __future__ import annotations

import errno
import os
import stat
from collections.abc import Callable
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from specgen import lock, writer
from specgen.diagnostics import SpecError


def files(**contents: str) -> dict[str, bytes]:
    """Return the files `<name>.py` of a build, with their lock."""
    outputs = {f"{name}.py": text.encode() for name, text in contents.items()}
    spec = Path("net.yaml")
    return outputs | {lock.NAME: lock.dump(spec, {spec: b""}, [], outputs)}


def snapshot(folder: Path) -> dict[str, tuple[bytes, int]]:
    """Return content and time of change of everything below the folder."""
    return {
        path.relative_to(folder).as_posix(): (
            path.read_bytes(),
            path.stat().st_mtime_ns,
        )
        for path in folder.rglob("*")
        if path.is_file()
    }


def contents(folder: Path) -> dict[str, bytes]:
    return {name: content for name, (content, _) in snapshot(folder).items()}


def messages(error: pytest.ExceptionInfo[SpecError]) -> list[str]:
    return [diagnostic.message for diagnostic in error.value.diagnostics]


@pytest.fixture
def built(tmp_path: Path) -> Path:
    """Return a folder with a build of a, b and c."""
    folder = tmp_path / "generated" / "net"
    writer.write(folder, files(a="1", b="2", c="3"))
    for path in folder.iterdir():
        os.utime(path, (0, 0))
    return folder


def test_writes_a_new_folder(tmp_path: Path) -> None:
    folder = tmp_path / "deep" / "er" / "net"
    new = files(a="1", b="2")
    assert set(writer.write(folder, new).written) == set(new)
    assert contents(folder) == new
    umask = os.umask(0)
    os.umask(umask)
    modes = {stat.S_IMODE(path.stat().st_mode) for path in folder.iterdir()}
    assert modes == {0o666 & ~umask}


def test_a_build_that_changes_nothing_touches_nothing(built: Path) -> None:
    built.chmod(0o555)
    before = snapshot(built), built.stat().st_mtime_ns
    changes = writer.write(built, files(a="1", b="2", c="3"))
    assert changes == writer.Changes((), (), ())
    assert (snapshot(built), built.stat().st_mtime_ns) == before


def test_equal_files_are_untouched_and_old_ones_removed(built: Path) -> None:
    changes = writer.write(built, files(a="1", b="new", d="4"))
    assert changes == writer.Changes(("b.py", "d.py", lock.NAME), ("c.py",), ())
    assert contents(built) == files(a="1", b="new", d="4")
    assert (built / "a.py").stat().st_mtime == 0


def test_other_files_of_the_folder_stay(built: Path) -> None:
    (built / "notes.md").write_text("mine")
    (built / "runs").mkdir()
    writer.write(built, files(a="new"))
    assert contents(built) == files(a="new") | {"notes.md": b"mine"}
    assert (built / "runs").is_dir()


def test_a_file_that_went_missing_is_written_again(built: Path) -> None:
    (built / "a.py").unlink()
    assert writer.write(built, files(a="1", b="2", c="3")).written == ("a.py",)
    assert contents(built) == files(a="1", b="2", c="3")


def test_edited_files_are_never_overwritten(built: Path) -> None:
    (built / "a.py").write_text("mine")
    (built / "c.py").write_text("mine")
    before = snapshot(built)
    new = files(a="new", b="new")  # c is to be removed
    with pytest.raises(SpecError) as error:
        writer.write(built, new)
    assert messages(error) == [
        f"{built / 'a.py'} was edited by hand",
        f"{built / 'c.py'} was edited by hand",
    ]
    assert "--force" in str(error.value.diagnostics[0].help)
    assert snapshot(built) == before

    assert writer.write(built, new, force=True).edited == ("a.py", "c.py")
    assert contents(built) == new


def test_an_edit_that_the_build_also_makes_is_no_edit(built: Path) -> None:
    (built / "a.py").write_text("new")
    assert "a.py" not in writer.write(built, files(a="new")).written


@pytest.mark.parametrize("broken", ["<<<<<<< ours", None])
def test_without_a_lock_every_other_file_is_a_persons(
    built: Path, broken: str | None
) -> None:
    if broken is None:
        (built / lock.NAME).unlink()
    else:
        (built / lock.NAME).write_text(broken)
    with pytest.raises(SpecError) as error:
        writer.write(built, files(a="1", b="new", c="new"))
    assert [m.split()[0] for m in messages(error)] == [
        str(built / "b.py"),
        str(built / "c.py"),
    ]
    writer.write(built, files(a="1", b="2", c="3"))
    assert contents(built) == files(a="1", b="2", c="3")


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
        *[("write_bytes", count) for count in range(3)],
        *[("replace", count) for count in range(3)],
        ("unlink", 0),
        *[("mkdir", count) for count in range(3)],
    ],
)
def test_a_failure_leaves_everything_as_it_was(
    built: Path, monkeypatch: pytest.MonkeyPatch, operation: str, count: int
) -> None:
    before = snapshot(built)
    monkeypatch.setattr(Path, operation, fail_at(count, getattr(Path, operation)))
    with pytest.raises(SpecError) as error:
        writer.write(built, files(a="1", b="new", d="4"))
    monkeypatch.undo()
    assert messages(error) == [f"cannot write {built}: No space left on device"]
    assert snapshot(built) == before
    assert {path.name for path in built.iterdir()} == set(before)


@pytest.mark.parametrize("operation", ["write_bytes", "replace"])
def test_a_failure_leaves_no_new_folder(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, operation: str
) -> None:
    monkeypatch.setattr(Path, operation, fail_at(1, getattr(Path, operation)))
    with pytest.raises(SpecError):
        writer.write(tmp_path / "generated" / "net", files(a="1", b="2"))
    assert not any(tmp_path.iterdir())


def test_an_interrupt_leaves_everything_as_it_was(
    built: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    before = snapshot(built)

    def interrupt(path: Path) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(Path, "unlink", interrupt)
    with pytest.raises(KeyboardInterrupt):
        writer.write(built, files(a="new"))
    monkeypatch.undo()
    assert snapshot(built) == before


def test_a_file_where_the_folder_should_be(tmp_path: Path) -> None:
    (tmp_path / "net").write_text("mine")
    for folder in (tmp_path / "net", tmp_path / "net" / "deeper"):
        with pytest.raises(SpecError) as error:
            writer.write(folder, files(a="1"))
        reason = f"{tmp_path / 'net'} is a file"
        assert messages(error) == [f"cannot write {folder}: {reason}"]
    assert contents(tmp_path) == {"net": b"mine"}


def test_a_name_that_no_folder_can_have(tmp_path: Path) -> None:
    folder = tmp_path / ("a" * 300) / "net"
    with pytest.raises(SpecError, match="File name too long"):
        writer.write(folder, files(a="1"))
    assert not any(tmp_path.iterdir())


def test_a_read_only_folder(built: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(path: str, mode: int = 0o777) -> None:  # chmod does not stop root
        raise PermissionError(errno.EACCES, "Permission denied", path)

    monkeypatch.setattr(os, "mkdir", refuse)
    with pytest.raises(SpecError) as error:
        writer.write(built, files(a="new"))
    assert messages(error) == [f"cannot write {built}: Permission denied"]


def test_a_folder_where_a_file_should_be(built: Path) -> None:
    (built / "a.py").unlink()
    (built / "a.py").mkdir()
    before = snapshot(built)
    for force in (False, True):
        with pytest.raises(SpecError) as error:
            writer.write(built, files(a="new", b="new"), force=force)
        assert messages(error) == [f"{built / 'a.py'} is a folder"]
        assert "move it" in str(error.value.diagnostics[0].help)
    assert snapshot(built) == before
    assert (built / "a.py").is_dir()


def test_a_folder_where_the_lock_should_be(tmp_path: Path) -> None:
    lock_file = tmp_path / lock.NAME
    lock_file.mkdir()
    for force in (False, True):
        with pytest.raises(SpecError) as error:
            writer.write(tmp_path, files(a="1"), force=force)
        assert messages(error) == [f"{lock_file} is a folder"]
    assert list(tmp_path.iterdir()) == [lock_file]


def test_a_link_is_replaced_and_its_target_kept(built: Path) -> None:
    target = built.parent / "target.py"
    target.write_text("mine")
    (built / "a.py").unlink()
    (built / "a.py").symlink_to(target)
    with pytest.raises(SpecError, match=r"a\.py was edited by hand"):
        writer.write(built, files(a="new"))
    writer.write(built, files(a="new"), force=True)
    assert not (built / "a.py").is_symlink()
    assert target.read_text() == "mine"


def test_a_failure_keeps_a_link(built: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (built / "b.py").unlink()
    (built / "b.py").symlink_to(built / "a.py")
    monkeypatch.setattr(Path, "replace", fail_at(2, Path.replace))
    with pytest.raises(SpecError):
        writer.write(built, files(a="new", b="new"), force=True)
    assert (built / "b.py").readlink() == built / "a.py"
    assert (built / "a.py").read_text() == "1"


def test_a_dangling_link_is_not_written_through(built: Path) -> None:
    (built / "d.py").symlink_to(built.parent / "nowhere")
    with pytest.raises(SpecError, match=r"d\.py was edited by hand"):
        writer.write(built, files(d="4"))
    assert not (built.parent / "nowhere").exists()


def test_a_linked_folder_is_written_into(built: Path) -> None:
    link = built.parent / "link"
    link.symlink_to(built, target_is_directory=True)
    writer.write(link, files(a="new"))
    assert link.is_symlink()
    assert contents(built) == files(a="new")


def test_a_pipe_is_not_waited_for(built: Path) -> None:
    os.mkfifo(built / "d.py")
    for force in (False, True):
        with pytest.raises(SpecError, match=r"d\.py is not a file"):
            writer.write(built, files(d="4"), force=force)


def test_drift_names_what_a_build_would_change(built: Path) -> None:
    assert writer.drift(built, files(a="1", b="2", c="3")) == []
    (built / "a.py").write_text("mine")
    before = snapshot(built)
    found = writer.drift(built, files(a="1", b="new", d="4"))
    assert [diagnostic.message for diagnostic in found] == [
        f"{built / 'a.py'} was edited by hand",
        f"{built / 'b.py'} is out of date",
        f"{built / 'd.py'} is missing",
        f"{built / lock.NAME} is out of date",
        f"{built / 'c.py'} is no longer generated",
    ]
    assert snapshot(built) == before
    assert len(writer.drift(built.parent / "other", files(a="1"))) == 2


builds = st.dictionaries(st.sampled_from("abcd"), st.sampled_from(["", "1", "2"]))


@given(history=st.lists(builds, min_size=1, max_size=4))
def test_the_folder_holds_the_last_build(
    tmp_path_factory: pytest.TempPathFactory, history: list[dict[str, str]]
) -> None:
    folder = tmp_path_factory.mktemp("net")
    for build in history:
        writer.write(folder, files(**build))
        assert contents(folder) == files(**build)
        assert writer.drift(folder, files(**build)) == []
