"""The page of errors against the code: each has a section, each example its error."""

from __future__ import annotations

import ast
import re
import shlex
from pathlib import Path

import pytest

from specgen.compiler import compile_file
from specgen.diagnostics import Diagnostic, SpecError

ROOT = Path(__file__).parent.parent
PAGE = (ROOT / "docs" / "errors.md").read_text()
SECTIONS = dict(re.findall(r"^## (\S+)\n(.*?)(?=^## |\Z)", PAGE, re.M | re.S))
EXAMPLE = re.compile(r"```(yaml whole|yaml|console)\n(.*?)```", re.S)
CODE = re.compile(r"[a-z]+(-[a-z0-9]+)+")

BASE = """\
specgen: 1
name: Net
input: {channels: 3, height: 32, width: 32}
layers:
  conv1: {op: conv2d, out_channels: 8, kernel_size: 3}
  relu1: {op: relu}
  flat: {op: flatten}
  fc1: {op: linear, out_features: 10}
  prob: {op: softmax}
"""


def codes() -> set[str]:
    """Return the codes in the source: what is hyphenated and comes first in a call."""
    found = set()
    for path in (ROOT / "specgen").rglob("*.py"):
        for node in ast.walk(ast.parse(path.read_text())):
            if isinstance(node, ast.Call) and node.args:
                is_code = getattr(node.func, "id", "") in ("Diagnostic", "_warning")
                for part in ast.walk(node.args[0]):
                    text = getattr(part, "value", None)
                    if isinstance(text, str) and (is_code or CODE.fullmatch(text)):
                        found.add(text)
    git = {"cat-file", "merge-base", "merge-file", "rev-list", "rev-parse"}
    return found - git - {"utf-8", "sample-data"}  # an encoding, a command


def complete(example: str) -> str:
    """Add the sections of the base that an example leaves out."""
    sections = re.split(r"^(?=\w)", BASE, flags=re.M)
    given = set(re.findall(r"^\w+", example, re.M))
    missing = [part for part in sections if part and part.split(":")[0] not in given]
    return example + "".join(missing)


def test_every_error_has_its_section_and_every_section_its_error() -> None:
    assert set(SECTIONS) == codes()


def test_the_list_has_every_section() -> None:
    assert sorted(re.findall(r"\]\(#(\S+)\)", PAGE)) == sorted(SECTIONS)


def test_the_sections_are_in_order() -> None:
    assert list(SECTIONS) == sorted(SECTIONS)


@pytest.mark.parametrize(
    "code", [code for code, text in SECTIONS.items() if EXAMPLE.search(text)]
)
def test_an_example_has_its_error_and_no_other(
    code: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    Path("base.yaml").write_text(BASE)
    for kind, example in EXAMPLE.findall(SECTIONS[code]):
        options: list[str] = []
        if kind == "console":
            options = shlex.split(example.partition("--set")[2])
            example = BASE
        elif kind == "yaml" and "extends:" not in example:
            example = complete(example)
        Path("spec.yaml").write_text(example)
        found: tuple[Diagnostic, ...]
        try:
            found = compile_file(Path("spec.yaml"), options).warnings
        except SpecError as error:
            found = error.diagnostics
        assert {problem.code for problem in found} == {code}
        warning = "A warning:" in SECTIONS[code]
        assert all(problem.warning == warning for problem in found)
