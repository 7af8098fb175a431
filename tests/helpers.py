"""What several test files need: compile a spec, see its errors, import its output."""

from __future__ import annotations

from pathlib import Path

from specgen.compiler import Program, compile_spec
from specgen.source import Source, parse
from specgen.spec import Spec

ROOT = Path(__file__).parent.parent


def compile_text(text: str, stem: str = "net") -> Program:
    """Compile a spec given as YAML text."""
    source = parse(text.encode(), f"{stem}.yaml")
    return compile_data(source, stem)


def compile_data(source: Source, stem: str) -> Program:
    return compile_spec(Spec.model_validate(source.data), source, stem)


def spec_text(stem: str) -> str:
    """Return the text of a spec in specs/."""
    return (ROOT / "specs" / f"{stem}.yaml").read_text()
