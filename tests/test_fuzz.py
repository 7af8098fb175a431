"""Mutants of the specs: each compiles and is written, or is an error with its place.

`make fuzz` tries 20,000; SPECGEN_FUZZ is their number, SPECGEN_FUZZ_FIRST the first.
"""

from __future__ import annotations

import os
import signal
from collections import Counter
from pathlib import Path
from types import FrameType

import pytest
from mutants import mutant

from specgen import cli
from specgen.backends import report
from specgen.compiler import compile_file, render
from specgen.diagnostics import SpecError, render_github, render_json, render_text
from specgen.plan import make_plan

COUNT = int(os.environ.get("SPECGEN_FUZZ", "300"))
FIRST = int(os.environ.get("SPECGEN_FUZZ_FIRST", "0"))
HANGS = 120  # seconds after which nobody keeps waiting, even on a busy machine


def outcome(spec: Path) -> str:
    """Compile and render a spec; return the code of its first error, or `compiles`."""
    try:
        program = compile_file(spec)
    except SpecError as error:
        found = error.diagnostics
        assert found
        assert all(problem.span for problem in found), found
        assert all(problem.message for problem in found), found
        for shown in (render_text, render_json, render_github):
            assert shown(found).isascii() or shown(found)
        return found[0].code
    plan = make_plan(program.spec, program.placed, 128)
    assert report.table(plan, details=True)
    render(program, onnx_devices=True)
    for name, content in render(program).items():
        if name.endswith(".py"):
            compile(content, name, "exec")
    return "compiles"


def stop(_: int, frame: FrameType | None) -> None:
    raise AssertionError(f"hangs in {frame}")


def test_a_mutant_compiles_or_is_refused_with_its_place(tmp_path: Path) -> None:
    found: Counter[str] = Counter()
    before = signal.signal(signal.SIGALRM, stop)
    for number in range(FIRST, FIRST + COUNT):
        name, files = mutant(number)
        for file, text in files.items():
            (tmp_path / file).write_text(text, encoding="utf-8", newline="")
        signal.alarm(HANGS)
        try:
            found[outcome(tmp_path / name)] += 1
        except Exception as error:
            pytest.fail(f"mutant {number}, {name}: {type(error).__name__}: {error}")
        finally:
            signal.alarm(0)
    signal.signal(signal.SIGALRM, before)
    print(f"tried {COUNT} mutants: {dict(found.most_common())}")
    assert found["compiles"] > COUNT // 20
    assert found.total() - found["compiles"] > COUNT // 4
    assert len(found) > 8


@pytest.mark.parametrize("number", range(FIRST, FIRST + 12))
def test_the_command_line_survives_any_mutant(
    number: int, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    name, files = mutant(number)
    for file, text in files.items():
        (tmp_path / file).write_text(text, encoding="utf-8", newline="")
    status = cli.main(["show", str(tmp_path / name)])
    said = capsys.readouterr()
    assert status in (0, 1)
    assert said.out or status == 1  # the sound parts of a wrong spec are shown, too
    assert ("error[" in said.err) == (status == 1)
    assert f"error{'s' if said.err.count('error[') > 1 else ''}" in (
        said.err or "error"
    )
