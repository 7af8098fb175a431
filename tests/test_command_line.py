"""The command line for people: help, near names, color, several specs, silence."""

from __future__ import annotations

import io
import json
import shlex
import subprocess
import sys
from importlib import import_module
from pathlib import Path

import pytest

from specgen import cli
from specgen.cli import terminal
from specgen.compiler import Program
from specgen.verify import Check

ROOT = Path(__file__).parent.parent
MINI = "specs/alexnet_mini.yaml"


@pytest.fixture(autouse=True)
def here(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(ROOT)


def usage_error(command: str, capsys: pytest.CaptureFixture[str]) -> str:
    """Return the last line that wrong usage prints."""
    with pytest.raises(SystemExit) as ended:
        cli.main(shlex.split(command))
    assert ended.value.code == 2
    return capsys.readouterr().err.splitlines()[-1]


def test_without_a_command_there_is_help(capsys: pytest.CaptureFixture[str]) -> None:
    assert cli.main([]) == 2
    out, said = capsys.readouterr()
    assert out == ""
    assert "examples:\n  specgen new" in said
    for command, what in cli.COMMANDS.items():
        assert f"  {command:13}{what}\n" in said


@pytest.mark.parametrize(
    ("command", "end"),
    [
        ("biuld", "there is no command biuld; the nearest name is build"),
        ("show x --format jsn", "--format: there is no jsn; the nearest name is json"),
        ("show x --bach-size 3", "--bach-size 3; the nearest name is --batch-size"),
        ("explain shape", "there is no error shape; choose from shape-mismatch"),
        ("explain E123", "there is no error E123; see specgen explain --help"),
        ("completion tcsh", "there is no shell tcsh; choose from bash, zsh, fish"),
        ("verify - a.yaml", "FILE names what is read from -"),
        ("new a.txt", "a spec is a file like a.yaml, not a.txt"),
        ("new a.yaml --classes 1", "'1' is not a whole number of at least 2"),
    ],
)
def test_wrong_usage_suggests_the_nearest_name(
    command: str, end: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert usage_error(command, capsys).endswith(end)


@pytest.mark.parametrize("command", cli.COMMANDS)
def test_examples_of_help_are_commands_and_fit_a_terminal(
    command: str, capsys: pytest.CaptureFixture[str]
) -> None:
    module = import_module(f"specgen.cli.{command.replace('-', '_')}")
    assert module.EXAMPLES
    for example, _ in module.EXAMPLES:
        words = shlex.split(example.partition(" > ")[0].partition(" < ")[0])
        assert words[0] == command
        cli.parser(words).parse_args(words)
    with pytest.raises(SystemExit):
        cli.main([command, "--help"])
    assert max(map(len, capsys.readouterr().out.splitlines())) <= 80


class Terminal(io.StringIO):
    def isatty(self) -> bool:
        return True


@pytest.mark.parametrize(
    ("variables", "on_terminal", "in_file"),
    [
        ({}, True, False),
        ({"NO_COLOR": "1"}, False, False),
        ({"NO_COLOR": ""}, True, False),
        ({"NO_COLOR": "1", "FORCE_COLOR": "1"}, False, False),
        ({"FORCE_COLOR": "1"}, True, True),
        ({"CLICOLOR_FORCE": "1"}, True, True),
        ({"CLICOLOR_FORCE": "0"}, True, False),
        ({"CLICOLOR": "0"}, False, False),
        ({"TERM": "dumb"}, False, False),
        ({"TERM": "dumb", "FORCE_COLOR": "1"}, True, True),
    ],
)
def test_color_is_used_if_wanted(
    variables: dict[str, str],
    on_terminal: bool,
    in_file: bool,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    for name in ("NO_COLOR", "FORCE_COLOR", "CLICOLOR", "CLICOLOR_FORCE", "TERM"):
        monkeypatch.delenv(name, raising=False)
    for name, value in variables.items():
        monkeypatch.setenv(name, value)
    assert terminal.colored(Terminal()) == on_terminal
    assert terminal.colored(io.StringIO()) == in_file


def test_color_adds_nothing_to_the_text(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    command = ["show", MINI, "--set", "layers.conv2.groups=5"]
    monkeypatch.setenv("NO_COLOR", "1")
    assert cli.main(command) == 1
    without = capsys.readouterr().err
    monkeypatch.delenv("NO_COLOR")
    monkeypatch.setenv("FORCE_COLOR", "1")
    assert cli.main(command) == 1
    colored = capsys.readouterr().err
    assert "\x1b[1;31merror[shape-mismatch]\x1b[0m" in colored
    assert "\x1b" not in without
    for code in ("\x1b[1;31m", "\x1b[1m", "\x1b[34m", "\x1b[36m", "\x1b[0m"):
        colored = colored.replace(code, "")
    assert colored == without


def test_startup_imports_no_command() -> None:
    code = (
        "import sys; from specgen import cli; cli.parser(['--version']);"
        " print(*(m for m in sys.modules if m.startswith('specgen.')))"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    light = {"cli", "cli.parser", "cli.terminal", "diagnostics", "paint"}
    assert set(done.stdout.split()) == {f"specgen.{name}" for name in light}


def test_several_specs(capsys: pytest.CaptureFixture[str]) -> None:
    assert cli.main(["show", MINI, "specs/alexnet.yaml"]) == 0
    out = capsys.readouterr().out
    assert out.startswith(f"{MINI}\n\nAlexNet: A small AlexNet")
    assert "\n\nspecs/alexnet.yaml\n\nAlexNet: AlexNet as published" in out
    assert cli.main(["show", MINI, "specs/alexnet.yaml", "--format", "json"]) == 0
    content = json.loads(capsys.readouterr().out)
    assert list(content) == [MINI, "specs/alexnet.yaml"]
    assert content[MINI]["parameters"] == 471690


def test_the_sound_ones_of_several_specs_are_shown(
    capsys: pytest.CaptureFixture[str],
) -> None:
    # 3 groups fit the 96 channels of one of the two.
    command = ["show", MINI, "specs/alexnet_1gpu.yaml"]
    assert cli.main([*command, "--set", "layers.conv2.groups=3"]) == 1
    out, said = capsys.readouterr()
    assert "What comes after pool1 is not known." in out
    assert "specs/alexnet_1gpu.yaml\n\nlayer" in out
    assert said.count("error[") == 2


def test_standard_input(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    def given(text: bytes) -> None:
        monkeypatch.setattr(sys, "stdin", io.TextIOWrapper(io.BytesIO(text)))

    text = Path(MINI).read_bytes()
    given(text)
    out = ["--output", str(tmp_path)]
    assert cli.main(["build", "-", "--name", "specs/alexnet_mini.yaml", *out]) == 0
    for file in Path("generated/alexnet_mini").glob("*.py"):
        assert (tmp_path / "alexnet_mini" / file.name).read_bytes() == file.read_bytes()
    capsys.readouterr()
    given(b"extends: alexnet.yaml\nlayers: {conv9: null}\n")
    assert cli.main(["show", "-", "--name", "specs/draft.yaml"]) == 1
    assert "--> specs/draft.yaml:2:10" in capsys.readouterr().err
    assert not Path("specs/draft.yaml").exists()


def test_a_draft_and_the_saved_spec(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    draft = Path(MINI).read_text().replace("epochs: 25", "epochs: 9").encode()

    def run(*command: str) -> str:
        monkeypatch.setattr(sys, "stdin", io.TextIOWrapper(io.BytesIO(draft)))
        assert cli.main([*command, "--name", MINI]) == 0
        return capsys.readouterr().out

    assert "  training.epochs   25 -> 9 " in run("diff", MINI, "-")
    assert "  training.epochs   9 -> 25 " in run("diff", "-", MINI)
    assert "  training.epochs   9 -> 3 " in run("diff", "-", "--set=training.epochs=3")
    page = tmp_path / "page.html"
    run("report", MINI, "-", "-o", str(page))
    assert "training.epochs" in page.read_text()
    assert f"{MINI} (standard input)" in page.read_text()
    rows = [line.split() for line in run("compare", MINI, "-").splitlines()]
    assert [row[0] for row in rows if row][2:4] == [MINI, "-"]
    assert usage_error(f"diff {MINI} -", capsys).endswith(
        "FILE names what is read from -"
    )


def test_a_page_on_standard_output(
    capfd: pytest.CaptureFixture[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    spec = Path(MINI).absolute()
    monkeypatch.chdir(tmp_path)
    assert cli.main(["report", str(spec), "-o", "./-"]) == 0
    assert capfd.readouterr().out == "wrote -\n"
    assert cli.main(["report", str(spec), "-o", "-"]) == 0
    assert capfd.readouterr().out == Path("-").read_text()


@pytest.mark.parametrize(
    ("command", "expected"),
    [
        (f"build {MINI} --output -", "argument --output: - is not a folder"),
        (f"watch {MINI} --output -", "argument --output: - is not a folder"),
        (f"compare {MINI} --build -", "argument --build: - is not a folder"),
        ("sample-data -", "argument DIR: - is not a folder"),
        ("new .yaml", "a spec is a file like net.yaml, not .yaml"),
        ("watch -", "standard input cannot be watched: give a file"),
        (f"build {MINI} --output ''", "argument --output: give the name of a folder"),
        (f"report {MINI} -o ''", "argument -o/--output: give the name of a file"),
        ("new -", "a spec is a file like net.yaml: it cannot be written to -"),
    ],
)
def test_other_output_needs_a_name_that_is_not_a_dash(
    command: str, expected: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert expected in usage_error(command, capsys)
    assert not Path("-").exists()


def test_diff_has_the_warnings_of_the_change(
    capsys: pytest.CaptureFixture[str],
) -> None:
    large = "data.std=1"
    assert cli.main(["diff", MINI, "--set", large]) == 0
    assert capsys.readouterr().err.startswith("warning[large-values]: ")
    assert cli.main(["diff", MINI, "--set", large, "--strict"]) == 1
    out, said = capsys.readouterr()
    assert "data.std   64 -> 1" in out
    assert said.startswith("error[large-values]: ")


def test_diff_has_no_warnings_of_before(
    capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    spec = tmp_path / "net.yaml"
    spec.write_text(Path(MINI).read_text().replace("std: 64", "std: 1"))
    assert cli.main(["diff", str(spec), "--set", "training.epochs=3", "--strict"]) == 0
    assert capsys.readouterr().err == ""


def test_quiet(capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    command = ["build", MINI, "-q", "--output", str(tmp_path)]
    assert cli.main([*command, "--set", "data.std=1"]) == 0
    assert capsys.readouterr() == ("", "")
    (tmp_path / "alexnet_mini/model.py").write_text("")
    assert cli.main(command) == 1
    out, said = capsys.readouterr()
    assert out == ""
    assert said.startswith("error[edited-file]")


def test_a_warning_comes_last_and_is_an_error_if_wanted(
    capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    command = ["build", MINI, "--set", "data.std=1", "--output", str(tmp_path)]
    assert cli.main([*command, "--strict"]) == 1
    assert capsys.readouterr().err.startswith("error[large-values]: conv1: kaiming")
    assert not any(tmp_path.iterdir())
    assert cli.main(command) == 0
    said = capsys.readouterr().err
    assert said.startswith("warning[large-values]: conv1: kaiming_normal expects")
    assert said.endswith(
        "1 warning\nTo learn more, run: specgen explain large-values\n"
    )
    assert cli.main(command) == 0
    assert capsys.readouterr() == (f"{tmp_path}/alexnet_mini is up to date\n", said)
    # Even if nothing is left to build.
    assert cli.main([*command, "--strict"]) == 1
    assert cli.main([*command, "--errors", "github", "--check"]) == 0
    assert "::warning file=" in capsys.readouterr().err


def test_verify_quietly_prints_what_failed_and_where(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    def checks(program: Program, **_: object) -> list[Check]:
        wrong = "mini" in program.stem
        return [Check("MACs of conv1", {"conv1": 1}, {"conv1": 1 + wrong}, not wrong)]

    monkeypatch.setattr("specgen.verify.verify", checks)
    sets = ["--set", "data.std=1"]
    assert cli.main(["verify", "specs/alexnet_2x4.yaml", "-q", *sets]) == 0
    assert capsys.readouterr() == ("", "")
    assert cli.main(["verify", "specs/alexnet_2x4.yaml", MINI, "-q"]) == 1
    out, said = capsys.readouterr()
    assert said == ""
    assert "2x4" not in out
    assert "  conv1: 2 instead of 1" in out
    assert out.endswith("1 of 1 checks failed; the first layer that differs is conv1\n")
    assert cli.main(["verify", "specs/alexnet_2x4.yaml", MINI]) == 1
    assert capsys.readouterr().out.startswith("specs/alexnet_2x4.yaml\n\n")


# --- completion


@pytest.fixture(scope="module")
def script(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("completion") / "specgen.bash"
    done = subprocess.run(
        [sys.executable, "-m", "specgen", "completion", "bash"],
        cwd=ROOT,
        capture_output=True,
        check=True,
    )
    path.write_bytes(done.stdout)
    return path


@pytest.mark.parametrize(
    ("line", "words"),
    [
        ("specgen b", ["build"]),
        ("specgen --", ["--help", "--version"]),
        ("specgen build --o", ["--output", "--onnx-devices"]),
        ("specgen show --format ", ["text", "json"]),
        ("specgen diff --fail-on che", ["checkpoint"]),
        ("specgen explain shape", ["shape-mismatch"]),
        ("specgen completion ", ["bash", "zsh", "fish"]),
        ("specgen show specs/alexnet_m", ["specs/alexnet_mini.yaml"]),
        ("specgen build a.yaml --output spe", ["specs", "specgen"]),
        ("specgen show a.yaml --set ", []),
        ("specgen new a.yaml --from alexnet_m", ["alexnet_mini"]),
        ("specgen new a.yaml --from specs/alexnet_m", ["specs/alexnet_mini.yaml"]),
    ],
)
def test_bash_completes(line: str, words: list[str], script: Path) -> None:
    """As bash itself calls a completion."""
    parts = [*line.split(), ""] if line.endswith(" ") else line.split()
    code = (
        f"source {shlex.quote(str(script))}; COMP_WORDS=({shlex.join(parts)});"
        " COMP_CWORD=$((${#COMP_WORDS[@]} - 1)); complete -p specgen > /dev/null;"
        ' _specgen; printf "%s\\n" "${COMPREPLY[@]}"'
    )
    done = subprocess.run(
        ["bash", "-u", "-c", code], cwd=ROOT, capture_output=True, text=True, check=True
    )
    assert sorted(done.stdout.split()) == sorted(words)
    assert done.stderr == ""


@pytest.mark.parametrize("shell", ["bash", "zsh", "fish"])
def test_completion_knows_every_command_and_option(
    shell: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert cli.main(["completion", shell]) == 0
    text = capsys.readouterr().out
    for command in cli.COMMANDS:
        assert command in text
    for option in ("fail-on", "onnx-devices", "batch-size", "classes"):
        assert option in text
    if shell == "bash":
        subprocess.run(["bash", "-n"], input=text, text=True, check=True)
