"""`specgen build` of several specs, next to edits, other specs and another runtime."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from specgen import build, cli, lock, writer
from specgen.diagnostics import SpecError

ROOT = Path(__file__).parent.parent
SPEC = """\
specgen: 1
name: Net
summary: >
  A network
  of two lines.
input: {channels: 3, height: 16, width: 16}
layers:
  # What it sees first.
  conv1: {op: conv2d, out_channels: 4, kernel_size: 3}
  relu1: {op: relu}
  flat: {op: flatten}
  fc1: {op: linear, out_features: 5}
"""


@pytest.fixture
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A project with the specs one, two and three, the third a variant."""
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    (tmp_path / "project" / "specs").mkdir(parents=True)
    monkeypatch.chdir(tmp_path / "project")
    Path("specs/one.yaml").write_text(SPEC)
    Path("specs/two.yml").write_text(SPEC.replace("out_features: 5", "out_features: 6"))
    Path("specs/three.yaml").write_text("extends: one.yaml\n")
    Path("specs/notes.md").write_text("no spec")
    Path("specs/.swap.yaml").write_text("no spec")
    return Path()


def run(*arguments: str) -> int:
    return cli.main(["build", *arguments])


def state(folder: str = "generated") -> dict[str, bytes]:
    files = (path for path in Path(folder).rglob("*") if path.is_file())
    return {path.as_posix(): path.read_bytes() for path in files}


