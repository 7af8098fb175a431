from __future__ import annotations

import json
import unicodedata

import pytest
from hypothesis import given
from hypothesis import strategies as st

from specgen.diagnostics import (
    LINE_WIDTH,
    Diagnostic,
    Span,
    SpecError,
    in_order,
    nearest,
    render_github,
    render_json,
    render_text,
)

LINE = "  conv2: {op: conv2d, out_channels: 256, kernel_size: 5, padding: 2, groups: 3}"
GROUPS = Diagnostic(
    "shape-mismatch",
    "conv2 has 256 output channels, which 3 groups cannot divide",
    path=("layers", "conv2", "groups"),
    help="256 is divisible by 1, 2, 4, 8, ...",
    span=Span("specs/alexnet.yaml", 19, 78, 1, LINE),
)


def at(text: str, column: int, length: int) -> Diagnostic:
    return Diagnostic("code", "message", span=Span("a.yaml", 1, column, length, text))


def caret_lines(diagnostic: Diagnostic) -> tuple[str, str]:
    """Return the source line and the caret line as shown, after their margin."""
    lines = render_text([diagnostic]).splitlines()
    return lines[3][len("1 | ") :], lines[4][len("  | ") :]


def test_text_looks_as_specified() -> None:
    assert render_text([GROUPS]) == (
        "error[shape-mismatch]: "
        "conv2 has 256 output channels, which 3 groups cannot divide\n"
        "  --> specs/alexnet.yaml:19:78\n"
        "   |\n"
        f"19 | {LINE}\n"
        f"   | {' ' * 77}^\n"
        "   = help: 256 is divisible by 1, 2, 4, 8, ..."
    )


def test_text_shows_every_diagnostic_with_its_notes_before_its_help() -> None:
    bare = Diagnostic("x", "no place", notes=("one", "two"), help="three")
    assert render_text([bare, GROUPS]).startswith(
        "error[x]: no place\n  = note: one\n  = note: two\n  = help: three\n\nerror[sh"
    )


@pytest.mark.parametrize(
    ("text", "column", "length", "shown", "caret"),
    [
        ("a:\tx", 4, 1, "a:    x", "      ^"),
        ("\ta: x", 2, 1, "    a: x", "    ^"),
        ("漢字: x", 5, 1, "漢字: x", "      ^"),
        ("a: 漢字", 4, 2, "a: 漢字", "   ^^^^"),
        ("e\u0301: x", 5, 1, "e\u0301: x", "   ^"),
        ("a: \x1b[31m", 5, 4, "a: \\x1b[31m", "       ^^^^"),
        ("a: \u202eb", 5, 1, "a: \\u202eb", "         ^"),
        ("a: \udcffb", 4, 1, "a: \\xffb", "   ^^^^"),
        ("", 1, 1, "", "^"),
        ("a", 9, 3, "a", " ^"),
    ],
)
def test_caret_is_under_the_span(
    text: str, column: int, length: int, shown: str, caret: str
) -> None:
    assert caret_lines(at(text, column, length)) == (shown, caret)


