"""Real git merges of branches that built different things: build, and nothing else."""

from __future__ import annotations

import os
import re
import shlex
import shutil
import subprocess
from collections.abc import Callable
from pathlib import Path

import pytest

from specgen import cli

ROOT = Path(__file__).parent.parent
SPEC = """\
specgen: 1
name: Net
input: {channels: 3, height: 16, width: 16}
layers:
  conv1: {op: conv2d, out_channels: 4, kernel_size: 3}
  relu1: {op: relu}
  drop1: {op: dropout}
  pool1: {op: max_pool2d, kernel_size: 2}
  conv2: {op: conv2d, out_channels: 8, kernel_size: 3}
  relu2: {op: relu}
  flat: {op: flatten}
  fc1: {op: linear, out_features: 10}
  fc2: {op: linear, out_features: 5}
training: {epochs: 2}
"""
OURS = ("{op: dropout}", "{op: dropout, p: 0.25}")
THEIRS = ("out_features: 5", "out_features: 6")
NEIGHBOR = ("kernel_size: 2", "kernel_size: 4")  # its model.py conflicts with THEIRS's

ONNX = {"model.onnx", "model.onnx.txt"}


class Repository:
    """A repository with a spec and its folder."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.spec = path / "net.yaml"
        self.folder = path / "generated" / "net"

    def begin(self) -> None:
        self.spec.write_text(SPEC)
        self.git("init", "-q", "-b", "main")
        self.git("config", "user.email", "a@example.org")
        self.git("config", "user.name", "A")
        self.commit()

    def git(self, *arguments: str, fails: bool = False) -> str:
        command = ["git", *arguments]
        environment = os.environ | {
            "GIT_EDITOR": "true",
            "GIT_CONFIG_GLOBAL": os.devnull,
        }
        done = subprocess.run(
            command, cwd=self.path, env=environment, capture_output=True, text=True
        )
        assert (done.returncode != 0) == fails, done.stdout + done.stderr
        return done.stdout

    def build(self, *options: str) -> int:
        output = ["--output", str(self.path / "generated")]
        return cli.main(["build", str(self.spec), *output, *options])

    def change(self, old: str, new: str) -> None:
        text = self.spec.read_text()
        assert old in text
        self.spec.write_text(text.replace(old, new))

    def commit(self, *changes: tuple[str, str]) -> None:
        for change in changes:
            self.change(*change)
        assert self.build() == 0
        self.git("add", "-A")
        self.git("commit", "-q", "-m", "change")

    def conflicts(self) -> set[str]:
        names = self.git("diff", "--name-only", "--diff-filter=U").split()
        return {Path(name).name for name in names}


@pytest.fixture(scope="module")
def template(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A repository with one branch that changed drop1 and one that changed fc2."""
    path = tmp_path_factory.mktemp("template")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("XDG_CACHE_HOME", str(path.parent / "cache"))
        repository = Repository(path)
        repository.begin()
        for branch, change in (("theirs", THEIRS), ("ours", OURS)):
            repository.git("checkout", "-q", "-b", branch, "main")
            repository.commit(change)
    return path


