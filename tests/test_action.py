"""The GitHub Action: its steps run on real repositories, with a stand-in for GitHub."""

from __future__ import annotations

import os
import shutil
import subprocess
from collections.abc import Iterator
from pathlib import Path

import github
import pytest
from test_merges import SPEC

from action import pull_request
from specgen import cli

CHECK, SHOW = "Check the generated folders", "Show what the pull request changes"
MARKER = "<!-- specgen diff of generated -->"
BRANCH = "a';$(touch${IFS}pwned)\"&touch\N{LATIN SMALL LETTER E WITH ACUTE}"
OVERLAY = "extends: net.yaml\nsummary: dropped less\nlayers: {drop1: {p: 0.25}}\n"


def git(*arguments: str) -> str:
    who = ("-c", "user.name=x", "-c", "user.email=x@localhost")
    command = ["git", *who, *arguments]
    done = subprocess.run(command, check=True, capture_output=True, text=True)
    return done.stdout.strip()


def commit(*, built: bool = True) -> None:
    if built:
        assert cli.main(["build", "specs"]) == 0
    git("add", "--all")
    git("commit", "--quiet", "--no-gpg-sign", "-m", "change")


def change(path: str, old: str, new: str) -> None:
    text = Path(path).read_text()
    assert old in text
    Path(path).write_text(text.replace(old, new))


