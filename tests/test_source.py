from __future__ import annotations

import json
from pathlib import Path as FilePath
from typing import Any

import pytest
import yaml
from hypothesis import given
from reading import ALEXNET, plain_data, read, read_or_errors

from specgen.diagnostics import Diagnostic, Path
from specgen.source import Source
from specgen.yaml12 import reader


@pytest.fixture(params=["CSafeLoader", "SafeLoader"], autouse=True)
def loader(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> None:
    """Run every test with libyaml and with the Python loader."""
    monkeypatch.setattr(reader, "Loader", getattr(yaml, request.param))


def piece(source: Source, path: Path, *, key: bool = False) -> str:
    span = source.keys[path] if key else source.values[path]
    return span.text[span.column - 1 : span.column - 1 + span.length]


# --- places


@given(plain_data)
def test_every_path_has_a_span_that_covers_its_scalar(data: Any) -> None:
    source = read(json.dumps({"a": data}, ensure_ascii=False).replace("\x7f", "DEL"))

    def check(value: Any, path: Path) -> None:
        text = piece(source, path)
        assert json.loads(text) == value
        if isinstance(value, dict):
            for key, item in value.items():
                assert json.loads(piece(source, (*path, key), key=True)) == key
                check(item, (*path, key))
        elif isinstance(value, list):
            for index, item in enumerate(value):
                check(item, (*path, index))

    check(source.data, ())


def test_spans_of_a_spec() -> None:
    source = read(ALEXNET)
    conv1 = ("layers", "conv1")
    assert piece(source, ()) == "specgen"
    assert piece(source, conv1, key=True) == "conv1"
    assert piece(source, (*conv1, "padding")) == "{bottom: 3, right: 3}"
    assert piece(source, (*conv1, "padding", "right"), key=True) == "right"
    assert piece(source, ("layers",)) == "layers"  # a block mapping: its key
    assert piece(source, ("training", "schedule", "kind")) == "plateau"
    assert set(source.keys) | {()} == {
        path for path in source.values if not path or isinstance(path[-1], str)
    }
    assert source.files == {FilePath("a.yaml"): ALEXNET}


def test_spans_of_a_sequence() -> None:
    source = read("augment:\n  - random_crop\n  - pca_noise: {std: 0.1}\n")
    assert piece(source, ("augment", 0)) == "random_crop"
    assert piece(source, ("augment", 1)) == "pca_noise"
    assert piece(source, ("augment", 1, "pca_noise")) == "{std: 0.1}"


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("a: foo bar  # comment", "foo bar"),
        ("a: 'it''s'", "'it''s'"),
        ("a: |\n  text\n", "|"),
        ('a: "one\n  two"', '"one'),
        ("a: one\n  two", "one"),
        ("a:\nb: 1", "a"),  # nothing: its key
        ("a: &x 12", "12"),
        ("a: !!str  12", "12"),
        ("a: &x !!str 12", "12"),
        ("a: {b: 1,\n c: 2}", "{"),
        ("a: [1, 2] # c", "[1, 2]"),
        ("\ufeffa: 12", "12"),
        ("a:\r\n  漢: 1\r\n", "a"),
        ("a:\n- 1\n", "a"),
    ],
)
def test_span_of_a_value(text: str, expected: str) -> None:
    assert piece(read(text), ("a",)) == expected


def test_crlf_lines_have_no_carriage_return() -> None:
    source = read("# one\r\na: 1\r\nb:\r\n  c: two\r\n")
    assert source.data == {"a": 1, "b": {"c": "two"}}
    span = source.values["b", "c"]
    assert (span.line, span.column, span.text) == (4, 6, "  c: two")
    assert source.comments == {("a",): ("one",)}


def test_an_alias_has_its_own_place_and_its_content_the_anchor_s() -> None:
    source = read("a: &x {b: [1]}\nc: *x\n")
    assert source.data == {"a": {"b": [1]}, "c": {"b": [1]}}
    assert source.values["c",].line == 2
    assert source.keys["c", "b"] == source.keys["a", "b"]
    assert source.values["c", "b", 0] == source.values["a", "b", 0]
    source.data["c"]["b"].append(2)
    assert source.data["a"] == {"b": [1]}


def test_locate_takes_the_nearest_ancestor_and_sorts() -> None:
    source = read("a:\n  b: {c: 1}\nd: [1, 2]\n")

    def place(path: Path | None, at_key: bool = False) -> tuple[int, int] | None:
        (found,) = source.locate([Diagnostic("x", "", path=path, at_key=at_key)])
        return (found.span.line, found.span.column) if found.span else None

    assert place(("a", "b", "c")) == (2, 10)
    assert place(("a", "b", "c"), at_key=True) == (2, 7)
    assert place(("a", "b")) == (2, 6)
    assert place(("a", "b", "missing")) == (2, 3)
    assert place(("a", "b", "missing", "deeper"), at_key=True) == (2, 3)
    assert place(("d", 1)) == (3, 8)
    assert place(("d", 1), at_key=True) == (3, 8)
    assert place(("d", 7)) == (3, 1)
    assert place(("missing",)) == (1, 1)
    assert place(()) == (1, 1)
    assert place(None) is None
    two = source.locate([Diagnostic("d", "", ("d",)), Diagnostic("a", "", ("a",))])
    assert [diagnostic.code for diagnostic in two] == ["a", "d"]


def test_locate_keeps_an_existing_span() -> None:
    source = read("a: 1\nb: 2")
    diagnostic = Diagnostic("x", "", ("a",), span=source.values["b",])
    assert source.locate([diagnostic]) == (diagnostic,)


# --- comments


def test_comments_are_the_full_lines_directly_above_in_the_same_column() -> None:
    text = """\
# top
a: 1  # beside

# apart

b:
  # one
  #two
  #   three\t3
  c: 1
  # not of d: another column
d: |
  text
  # not a comment
e: "one
# not a comment either"
# of f
f:
    # of the item
  - g: 1
#h
h: {i: 1,
  # of j
  j: 2, k: 3}
"""
    assert read(text).comments == {
        ("a",): ("top",),
        ("b", "c"): ("one", "two", "three 3"),
        ("f",): ("of f",),
        ("h",): ("h",),
        ("h", "j"): ("of j",),
    }


def test_comments_have_only_printable_text() -> None:
    comments = read("# a\u202eb\u00adc\nd: 1").comments
    assert comments == {("d",): ("abc",)}


def test_each_conflict_of_a_merge_is_one_error() -> None:
    conflict = "<<<<<<< HEAD\nb: 1\n=======\nb: 2\n>>>>>>> theirs\n"
    text = f"a: 1\n{conflict}c: 3\n{conflict}"
    errors = read_or_errors(text)
    assert isinstance(errors, tuple)
    assert [(error.code, error.message) for error in errors] == [
        ("yaml-syntax", "line 2 begins a merge conflict"),
        ("yaml-syntax", "line 8 begins a merge conflict"),
    ]
    assert read("a: |\n  <<<<<<< HEAD\n").data == {"a": "<<<<<<< HEAD\n"}