@pytest.fixture
def repository(
    template: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> Repository:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    path = shutil.copytree(template, tmp_path / "repository", symlinks=True)
    return Repository(path)


def merge(repository: Repository) -> None:
    repository.git("merge", "theirs", fails=True)
    assert repository.conflicts() == {"specgen.lock", *ONNX}


def merge_on_windows(repository: Repository) -> None:
    repository.git("config", "core.autocrlf", "true")
    shutil.rmtree(repository.folder)
    repository.git("checkout", "-q", "--", ".")
    merge(repository)
    assert b"\r\n" in (repository.folder / "model.py").read_bytes()


def merge_lines_of_both(repository: Repository) -> None:
    path = repository.path / ".git" / "info" / "attributes"
    path.write_text("specgen.lock merge=union\n")
    repository.git("merge", "theirs", fails=True)
    assert repository.conflicts() == ONNX


def rebase(repository: Repository) -> None:
    repository.git("checkout", "-q", "theirs")
    repository.git("rebase", "ours", fails=True)


def cherry_pick(repository: Repository) -> None:
    repository.git("cherry-pick", "theirs", fails=True)


def pop_a_stash(repository: Repository) -> None:
    repository.git("checkout", "-q", "main")
    repository.change(*OURS)
    assert repository.build() == 0
    repository.git("stash")
    repository.git("merge", "-q", "--ff-only", "theirs")
    repository.git("stash", "pop", fails=True)


def end_with_one_side(repository: Repository) -> None:
    """End the merge with the lock of the other side, and build nothing."""
    merge(repository)
    repository.git("checkout", "--theirs", ".")
    repository.git("add", "-A")
    repository.git("commit", "-q", "-m", "merged")


@pytest.mark.parametrize(
    "begin",
    [
        merge,
        merge_on_windows,
        merge_lines_of_both,
        rebase,
        cherry_pick,
        pop_a_stash,
        end_with_one_side,
    ],
)
def test_after_a_merge_build_simply_builds(
    repository: Repository, begin: Callable[[Repository], None]
) -> None:
    begin(repository)
    text = repository.spec.read_text()
    assert OURS[1] in text
    assert THEIRS[1] in text  # git has merged the spec
    assert repository.build() == 0
    assert repository.build("--check") == 0
    repository.git("add", "-A")
    assert repository.conflicts() == set()
    assert list(repository.folder.glob("*.orig")) == []


def test_a_merge_that_was_merged_unbuilt_is_not_an_edit(repository: Repository) -> None:
    end_with_one_side(repository)
    repository.git("checkout", "-q", "-b", "later", "main")
    repository.git("commit", "-q", "--allow-empty", "-m", "more")
    repository.git("merge", "-q", "--no-edit", "ours")
    assert repository.build() == 0
    assert list(repository.folder.glob("*.orig")) == []


@pytest.mark.parametrize("style", ["merge", "diff3", "zdiff3"])
def test_a_conflict_in_the_code_is_not_an_edit(
    repository: Repository, style: str
) -> None:
    repository.git("checkout", "-q", "-b", "neighbor", "main")
    repository.commit(NEIGHBOR)
    repository.git("config", "merge.conflictStyle", style)
    repository.git("merge", "theirs", fails=True)
    assert "model.py" in repository.conflicts()
    assert "<<<<<<<" in (repository.folder / "model.py").read_text()
    assert repository.build() == 0
    assert repository.build("--check") == 0


def test_a_revert_is_not_an_edit(repository: Repository) -> None:
    repository.commit(THEIRS)
    repository.git("revert", "HEAD~1", fails=True)
    assert OURS[0] in repository.spec.read_text()
    assert repository.build() == 0


EDIT = "# a person's line\n"


def edit_before(repository: Repository) -> None:
    """One branch has an edit that its lock does not know."""
    repository.git("checkout", "-q", "theirs")
    append(repository.folder / "model.py")
    repository.git("commit", "-q", "-a", "-m", "edit")
    repository.git("checkout", "-q", "ours")
    merge(repository)


def edit_after(repository: Repository) -> None:
    merge(repository)
    append(repository.folder / "model.py")


def append(path: Path) -> None:
    path.write_text(path.read_text() + EDIT)


@pytest.mark.parametrize("edit", [edit_before, edit_after])
def test_a_real_edit_is_kept(
    repository: Repository,
    edit: Callable[[Repository], None],
    capsys: pytest.CaptureFixture[str],
) -> None:
    edit(repository)
    capsys.readouterr()
    assert repository.build() == 1
    said = capsys.readouterr()
    assert said.err.count("was edited by hand") == 1
    assert f"-{EDIT}" in said.out
    model = repository.folder / "model.py"
    assert EDIT in model.read_text()
    assert repository.build("--force") == 0
    assert EDIT not in model.read_text()
    assert EDIT in model.with_name("model.py.orig").read_text()


def test_the_merge_driver_of_the_docs(repository: Repository) -> None:
    page = (ROOT / "docs" / "review.md").read_text()
    commands = re.findall(r"^git config merge.*", page, re.MULTILINE)
    assert commands
    for command in commands:
        repository.git(*shlex.split(command)[1:])
    (line,) = re.findall(r"^generated/.* merge=.*", page, re.MULTILINE)
    (repository.path / ".git" / "info" / "attributes").write_text(f"{line}\n")
    repository.git("merge", "-q", "--no-edit", "theirs")
    assert repository.build() == 0
    assert repository.build("--check") == 0


def test_without_git_a_merge_is_an_edit(
    repository: Repository, monkeypatch: pytest.MonkeyPatch
) -> None:
    merge(repository)
    monkeypatch.setenv("PATH", "")
    assert repository.build() == 1
