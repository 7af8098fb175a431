"""`build --check --diff` also says what has changed in a spec since it was built."""

from __future__ import annotations

import os
from pathlib import Path

import pytest
from test_action import change, git
from test_merges import SPEC

from specgen import cli

SINCE = ", which generated/net was built from:\n\n"
CHANGED = "  layers.fc2.out_features   5 -> 6"


@pytest.fixture
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A repository with a built overlay, whose base is in another folder."""
    for name in list(os.environ):
        if name.startswith("GIT_"):
            monkeypatch.delenv(name)
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    monkeypatch.setenv("GIT_CEILING_DIRECTORIES", str(tmp_path))
    (tmp_path / "project" / "specs").mkdir(parents=True)
    monkeypatch.chdir(tmp_path / "project")
    Path("pyproject.toml").touch()  # a base may be in the whole project
    Path("base.yaml").write_text(SPEC)
    Path("specs/net.yaml").write_text("extends: ../base.yaml\nname: Top\n")
    assert cli.main(["build", "specs"]) == 0
    return Path.cwd()


def commit(message: str) -> None:
    git("init", "--quiet")
    git("add", "--all")
    git("commit", "--quiet", "--no-gpg-sign", "-m", message)


def check(capsys: pytest.CaptureFixture[str], *options: str) -> str:
    capsys.readouterr()
    assert cli.main(["build", "specs", "--check", "--diff", *options]) == 1
    said = capsys.readouterr().out
    assert "--- generated/net/specgen.lock\n" in said
    return said


def test_uncommitted_changes(here: Path, capsys: pytest.CaptureFixture[str]) -> None:
    commit("built")
    change("base.yaml", "out_features: 5", "out_features: 6")
    lines, title, meaning = check(capsys).partition(
        f"\nSince HEAD:specs/net.yaml{SINCE}"
    )
    assert title
    assert "+++" in lines
    assert meaning.startswith("interface: ")
    assert CHANGED in meaning
    assert meaning.endswith("\n")


def test_a_commit_without_a_build(
    here: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    commit("built")
    built = git("rev-parse", "--short", "HEAD")
    change("base.yaml", "out_features: 5", "out_features: 6")
    commit("not built")
    change("base.yaml", "epochs: 2", "epochs: 3")
    said = check(capsys)
    assert f"\nSince {built}:specs/net.yaml{SINCE}" in said
    assert CHANGED in said
    assert "  training.epochs   2 -> 3" in said

    monkeypatch.chdir("specs")  # paths are those of git from anywhere
    capsys.readouterr()
    output = ("--output", "../generated")
    assert cli.main(["build", "net.yaml", *output, "--check", "--diff"]) == 1
    assert f"Since {built}:specs/net.yaml, which ../gen" in capsys.readouterr().out


def test_without_git_history_only_the_lines_are_shown(
    here: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    change("base.yaml", "out_features: 5", "out_features: 6")
    assert "Since" not in check(capsys)  # not a repository
    commit("changed, and built from what was never committed")
    assert "Since" not in check(capsys)


def test_an_unchanged_spec(here: Path, capsys: pytest.CaptureFixture[str]) -> None:
    commit("built")
    said = check(capsys, "--onnx-devices")  # stale for another reason
    assert "Since" not in said
