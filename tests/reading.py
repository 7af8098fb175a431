"""Reads spec text in tests; data that YAML can hold, for Hypothesis."""

from __future__ import annotations

from pathlib import Path

from hypothesis import strategies as st

from specgen.diagnostics import Diagnostic, SpecError, render_text
from specgen.source import Source, parse

ALEXNET_FILE = Path(__file__).parent.parent / "specs" / "alexnet.yaml"
ALEXNET = ALEXNET_FILE.read_bytes()

plain_data = st.recursive(
    st.none()
    | st.booleans()
    | st.integers(-(2**63) + 1, 2**63 - 1)
    | st.floats(allow_nan=False, allow_infinity=False)
    | st.text(st.characters(codec="utf-8", exclude_categories=["Cc", "Cf", "Cn"])),
    lambda children: (
        st.lists(children, max_size=4)
        | st.dictionaries(
            st.text(st.characters(codec="ascii"), max_size=9), children, max_size=4
        )
    ),
    max_leaves=20,
)


def read_or_errors(text: str | bytes) -> Source | tuple[Diagnostic, ...]:
    try:
        source = parse(text.encode() if isinstance(text, str) else text, "a.yaml")
    except SpecError as error:
        return error.diagnostics
    return source.problems or source


def read(text: str | bytes) -> Source:
    source = read_or_errors(text)
    assert isinstance(source, Source), render_text(source)
    return source


def errors(text: str | bytes) -> tuple[Diagnostic, ...]:
    found = read_or_errors(text)
    assert not isinstance(found, Source)
    assert all(diagnostic.span for diagnostic in found)
    return found