def test_a_folder_means_its_specs(
    here: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert run("specs") == 0
    assert {p.name for p in Path("generated").iterdir()} == {
        "one",
        "two",
        "three",
        "runtime",
    }
    said = capsys.readouterr().out.splitlines()
    assert f"wrote generated/one: {len(state('generated/one'))} files" in said
    assert run("specs", "specs/two.yml", "specs/../specs/two.yml") == 0
    assert capsys.readouterr().out.splitlines() == [
        "generated/one is up to date",
        "generated/three is up to date",
        "generated/two is up to date",
    ]
    assert run("specs", "--check") == 0
    assert run("specs/one.yaml", "specs/two.yml", "--check") == 0


def test_if_one_is_wrong_all_errors_are_reported_and_nothing_is_built(
    here: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    Path("specs/one.yaml").write_text(SPEC.replace("relu}", "relo}"))
    Path("specs/four.yaml").write_text(SPEC.replace("name:", "nam:"))
    assert run("specs") == 1
    said = capsys.readouterr().err
    assert said.count("error[unknown-op]") == 1  # three's base, too
    assert said.count("error[unknown-key]") == 1
    assert not Path("generated").exists()


@pytest.mark.parametrize("folder", ["empty", "generated"])
def test_a_folder_without_specs(
    here: Path, folder: str, capsys: pytest.CaptureFixture[str]
) -> None:
    Path(folder).mkdir()
    assert run(folder, "specs/one.yaml") == 1
    assert f"error[no-specs]: there are no specs in {folder}" in capsys.readouterr().err
    assert state() == {}


def test_pipes_and_links_to_themselves_are_no_specs(
    here: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    os.mkfifo("specs/pipe.yaml")
    assert run("specs") == 1
    assert (
        "error[cannot-read]: specs/pipe.yaml is not a file" in capsys.readouterr().err
    )
    Path("specs/pipe.yaml").unlink()
    Path("specs/loop.yaml").symlink_to("loop.yaml")
    assert run("specs") == 1
    assert "cannot read specs/loop.yaml: too many levels" in capsys.readouterr().err
    assert not Path("generated").exists()


@pytest.mark.parametrize("other", ["other/one.yaml", "specs/one.yml", "other/ONE.yaml"])
def test_two_specs_with_one_name_at_once(
    here: Path, other: str, capsys: pytest.CaptureFixture[str]
) -> None:
    Path(other).parent.mkdir(exist_ok=True)
    Path(other).write_text(SPEC)
    assert run("specs/one.yaml", other, "--force") == 1
    said = capsys.readouterr().err
    assert f"[folder-taken]: specs/one.yaml and {other} would go" in said
    assert state() == {}


def test_two_specs_with_one_name_one_after_the_other(
    here: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    Path("other").mkdir()
    Path("other/one.yaml").write_text(SPEC.replace("Net", "Other"))
    assert run("specs/one.yaml") == 0
    before = state()
    for options in ((), ("--check",)):
        assert run("other/one.yaml", *options) == 1
        message = "generated/one belongs to another spec, specs/one.yaml"
        assert f"error[folder-taken]: {message}" in capsys.readouterr().err
        assert state() == before
    shutil.rmtree(tmp_path / "cache")  # as on another machine
    assert run("other/one.yaml") == 1
    assert "belongs to another spec, specs/one.yaml" in capsys.readouterr().err
    assert run("specs/one.yaml") == 0
    assert run("other/one.yaml", "--force") == 0
    assert run("other/one.yaml", "--check") == 0
    assert b"class Other" in state()["generated/one/model.py"]


def test_two_specs_with_one_name_far_from_the_output(
    here: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    Path("other").mkdir()
    Path("other/one.yaml").write_text(SPEC.replace("Net", "Other"))
    output = ("--output", str(tmp_path / "a" / "b" / "c"))
    assert run("specs/one.yaml", *output) == 0
    assert run("other/one.yaml", *output) == 1
    assert "error[folder-taken]" in capsys.readouterr().err
    assert run("specs/one.yaml", *output, "--check") == 0
    assert run("other/one.yaml", *output, "--force") == 0
    assert run("specs/one.yaml", *output) == 1


def test_a_spec_that_moves_is_the_same(here: Path) -> None:
    assert run("specs/one.yaml") == 0
    Path("specs").rename("networks")
    assert run("networks/one.yaml", "--check") == 0
    assert run("networks/one.yaml", "--set", "name=Other") == 0
    assert run("networks", "--check") == 1  # two and three are not built


@pytest.mark.parametrize(
    "arguments", [("--check", "--force"), ("--diff",), ("--diff", "--force")]
)
def test_wrong_usage(
    here: Path, arguments: tuple[str, ...], capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(SystemExit) as ended:
        run("specs", *arguments)
    assert ended.value.code == 2
    assert "usage: specgen build" in capsys.readouterr().err


def test_check_shows_how_each_file_would_change(
    here: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert run("specs/one.yaml") == 0
    before = state()
    Path("specs/one.yaml").write_text(SPEC.replace("name: Net", "name: Other"))
    capsys.readouterr()
    assert run("specs/one.yaml", "--check", "--diff") == 1
    said = capsys.readouterr()
    assert "--- generated/one/model.py\n+++ generated/one/model.py\n" in said.out
    assert "-class Net(nn.Module):\n+class Other(nn.Module):\n" in said.out
    assert "generated/one/model.py is out of date" in said.err
    assert state() == before
    assert run("specs/one.yaml", "--check") == 1
    assert capsys.readouterr().out == ""


def test_only_the_file_that_was_edited_is_refused(
    here: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert run("specs") == 0
    model, data = Path("generated/one/model.py"), Path("generated/one/data.py")
    edited = model.read_text() + "# mine\n"
    model.write_text(edited)
    data.unlink()
    capsys.readouterr()
    assert run("specs") == 1
    said = capsys.readouterr()
    assert said.err.count("error[edited-file]: generated/one/model.py was edited") == 1
    assert "wrote generated/one/data.py" in said.out
    assert "-# mine\n" in said.out
    assert model.read_text() == edited

    assert run("specs", "--force") == 0
    said = capsys.readouterr()
    assert "saved the edited file as generated/one/model.py.orig\n" in said.out
    assert Path("generated/one/model.py.orig").read_text() == edited
    assert run("specs", "--check") == 0
    assert run("specs") == 0


def test_a_windows_checkout_is_up_to_date(here: Path) -> None:
    assert run("specs") == 0
    git("init", "-q", ".")
    git("add", "-A")
    git("commit", "-q", "-m", "all")
    git("clone", "-q", "-c", "core.autocrlf=true", ".", "windows")
    os.chdir("windows")
    for path in ("specs/one.yaml", "generated/one/model.py"):
        assert b"\r\n" in Path(path).read_bytes()
    before = state()
    assert run("specs", "--check") == 0
    assert run("specs") == 0
    assert run("specs") == 0  # of the cache
    assert state() == before
    Path("specs/one.yaml").write_bytes(
        Path("specs/one.yaml").read_bytes().replace(b"Net", b"Other")
    )
    assert run("specs") == 0
    git("diff", "--exit-code", "--stat", "generated/two")


def git(*arguments: str) -> None:
    identity = ("-c", "user.name=A", "-c", "user.email=a@example.org")
    subprocess.run(["git", *identity, *arguments], check=True, capture_output=True)


def runtime(content: bytes) -> dict[str, bytes]:
    """Return the files of a runtime folder."""
    files = {"shared.py": content}
    return files | {lock.NAME: lock.dump_runtime(files)}


def test_other_networks_need_a_build_after_a_newer_runtime(tmp_path: Path) -> None:
    def network(shared: dict[str, bytes]) -> dict[str, bytes]:
        digest = lock.digest(lock.NAME, shared[lock.NAME])
        text = lock.dump(Path("net.yaml"), {}, [], {}, runtime=digest)
        return {lock.NAME: text}

    old, new = runtime(b"old"), runtime(b"new")
    writer.write(tmp_path, {lock.RUNTIME: old, "a": network(old), "b": network(old)})
    writer.write(tmp_path, {"own": {lock.NAME: lock.dump_runtime({})}})
    assert build.stale(tmp_path, {lock.RUNTIME: old, "a": network(old)}) == []
    writer.write(tmp_path, {lock.RUNTIME: new, "a": network(new)})
    assert build.stale(tmp_path, {lock.RUNTIME: new, "a": network(new)}) == [
        tmp_path / "b"
    ]
    (problem,) = writer.drift(tmp_path, {lock.RUNTIME: new, "b": network(new)})
    assert problem.message == f"{tmp_path / 'b' / lock.NAME} is out of date"


@pytest.mark.parametrize(
    "stem",
    ["con", "NUL", "com1", "LPT9.v2", "aux.", "net.", "runtime", "Runtime", "a b"],
)
def test_a_name_that_no_folder_can_have(
    here: Path, stem: str, capsys: pytest.CaptureFixture[str]
) -> None:
    Path(f"{stem}.yaml").write_text(SPEC)
    assert run(f"{stem}.yaml") == 1
    said = capsys.readouterr().err
    assert f"error[bad-name]: {stem!r} " in said
    assert "= help: rename the spec's file" in said
    assert not Path("generated").exists()


@pytest.mark.parametrize("stem", ["console", "com", "null", "runtime2", "v1.0"])
def test_a_name_that_is_almost_one_of_these(here: Path, stem: str) -> None:
    Path(f"{stem}.yaml").write_text(SPEC)
    assert run(f"{stem}.yaml") == 0


def test_concurrent_builds_from_the_command_line(here: Path) -> None:
    """Two changes to one spec at once: one is built after the other, completely."""
    command = [sys.executable, "-m", "specgen", "build", "specs/one.yaml", "--set"]
    environment = os.environ | {"PYTHONPATH": str(ROOT)}
    for _ in range(int(os.environ.get("SPECGEN_SOAK", "1"))):
        builds = [
            subprocess.Popen(
                [*command, f"layers.fc1.out_features={number}"], env=environment
            )
            for number in (7, 8, 9)
        ]
        assert [build.wait() for build in builds] == [0, 0, 0]
        checks = [
            run("specs/one.yaml", "--set", f"layers.fc1.out_features={n}", "--check")
            for n in (7, 8, 9)
        ]
        assert sorted(checks) == [0, 1, 1]
        assert len(list(Path("generated").iterdir())) == 2  # runtime, too


def test_a_folder_that_cannot_be_listed(
    here: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(path: Path) -> None:
        raise PermissionError(13, "Permission denied")

    monkeypatch.setattr(Path, "iterdir", refuse)
    with pytest.raises(SpecError, match="cannot read specs: Permission denied"):
        build.find([Path("specs")])
