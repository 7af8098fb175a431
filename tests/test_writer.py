from __future__ import annotations

import os
import stat
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from written import build_net, contents, drift, files, names, snapshot, write

from specgen import lock, writer


@pytest.fixture
def built(tmp_path: Path) -> Path:
    return build_net(tmp_path / "generated")


def test_writes_a_new_folder(tmp_path: Path) -> None:
    folder = tmp_path / "deep" / "er" / "net"
    new = files(a="1", b="2")
    assert set(names(write(folder, new).changed)) == set(new)
    assert contents(folder) == new
    umask = os.umask(0)
    os.umask(umask)
    modes = {stat.S_IMODE(path.stat().st_mode) for path in folder.iterdir()}
    assert modes == {0o666 & ~umask}


def test_a_build_that_changes_nothing_touches_nothing(built: Path) -> None:
    built.chmod(0o555)
    before = snapshot(built), built.stat().st_mtime_ns
    changes = write(built, files(a="1", b="2", c="3"))
    assert changes == writer.Written()
    assert (snapshot(built), built.stat().st_mtime_ns) == before


def test_equal_files_are_untouched_and_old_ones_removed(built: Path) -> None:
    changes = write(built, files(a="1", b="new", d="4"))
    assert names(changes.changed) == ["b.py", "d.py", lock.NAME, "-c.py"]
    assert contents(built) == files(a="1", b="new", d="4")
    assert (built / "a.py").stat().st_mtime == 0


def test_other_files_of_the_folder_stay(built: Path) -> None:
    (built / "notes.md").write_text("mine")
    (built / "runs").mkdir()
    write(built, files(a="new"))
    assert contents(built) == files(a="new") | {"notes.md": b"mine"}
    assert (built / "runs").is_dir()


def test_leftovers_of_an_older_version_are_removed(built: Path) -> None:
    (built / ".specgen-x1y2").mkdir()
    (built / ".specgen-x1y2" / "a.py").write_text("old")
    write(built, files(a="1", b="2", c="3"))
    assert contents(built) == files(a="1", b="2", c="3")
    assert {path.name for path in built.iterdir()} == contents(built).keys()


def test_a_file_that_went_missing_is_written_again(built: Path) -> None:
    (built / "a.py").unlink()
    assert names(write(built, files(a="1", b="2", c="3")).changed) == ["a.py"]
    assert contents(built) == files(a="1", b="2", c="3")


def test_an_edited_file_is_kept_and_all_others_are_written(built: Path) -> None:
    (built / "a.py").write_text("mine")
    (built / "c.py").write_text("mine")
    new = files(a="new", b="new", d="4")  # c is to be removed
    done = write(built, new)
    assert names(done.changed) == ["b.py", "d.py", lock.NAME]
    assert names(done.refused) == ["a.py", "-c.py"]
    problems = [writer.problem(built.parent, change) for change in done.refused]
    assert [problem.message for problem in problems] == [
        f"{built / 'a.py'} was edited by hand",
        f"{built / 'c.py'} was edited by hand",
    ]
    assert "--force" in str(problems[0].help)
    mine = {"a.py": b"mine", "c.py": b"mine"}
    before = snapshot(built)
    assert contents(built) == new | mine | {lock.NAME: contents(built)[lock.NAME]}
    assert names(write(built, new).refused) == ["a.py", "-c.py"]
    assert snapshot(built) == before


def test_an_edit_that_is_undone_does_not_count(built: Path) -> None:
    for name in ("a.py", "c.py"):
        (built / name).write_text("mine")
    write(built, files(a="new", b="new"))
    (built / "a.py").write_text("1")
    (built / "c.py").write_text("3")
    done = write(built, files(a="new", b="new"))
    assert names(done.changed) == ["a.py", lock.NAME, "-c.py"]
    assert contents(built) == files(a="new", b="new")


def test_force_keeps_a_copy_and_never_overwrites_one(built: Path) -> None:
    for number, copy in enumerate(["a.py.orig", "a.py.2.orig", "a.py.3.orig"]):
        (built / "a.py").write_text(f"mine {number}")
        done = write(built, files(a="new"), force=True)
        assert done.backups == [f"net/{copy}"]
        assert done.refused == []
        assert (built / "a.py").read_text() == "new"
        assert (built / copy).read_text() == f"mine {number}"
    assert names(write(built, files(b="2")).changed) == ["b.py", lock.NAME, "-a.py"]
    assert len(list(built.glob("*.orig"))) == 3