@pytest.mark.parametrize("column", [1, 50, 101, 5000, 9990, 9996])
def test_long_lines_are_cut_around_the_span(column: int) -> None:
    text = "".join(f"{number:5}" for number in range(2000))
    shown, caret = caret_lines(at(text, column, 5))
    assert len(shown) <= LINE_WIDTH + len("......")
    start, end = caret.index("^"), len(caret)
    assert shown[start:end] == text[column - 1 : column + 4]
    assert shown.startswith("...") == (column > 1 + LINE_WIDTH // 3)
    assert shown.endswith("...") == (column < 10_001 - LINE_WIDTH * 2 // 3)


def test_a_span_longer_than_the_cut_line_ends_with_it() -> None:
    shown, caret = caret_lines(at("x" * 5000, 1000, 4000))
    assert len(caret) == len(shown) - len("...")


@given(st.text(max_size=300), st.integers(1, 300), st.integers(0, 300))
def test_no_text_controls_the_terminal(text: str, column: int, length: int) -> None:
    diagnostic = Diagnostic(
        "code", text, notes=(text,), help=text, span=Span(text, 1, column, length, text)
    )
    for render in (render_text, render_github, render_json):
        output = render([diagnostic])
        kinds = {unicodedata.category(c) for c in output if c != "\n"}
        assert not kinds & {"Cc", "Cf", "Cs", "Zl", "Zp"}
    # Every line is one that the renderer made, none that the text made.
    assert len(render_text([diagnostic]).split("\n")) in (6, 7)
    assert "\n" not in render_github([diagnostic])


def test_json_gives_every_field() -> None:
    bare = Diagnostic("x", "no place")
    first, second = json.loads(render_json([GROUPS, bare]))
    assert first == {
        "code": "shape-mismatch",
        "severity": "error",
        "message": GROUPS.message,
        "file": "specs/alexnet.yaml",
        "line": 19,
        "column": 78,
        "length": 1,
        "path": ["layers", "conv2", "groups"],
        "notes": [],
        "help": GROUPS.help,
    }
    assert second["line"] is None
    assert second["file"] is None


def test_github_escapes_properties_and_messages() -> None:
    span = Span("a,b:c%.yaml", 2, 3, 4, "text")
    diagnostic = Diagnostic("x", "100%, or: more", help="do", span=span)
    assert render_github([diagnostic]) == (
        "::error file=a%2Cb%3Ac%25.yaml,line=2,col=3,endColumn=7,title=x"
        "::100%25, or: more%0Ado"
    )


def test_nearest_finds_a_typo_and_nothing_distant() -> None:
    ops = ["conv2d", "max_pool2d", "linear"]
    assert nearest("conv2", ops) == "conv2d"
    assert nearest("maxpool2d", ops) == "max_pool2d"
    assert nearest("MaxPool2d", ops) == "max_pool2d"
    assert nearest("linear", ["Linear"]) == "Linear"
    assert nearest("zebra", ops) is None
    assert nearest("x" * 10**6, ops) is None
    assert nearest("conv", []) is None


def test_in_order_sorts_by_place_with_the_placeless_last() -> None:
    spans = [("b", 1, 1), ("a", 10, 1), ("a", 9, 5), ("a", 9, 2)]
    diagnostics = [Diagnostic("none", "")]
    diagnostics += [
        Diagnostic(f"{file}{line}{column}", "", span=Span(file, line, column, 1, ""))
        for file, line, column in spans
    ]
    codes = [diagnostic.code for diagnostic in in_order(diagnostics)]
    assert codes == ["a92", "a95", "a101", "b11", "none"]


def test_the_exception_says_what_is_wrong() -> None:
    assert str(SpecError([GROUPS])) == f"specs/alexnet.yaml:19:78: {GROUPS.message}"


@pytest.mark.parametrize(
    ("word", "valid", "expected"),
    [
        ("kernal_size", ["kernel_size", "stride"], "kernel_size"),
        ("kernelSize", ["kernel_size", "stride"], "kernel_size"),
        ("memroy", ["memory"], "memory"),
        ("chanels", ["channels", "height"], "channels"),
        ("fc", ["fc6", "pool1"], "fc6"),
        ("norm2", ["norm1"], "norm1"),
        # As like as these are, nobody means the one by the other.
        ("momentum", ["moment_of_u"], None),
        ("batch_norm2d", ["max_pool2d", "avg_pool2d"], None),
        ("sizes_of", ["seed"], None),
        ("loss", ["tools"], None),
        ("", ["a"], None),
    ],
)
def test_the_nearest_name_is_near(
    word: str, valid: list[str], expected: str | None
) -> None:
    assert nearest(word, valid) == expected


def test_what_many_without_a_place_have_in_common_is_said_once() -> None:
    drift = [Diagnostic("drift", f"{name} is stale", help="build") for name in "abc"]
    other = Diagnostic("edited-file", "d was edited", help="use --force")
    assert render_text([*drift, other, GROUPS]).startswith(
        "error[drift]: a is stale\nerror[drift]: b is stale\nerror[drift]: c is stale\n"
        "  = help: build\n\nerror[edited-file]: d was edited\n  = help: use --force\n\n"
        "error["
    )
    assert render_text([GROUPS, GROUPS]) == "\n\n".join([render_text([GROUPS])] * 2)