@pytest.fixture(scope="module")
def template(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Two specs, built, on main; and a branch from there."""
    path = tmp_path_factory.mktemp("template")
    (path / "specs").mkdir()
    (path / "specs/net.yaml").write_text(SPEC)
    (path / "specs/less.yaml").write_text(OVERLAY)
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("XDG_CACHE_HOME", str(path.parent / "cache"))
        patch.chdir(path)
        git("init", "--quiet", "-b", "main")
        commit()
        git("checkout", "--quiet", "-b", BRANCH)
    return path


@pytest.fixture
def repository(template: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    for name in list(os.environ):
        if name.startswith(("GIT_", "GITHUB_")):
            monkeypatch.delenv(name)
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    path = shutil.copytree(template, tmp_path / "repository", symlinks=True)
    monkeypatch.chdir(path)
    return path


@pytest.fixture
def server() -> Iterator[github.GitHub]:
    with github.serving() as found:
        yield found


class Runner:
    """A workflow run: what `github` is in its expressions, and the summary."""

    def __init__(self, temp: Path, server: github.GitHub) -> None:
        self.temp = temp
        self.summary = temp / "summary.md"
        self.context = {
            "github.event.pull_request.number": "7",
            "github.event.pull_request.base.sha": git("rev-parse", "main"),
            "github.event.pull_request.head.sha": git("rev-parse", BRANCH),
            "github.token": "key",
        }
        self.variables = {
            "GITHUB_STEP_SUMMARY": str(self.summary),
            "GITHUB_REPOSITORY": "me/nets",
            "GITHUB_API_URL": server.url,
        }

    def step(self, name: str) -> subprocess.CompletedProcess[str]:
        return github.run(name, self.context, self.temp, **self.variables)

    def show(self, monkeypatch: pytest.MonkeyPatch, **more: str) -> None:
        """Do what the step does, in this process."""
        found = github.environment(SHOW, self.context)
        for key, value in (found | self.variables | more).items():
            monkeypatch.setenv(key, value)
        pull_request.main()


@pytest.fixture
def runner(repository: Path, tmp_path: Path, server: github.GitHub) -> Runner:
    """A pull request that changes the last layer, which the overlay has, too."""
    change("specs/net.yaml", "out_features: 5", "out_features: 6")
    commit()
    git("checkout", "--quiet", "main")
    change("specs/net.yaml", "epochs: 2", "epochs: 3")  # not part of this request
    commit()
    git("checkout", "--quiet", BRANCH)
    (tmp_path / "temp").mkdir()
    return Runner(tmp_path / "temp", server)


def test_no_expression_is_in_a_script() -> None:
    scripts = [step["run"] for step in github.STEPS.values() if "run" in step]
    assert len(scripts) == 3
    assert not any("${{" in script for script in scripts)


def test_one_comment_that_is_updated(
    runner: Runner, server: github.GitHub, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert runner.step(CHECK).returncode == 0
    done = runner.step(SHOW)
    assert (done.returncode, done.stdout, done.stderr) == (0, "", "")
    (comment,) = server.comments
    heads = [part for part in comment["body"].split("\n\n") if part.startswith("####")]
    assert heads == ["#### `specs/less.yaml`", "#### `specs/net.yaml`"]
    assert comment["body"].startswith(MARKER)
    assert comment["body"].count("**interface**") == 2
    assert "epochs" not in comment["body"]
    shown = comment["body"].removeprefix(f"{MARKER}\n")
    assert runner.summary.read_text() == f"{shown}\n"

    runner.show(monkeypatch)
    assert server.writes == ["POST"]  # nothing is new
    change("specs/net.yaml", "out_features: 6", "out_features: 7")
    commit(built=False)
    runner.show(monkeypatch)
    assert "| `layers.fc2.out_features` | `5` | `7` | interface |" in comment["body"]
    git("checkout", "--quiet", "main")  # everything is undone
    runner.show(monkeypatch)
    assert (
        comment["body"] == f"{MARKER}\n{pull_request.TITLE}\n\n{pull_request.NOTHING}"
    )
    assert server.writes == ["POST", "PATCH", "PATCH"]
    assert len(server.comments) == 1


def test_only_what_the_request_changes_in_a_merge(
    runner: Runner, server: github.GitHub, monkeypatch: pytest.MonkeyPatch
) -> None:
    old = git("rev-parse", "main~1")
    git("checkout", "--quiet", "--detach", "main")
    git("merge", "--quiet", "-s", "ours", "--no-commit", BRANCH)
    change("specs/net.yaml", "out_features: 5", "out_features: 6")
    commit()
    runner.context["github.event.pull_request.base.sha"] = old  # as on GitHub
    runner.show(monkeypatch)
    (comment,) = server.comments
    assert "out_features" in comment["body"]
    assert "epochs" not in comment["body"]


def test_without_changes_there_is_no_comment(
    repository: Path,
    tmp_path: Path,
    server: github.GitHub,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    Path("notes.md").write_text("no network\n")
    commit()
    Runner(tmp_path, server).show(monkeypatch)
    assert server.comments == []
    assert pull_request.NOTHING in (tmp_path / "summary.md").read_text()


def test_what_layers_read_is_news(
    repository: Path,
    tmp_path: Path,
    server: github.GitHub,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    both = "  both: {op: concat, from: [conv2, relu2]}\n  flat:"
    change("specs/net.yaml", "  flat:", both)
    commit(built=False)
    git("branch", "--force", "main")
    change("specs/net.yaml", "[conv2, relu2]", "[relu2, conv2]")
    commit(built=False)
    Runner(tmp_path, server).show(monkeypatch)
    (comment,) = server.comments
    row = "| `layers.both.from` | `[conv2, relu2]` | `[relu2, conv2]` | function |"
    assert comment["body"].count(row) == 2
    assert comment["body"].count("**function**: ") == 2


def test_a_stale_folder_fails_and_so_do_missing_specs(
    runner: Runner,
) -> None:
    change("specs/net.yaml", "out_features: 6", "out_features: 8")
    done = runner.step(CHECK)
    assert done.returncode == 1
    assert "::error title=drift::generated/net/model.py is out of date" in done.stderr
    runner.context["inputs.specs"] = "\nspecs/gone one.yaml\n\n-q.yaml\n"
    said = runner.step(CHECK).stderr
    assert "cannot read specs/gone one.yaml" in said
    assert "cannot read -q.yaml" in said


def test_specs_are_added_removed_and_moved(
    runner: Runner, server: github.GitHub, monkeypatch: pytest.MonkeyPatch
) -> None:
    Path("specs/new.yml").write_text("extends: better.yaml\nname: New\n")
    Path("specs/less.yaml").unlink()
    git("mv", "specs/net.yaml", "specs/better.yaml")
    commit(built=False)
    runner.show(monkeypatch)
    (comment,) = server.comments
    body = comment["body"]
    assert "#### `specs/new.yml`\n\n**new**: 2,484 parameters, " in body
    assert "#### `specs/less.yaml`\n\n**removed**" in body
    assert (
        "#### `specs/better.yaml`, which was `specs/net.yaml`\n\n**interface**" in body
    )


NAMES = ("$(touch pwned);x.yaml", "-x.yaml", "`@me`|::error::.yaml", "a\nb.yaml")


def test_hostile_names_and_texts(runner: Runner, server: github.GitHub) -> None:
    for name in NAMES:
        Path("specs", name).write_text(SPEC)
    Path("specs/wrong.yaml").write_text('"</details>@me [x](http://y)": 1\n')
    commit(built=False)
    done = runner.step(SHOW)
    assert (done.returncode, done.stdout, done.stderr) == (0, "", "")
    (comment,) = server.comments
    lines = comment["body"].splitlines()
    assert "#### ``specs/`@me`\\|::error::.yaml``" in lines
    assert "#### `specs/a\\x0ab.yaml`" in lines
    assert any("`" in line.partition("@me")[0] for line in lines if "[x](" in line)
    assert runner.step(CHECK).returncode == 1
    assert not list(Path().rglob("pwned"))


def test_a_link_is_not_followed(
    runner: Runner, server: github.GitHub, monkeypatch: pytest.MonkeyPatch
) -> None:
    Path("secret").write_text("a_secret: 1\n")
    Path(".gitignore").write_text("/secret\n")
    Path("specs/link.yaml").symlink_to("../secret")
    Path("specs/over.yaml").write_text("extends: ../secret\n")
    commit(built=False)
    runner.show(monkeypatch)
    (comment,) = server.comments
    assert "#### `specs/link.yaml`\n\n**cannot be compared**" in comment["body"]
    assert "#### `specs/over.yaml`\n\n**cannot be compared**" in comment["body"]
    assert "a_secret" not in comment["body"] + runner.summary.read_text()


def test_a_fork_gets_the_summary(
    runner: Runner,
    server: github.GitHub,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    server.may_write = False
    runner.show(monkeypatch)
    said = capsys.readouterr().out
    assert said.startswith("::notice title=specgen::cannot comment (HTTP Error 403: ")
    assert said.count("\n") == 1
    assert "out_features" in runner.summary.read_text()
    runner.show(monkeypatch, GITHUB_API_URL="http://127.0.0.1:1")
    assert "cannot comment (<urlopen error" in capsys.readouterr().out


def test_without_comments_only_the_summary(
    runner: Runner, server: github.GitHub, monkeypatch: pytest.MonkeyPatch
) -> None:
    runner.show(monkeypatch, COMMENT="false")
    assert server.writes == []
    assert "out_features" in runner.summary.read_text()


def test_a_comment_by_someone_else_stays(
    runner: Runner, server: github.GitHub, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(pull_request, "PAGE", 2)
    for _ in range(4):
        server.add(f"{MARKER}\nforged", "User")
    server.add(f"quoted:\n{MARKER}")
    mine = server.add(f"{MARKER}\nold")
    runner.show(monkeypatch)
    assert "out_features" in mine["body"]
    assert len(server.comments) == 6
    assert server.writes == ["PATCH"]


def test_without_history_the_error_says_what_to_do(
    runner: Runner, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("GIT_ALLOW_PROTOCOL", "file")
    git("clone", "--quiet", "--depth=1", f"file://{os.getcwd()}", "shallow")
    monkeypatch.chdir("shallow")
    runner.context["github.event.pull_request.base.sha"] = "1" * 40
    with pytest.raises(SystemExit, match=r"^::error .*give `fetch-depth: 0` to"):
        runner.show(monkeypatch)


def section(number: int, length: int) -> pull_request.Section:
    return pull_request.Section(f"#### `{number}`\n\n**same**", "\u00e9" * length)


def test_long_text_is_cut_between_sections() -> None:
    def body(*lengths: int, limit: int = 65_536) -> str:
        sections = [section(*pair) for pair in enumerate(lengths)]
        text = pull_request.body("title", sections, limit)
        assert len(text.encode()) <= limit
        return text

    assert pull_request.CUT not in body(100, 10_000, 20_000)
    long = body(100, 40_000, 200)
    assert long.count(pull_request.CUT) == 1
    assert "\u00e9" * 200 in long  # a small one still fits after a long one
    assert body(*[40_000] * 5).count(pull_request.CUT) == 5
    many = body(*[10] * 50, limit=1000)
    assert many.count("####") + int(many.split()[-3]) == 50
    assert many.endswith(" more specs.")