def test_unedited_files_are_not_copied(built: Path) -> None:
    assert write(built, files(a="new"), force=True).backups == []


def test_an_edit_that_the_build_also_makes_does_not_count(built: Path) -> None:
    (built / "a.py").write_text("new")
    assert "a.py" not in names(write(built, files(a="new")).changed)


def test_line_endings_are_not_an_edit(built: Path) -> None:
    old = files(a="x\ny\n", b="1\n") | {"model.onnx": b"\n\0"}
    old[lock.NAME] = lock.dump(Path("net.yaml"), {}, [], without_lock(old))
    write(built, old)
    for name in ("a.py", "b.py", lock.NAME):
        (built / name).write_bytes(old[name].replace(b"\n", b"\r\n"))
    before = snapshot(built)
    assert drift(built, old) == []
    assert write(built, old) == writer.Written()
    assert snapshot(built) == before
    new = files(a="x\nz\n", b="1\n") | {"model.onnx": b"\n\0"}
    assert names(write(built, new).changed) == ["a.py", lock.NAME]
    assert (built / "a.py").read_bytes() == b"x\nz\n"


def test_line_endings_of_a_binary_file_are_an_edit(built: Path) -> None:
    graph = {"model.onnx": b"\n\0"}
    content = lock.dump(Path("net.yaml"), {}, [], graph)
    write(built, graph | {lock.NAME: content})
    (built / "model.onnx").write_bytes(b"\r\n\0")
    (problem,) = drift(built, graph | {lock.NAME: content})
    assert problem.code == "edited-file"


def without_lock(contents: dict[str, bytes]) -> dict[str, bytes]:
    return {name: text for name, text in contents.items() if name != lock.NAME}


@pytest.mark.parametrize("broken", ["<<<<<<< ours", None])
def test_without_a_lock_every_other_file_is_a_person_s(
    built: Path, broken: str | None
) -> None:
    if broken is None:
        (built / lock.NAME).unlink()
    else:
        (built / lock.NAME).write_text(broken)
    for _ in range(2):
        done = write(built, files(a="1", b="new", c="new"))
        assert names(done.refused) == ["b.py", "c.py"]
    write(built, files(a="1", b="2", c="3"))
    assert contents(built) == files(a="1", b="2", c="3")


def test_a_difference_is_shown_as_text(built: Path) -> None:
    (built / "a.py").write_bytes(b"1\n2\n\x1b[31m3\n")
    (built / "b.py").write_bytes(b"\xff")
    new = files(a="1\n2\nthree", b="b", d="4\n")
    changes = writer.compare(built.parent, {"net": new})
    shown = {c.path: writer.difference(Path("generated"), c) for c in changes}
    assert shown["net/a.py"].splitlines() == [
        "--- generated/net/a.py",
        "+++ generated/net/a.py",
        "@@ -1,3 +1,3 @@",
        " 1",
        " 2",
        "-\\x1b[31m3",
        "+three",
        "\\ No newline at end of file",
    ]
    assert shown["net/b.py"] == "binary file generated/net/b.py differs"
    assert shown["net/c.py"].splitlines()[:2] == [
        "--- generated/net/c.py",
        "+++ /dev/null",
    ]
    assert shown["net/d.py"].splitlines()[:2] == [
        "--- /dev/null",
        "+++ generated/net/d.py",
    ]


def test_drift_names_what_a_build_would_change(built: Path) -> None:
    assert drift(built, files(a="1", b="2", c="3")) == []
    (built / "a.py").write_text("mine")
    before = snapshot(built)
    found = drift(built, files(a="1", b="new", d="4"))
    assert [diagnostic.message for diagnostic in found] == [
        f"{built / 'a.py'} was edited by hand",
        f"{built / 'b.py'} is out of date",
        f"{built / 'd.py'} is missing",
        f"{built / lock.NAME} is out of date",
        f"{built / 'c.py'} is no longer generated",
    ]
    assert snapshot(built) == before
    assert len(drift(built.parent / "other", files(a="1"))) == 2


builds = st.dictionaries(st.sampled_from("abcd"), st.sampled_from(["", "1", "2"]))


@settings(max_examples=30)
@given(history=st.lists(builds, min_size=1, max_size=4))
def test_the_folder_has_the_last_build(
    tmp_path_factory: pytest.TempPathFactory, history: list[dict[str, str]]
) -> None:
    folder = tmp_path_factory.mktemp("net")
    for build in history:
        write(folder / "net", files(**build))
        assert contents(folder / "net") == files(**build)
        assert drift(folder / "net", files(**build)) == []
