"""docs/tutorial.md: its commands run in the order of the page, and print what it shows.

In a fraction of the time: with few images, and two epochs.
"""

from __future__ import annotations

import re
import shlex
from collections.abc import Iterator
from pathlib import Path

import pytest
from helpers import ROOT
from scripts import run

from specgen import cli, sample_data

PAGE = (ROOT / "docs/tutorial.md").read_text()
BLOCK = re.compile(r"^```(\w+)\n(.*?)^```$", re.M | re.S)
FILE = re.compile(r"Save this as\s`(\S+)`:\n\n\Z")
COMMAND = re.compile(r"^\$ (.*)\n((?:(?!\$ ).*\n)*)", re.M)
NUMBER = re.compile(r"\d+(\.\d+)?(e-\d+)?")


def steps() -> Iterator[tuple[str, str]]:
    """Yield commands with what they print, and files with what they contain."""
    for block in BLOCK.finditer(PAGE):
        if block[1] == "console":
            yield from COMMAND.findall(block[2])
        elif file := FILE.search(PAGE, 0, block.start()):
            yield file[1], block[2]


def shown(output: str) -> re.Pattern[str]:
    """Return what matches an output: `...` stands for lines, or for the end of one."""
    lines = []
    for line in output.splitlines(keepends=True):
        start, dots, _ = line.partition("...\n")
        if dots:
            lines.append(f"{re.escape(start)}.*\n" if start else r"(?:.*\n)*")
        else:
            lines.append(re.escape(line))
    return re.compile("".join(lines))


def learned(output: str) -> str:
    """Leave out what depends on the images and the processor: numbers, and classes."""
    text = re.sub(r"(?m)^(  \d\.\d{4}  )\w+$", r"\1CLASS", output)
    return re.sub(" +", " ", NUMBER.sub("0", text))


def test_its_commands_print_what_it_shows(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sample_data, "IMAGES_PER_CLASS", {"train": 2, "val": 1})
    for step, expected in steps():
        program, *arguments = shlex.split(step)
        if program == "specgen":
            status = cli.main(arguments)
            printed = "".join(capsys.readouterr())
            assert status == ("error[" in expected), printed
            assert shown(expected).fullmatch(printed), f"{step}\n{printed}"
        elif program == "python":
            script, *rest = arguments
            if Path(script).is_dir():
                script += "/__main__.py"
            elif Path(script).name == "train.py":
                rest += ["--epochs", "2", "--workers", "1"]
            ended = run(Path(script), *rest)
            assert ended.code == 0, ended.err
            printed = ended.out + ended.err
            assert shown(learned(expected)).fullmatch(learned(printed)), (
                f"{step}\n{printed}"
            )
        else:
            Path(program).write_text(expected)


def test_its_excerpts_are_of_files_that_it_writes(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sample_data, "IMAGES_PER_CLASS", {"train": 1, "val": 1})
    files = {"yaml": "net.yaml", "python": "generated/net/model.py"}
    for step, _ in steps():
        if step.startswith("specgen") and "large.yaml" not in step:
            cli.main(shlex.split(step)[1:])
    first = dict(reversed(BLOCK.findall(PAGE)))  # of each kind
    for kind, file in files.items():
        assert first[kind] in Path(file).read_text()


def test_its_links_lead_somewhere() -> None:
    for link in re.findall(r"\]\((\S+)\)", PAGE):
        assert (ROOT / "docs" / link).is_file(), link
