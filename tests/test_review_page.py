"""docs/review.md shows what is printed; its files and commands do what it says."""

from __future__ import annotations

import os
import re
import shlex
import subprocess
import sys
from pathlib import Path
from typing import Any

import github
import pytest
import yaml
from helpers import ROOT, spec_text
from test_action import MARKER, change, git

from action import pull_request
from specgen import cli

PAGE = (ROOT / "docs/review.md").read_text()


def blocks(kind: str, heading: str) -> list[str]:
    """Return the fenced blocks of a section."""
    (section,) = re.findall(rf"^## {heading}\n(.*?)(?=^## |\Z)", PAGE, re.M | re.S)
    fenced = re.findall(r"^```(\w*)\n(.*?)^```$", section, re.M | re.S)
    return [text for its_kind, text in fenced if its_kind == kind]


@pytest.fixture(scope="module")
def repository(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """AlexNet in a commit, built, and another width in the work tree."""
    path = tmp_path_factory.mktemp("page")
    (path / "specs").mkdir()
    (path / "specs/alexnet.yaml").write_text(spec_text("alexnet"))
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("XDG_CACHE_HOME", str(path / ".git/cache"))
        patch.chdir(path)
        git("init", "--quiet")
        assert cli.main(["build", "specs"]) == 0
        git("add", "--all")
        git("commit", "--quiet", "--no-gpg-sign", "-m", "one")
        wide = "conv3: {op: conv2d, out_channels: "
        change("specs/alexnet.yaml", f"{wide}384", f"{wide}256")
    return path


@pytest.fixture(autouse=True)
def there(repository: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in list(os.environ):
        if name.startswith("GIT_"):
            monkeypatch.delenv(name)
    monkeypatch.setenv("GIT_CONFIG_GLOBAL", os.devnull)
    monkeypatch.setenv("XDG_CACHE_HOME", str(repository / ".git/cache"))
    monkeypatch.chdir(repository)


def test_what_check_says_about_the_change(capsys: pytest.CaptureFixture[str]) -> None:
    assert cli.main(["build", "--check", "--diff", "specs/"]) == 1
    (shown,) = blocks("", "See what has changed")
    assert capsys.readouterr().out.endswith(f"\n\n{shown}")


def test_the_workflow_fits_the_action() -> None:
    workflow, *_ = blocks("yaml", "In CI")
    job = yaml.safe_load(workflow)
    checkout, action = job["jobs"]["specgen"]["steps"]
    assert job["permissions"] == {"contents": "read", "pull-requests": "write"}
    assert checkout["with"] == {"fetch-depth": 2}
    assert action["uses"] == "OWNER/specgen@REF"
    rows = dict(re.findall(r"^\| `(\S+)` \| `(\S+)` \| ", PAGE, re.M))
    inputs = {k: v["default"] for k, v in github.ACTION["inputs"].items()}
    assert rows == inputs
    assert action["with"].keys() <= inputs.keys()


def test_the_comment_on_the_change(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    base = git("rev-parse", "HEAD")
    git("checkout", "--quiet", "--detach")
    git("commit", "--quiet", "--no-gpg-sign", "-a", "-m", "two")
    values = {
        "SPECS": "specs",
        "OUTPUT": "generated",
        "COMMENT": "true",
        "PULL_REQUEST": "7",
        "BASE": base,
        "HEAD": git("rev-parse", "HEAD"),
        "TOKEN": "key",
        "GITHUB_STEP_SUMMARY": str(tmp_path / "summary"),
        "GITHUB_REPOSITORY": "me/nets",
    }
    for key, value in values.items():
        monkeypatch.setenv(key, value)
    with github.serving() as server:
        monkeypatch.setenv("GITHUB_API_URL", server.url)
        pull_request.main()
        (comment,) = server.comments
    git("reset", "--quiet", base)
    quoted = re.findall(r"^>( .*)?$", PAGE, re.M)
    text = "\n".join(line.removeprefix(" ") for line in quoted)
    assert comment["body"] == f"{MARKER}\n{text}"


def test_the_hooks(capsys: pytest.CaptureFixture[str]) -> None:
    hooks = {
        hook["id"]: hook
        for hook in yaml.safe_load((ROOT / ".pre-commit-hooks.yaml").read_text())
    }
    (page,) = blocks("yaml", "Before a commit")
    (used,) = yaml.safe_load(page)["repos"][0]["hooks"]
    assert hooks.keys() == {"specgen-check", "specgen-build"}
    assert hooks[used["id"]] | used == hooks[used["id"]]
    for path in ("specs/alexnet.yaml", "generated/alexnet/model.py"):
        assert re.search(used["files"], path)

    def run(hook: dict[str, Any]) -> int:
        assert not hook["pass_filenames"]
        program, *arguments = shlex.split(hook["entry"])
        assert program == "specgen"
        return cli.main([*arguments, *hook["args"]])

    def status() -> str:
        return git("status", "--short", "generated")

    assert run(hooks["specgen-check"]) == 1
    assert status() == ""
    assert run(hooks["specgen-build"]) == 0
    assert "M generated/alexnet/model.py" in status()
    assert run(hooks["specgen-check"]) == 0
    git("checkout", "--quiet", "generated")


def test_the_diff_driver(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    program = tmp_path / "bin/specgen"
    program.parent.mkdir()
    program.write_text(f'#!/bin/sh\nexec "{sys.executable}" -m specgen "$@"\n')
    program.chmod(0o755)
    monkeypatch.setenv("PATH", f"{program.parent}{os.pathsep}{os.environ['PATH']}")
    monkeypatch.setenv("PYTHONPATH", str(ROOT))

    attributes, *_ = blocks("", "In git diff")
    Path(".git/info/attributes").write_text(attributes)
    command, example = blocks("console", "In git diff")
    subprocess.run(["sh", "-ec", command], check=True)
    prompt, _, shown = example.partition("\n")
    done = subprocess.run(
        prompt.removeprefix("$ ").split(), capture_output=True, text=True
    )
    assert (done.returncode, done.stderr) == (0, "")
    assert done.stdout == shown

    overlay = Path("specs/over.yaml")
    overlay.write_text("extends: alexnet.yaml\ntraining: {epochs: 5}\n")
    git("add", str(overlay))
    overlay.write_text("extends: alexnet.yaml\ntraining: {epochs: 6}\n")
    meaning = git("diff", "--", "specs/over.yaml")
    assert "  training.epochs   5 -> 6" in meaning
    assert "  layers.conv3.out_channels   384 -> 256" in meaning  # of the base
    git("rm", "--quiet", "--cached", "--force", str(overlay))
    overlay.unlink()

    Path("specs/-$(touch pwned).yaml").write_text("extends: alexnet.yaml\n")
    git("add", "--intent-to-add", "specs")
    lines = git("diff", "--", "specs/-*").splitlines()
    assert lines[0].startswith("--- /dev/null")
    assert lines[-1] == "+extends: alexnet.yaml"
    git("rm", "--quiet", "--cached", "specs/-*")
    Path("specs/-$(touch pwned).yaml").unlink()
    assert not Path("pwned").exists()
