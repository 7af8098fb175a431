from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path as FilePath
from typing import Any

import pytest
import yaml
from hypothesis import given
from hypothesis import strategies as st

from specgen import source as module
from specgen.diagnostics import Diagnostic, Path, SpecError, render_text
from specgen.source import MAX_BYTES, MAX_DEPTH, MAX_ERRORS, Source, parse

ALEXNET = (FilePath(__file__).parent / "fixtures" / "alexnet.yaml").read_bytes()


@pytest.fixture(params=["CSafeLoader", "SafeLoader"], autouse=True)
def loader(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> None:
    """Run every test with libyaml and with the Python loader."""
    monkeypatch.setattr(module, "Loader", getattr(yaml, request.param))


def read(text: str | bytes) -> Source:
    return parse(text.encode() if isinstance(text, str) else text, "a.yaml")


def errors(text: str | bytes) -> tuple[Diagnostic, ...]:
    with pytest.raises(SpecError) as caught:
        read(text)
    assert all(diagnostic.span for diagnostic in caught.value.diagnostics)
    return caught.value.diagnostics


def places(text: str | bytes) -> list[tuple[str, int, int, int]]:
    """Return code, line, column and length of every error."""
    found = []
    for diagnostic in errors(text):
        assert diagnostic.span
        span = diagnostic.span
        found.append((diagnostic.code, span.line, span.column, span.length))
    return found


def piece(source: Source, path: Path, *, key: bool = False) -> str:
    span = source.keys[path] if key else source.values[path]
    return span.text[span.column - 1 : span.column - 1 + span.length]


# --- values


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("1e-4", 1e-4),
        ("1e4", 1e4),
        ("1.5E+3", 1500.0),
        (".5", 0.5),
        ("1.", 1.0),
        ("-0.5", -0.5),
        ("0", 0),
        ("+7", 7),
        ("-7", -7),
        ("010", 10),
        ("0o10", 8),
        ("0x10", 16),
        ("0xfF", 255),
        (str(2**63 - 1), 2**63 - 1),
        ("true", True),
        ("False", False),
        ("TRUE", True),
        ("null", None),
        ("~", None),
        ("", None),
        # Strings in YAML 1.2, though not in YAML 1.1.
        ("1:30", "1:30"),
        ("yes", "yes"),
        ("no", "no"),
        ("on", "on"),
        ("off", "off"),
        ("y", "y"),
        ("2012-12-03", "2012-12-03"),
        ("1_000", "1_000"),
        ("0b11", "0b11"),
        ("tRue", "tRue"),
        ("nan", "nan"),
        ("inf", "inf"),
        ("1e", "1e"),
        ("-0x10", "-0x10"),
        ("3GiB", "3GiB"),
        ("٣", "٣"),  # a digit to Python
        ("1\u00a0", "1\u00a0"),
        # Quoted and tagged.
        ("'1'", "1"),
        ('"true"', "true"),
        ('""', ""),
        ("!!str 1e4", "1e4"),
        ("! 1", "1"),
        ("!!int 7", 7),
        ("!!float 7", 7.0),
        ("!!null ''", None),
        ("!!map {b: 1}", {"b": 1}),
        ("!!seq [1]", [1]),
        ("|\n  one\n  two\n", "one\ntwo\n"),
        (">-\n  one\n  two\n", "one two"),
    ],
)
def test_scalars_are_those_of_the_yaml_1_2_core_schema(text: str, value: Any) -> None:
    found = read(f"a: {text}").data["a"]
    assert found == value
    assert type(found) is type(value)


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


class Dumper(yaml.SafeDumper):
    """Quotes every string: PyYAML leaves `1e4`, a number in YAML 1.2, unquoted."""


Dumper.add_representer(
    str, lambda dumper, text: dumper.represent_scalar(module.TAG + "str", text, '"')
)


def dump_flow(data: Any) -> str:
    return yaml.dump(data, Dumper=Dumper, default_flow_style=True, sort_keys=False)


def dump_block(data: Any) -> str:
    return yaml.dump(data, Dumper=Dumper, default_flow_style=False, sort_keys=False)


def dump_json(data: Any) -> str:
    return json.dumps(data, ensure_ascii=False).replace("\x7f", "\\u007f")


objects = st.dictionaries(st.text(st.characters(codec="ascii")), plain_data)


@given(objects, st.sampled_from([dump_flow, dump_block, dump_json]))
def test_plain_data_parses_back_to_itself(
    data: dict[str, Any], dump: Callable[[Any], str]
) -> None:
    assert repr(read(dump(data)).data) == repr(data)  # values, types and order


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


def test_spans_of_the_fixture() -> None:
    source = read(ALEXNET)
    conv1 = ("layers", "conv1")
    assert piece(source, ()) == "specgen"
    assert piece(source, conv1, key=True) == "conv1"
    assert piece(source, (*conv1, "padding")) == "{bottom: 3, right: 3}"
    assert piece(source, (*conv1, "padding", "right"), key=True) == "right"
    assert piece(source, ("layers",)) == "layers"  # a block mapping: its key
    assert piece(source, ("data", "augment", 0)) == "random_crop"
    assert piece(source, ("data", "augment", 2)) == "pca_noise"
    assert piece(source, ("data", "augment", 2, "pca_noise")) == "{std: 0.1}"
    assert set(source.keys) | {()} == {
        path for path in source.values if not path or isinstance(path[-1], str)
    }
    assert source.files == {FilePath("a.yaml"): ALEXNET}


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


def test_an_alias_has_its_own_place_and_what_is_in_it_the_anchor_s() -> None:
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


def test_locate_keeps_a_span_that_is_there() -> None:
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


def test_comments_hold_printable_text_only() -> None:
    comments = read("# a\u202eb\u00adc\nd: 1").comments
    assert comments == {("d",): ("abc",)}


# --- errors


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("", [("empty-file", 1, 1, 1)]),
        ("# only\n", [("empty-file", 1, 1, 1)]),
        ("---\n", [("empty-file", 2, 1, 1)]),
        ("[1]", [("not-a-mapping", 1, 1, 3)]),
        ("text", [("not-a-mapping", 1, 1, 4)]),
        ("a: 1\n---\nb: 1", [("several-documents", 2, 1, 3)]),
        ("a: 1\nb: 2\na: 3", [("duplicate-key", 3, 1, 1)]),
        ("a: {b: 1, 'b': 2}", [("duplicate-key", 1, 11, 3)]),
        ("1: 2", [("non-string-key", 1, 1, 1)]),
        ("a: {true: 2}", [("non-string-key", 1, 5, 4)]),
        ("null: 2", [("non-string-key", 1, 1, 4)]),
        ("[1]: 2", [("non-string-key", 1, 1, 1)]),
        ("? {a: 1}\n: 2", [("non-string-key", 1, 3, 1)]),
        (".nan: 2", [("bad-number", 1, 1, 4)]),
        ("<<: {b: 1}", [("merge-key", 1, 1, 2)]),
        ("a: .nan", [("bad-number", 1, 4, 4)]),
        ("a: -.inf", [("bad-number", 1, 4, 5)]),
        ("a: 1e999", [("bad-number", 1, 4, 5)]),
        ("a: 9223372036854775808", [("bad-number", 1, 4, 19)]),
        ("a: " + "9" * 5000, [("bad-number", 1, 4, 5000)]),
        ("a: !!int .nan", [("bad-number", 1, 10, 4)]),
        ("a: !foo 1", [("bad-tag", 1, 4, 4)]),
        ("a: !!int x", [("bad-tag", 1, 4, 5)]),
        ("a: !!map [1]", [("bad-tag", 1, 4, 5)]),
        ("a: !!python/name:os.system {}", [("bad-tag", 1, 4, 23)]),
        ("a: *x", [("unknown-anchor", 1, 4, 2)]),
        ("a: &x [*x]", [("recursive-anchor", 1, 8, 2)]),
        ("a: {\n", [("yaml-syntax", 2, 1, 1)]),
        ("a: b: c", [("yaml-syntax", 1, 5, 1)]),
        ("a: 1\n\tb: 1", [("yaml-syntax", 2, 1, 1)]),
        ("a\0b: 1\nc: \x07", [("bad-character", 1, 2, 1), ("bad-character", 2, 4, 1)]),
        ("a: \ufeff", [("bad-character", 1, 4, 1)]),
        ("a: \u2028", [("bad-character", 1, 4, 1)]),
        (b"a: \xff\xfe\nb: \xc0", [("not-utf8", 1, 4, 2), ("not-utf8", 2, 4, 1)]),
    ],
)
def test_each_error_is_located(
    text: str | bytes, expected: list[tuple[str, int, int, int]]
) -> None:
    assert places(text) == expected


def test_all_errors_are_found_at_once() -> None:
    text = "a: 1\na: 2\n1: 3\nb: .nan\nc: !x 1\nd: *y\n<<: 1\ne: &e {f: *e}\ng: ]\n"
    assert [place[:2] for place in places(text)] == [
        ("duplicate-key", 2),
        ("non-string-key", 3),
        ("bad-number", 4),
        ("bad-tag", 5),
        ("unknown-anchor", 6),
        ("merge-key", 7),
        ("recursive-anchor", 8),
        ("yaml-syntax", 9),
    ]


def test_help_says_what_to_write() -> None:
    assert errors("1: 2")[0].help == 'write "1"'
    assert errors("a: 1\n\tb: 1")[0].help == "indent with spaces, not tabs"
    assert "extends" in str(errors("<<: 1")[0].help)
    assert errors("a: 1\n\na: 2")[0].notes == ("first given at line 1",)


def test_nothing_long_is_repeated_in_a_message() -> None:
    name = "n" * 900
    for text in (f"{name}: 1\n{name}: 2", f"a: *{name}", f"a: !{name} 1"):
        (error,) = errors(text)
        assert len(error.message) < 150
        assert len(render_text([error])) < 500


def test_too_many_errors_stop_the_reading() -> None:
    assert len(errors("a: 1\n" * 1000)) == MAX_ERRORS


# --- limits


@pytest.mark.parametrize("opening", ["[", "{a: ", "- ", "? "])
def test_deep_nesting_is_an_error(opening: str) -> None:
    assert errors("a:\n  " + opening * 10_000)[-1].code == "too-deep"


def test_aliases_count_towards_the_depth() -> None:
    lines = ["a0: &a0 [1]"]
    lines += [f"a{i}: &a{i} [*a{i - 1}]" for i in range(1, MAX_DEPTH + 5)]
    assert places("\n".join(lines))[-1][0] == "too-deep"


def test_values_may_nest_up_to_the_limit() -> None:
    depth = MAX_DEPTH - 1
    read("a: " + "[" * depth + "1" + "]" * depth)


def test_exploding_anchors_are_an_error() -> None:
    lines = ["a0: &a0 [1, 1, 1, 1, 1, 1, 1, 1, 1, 1]"]
    for i in range(1, 30):
        lines.append(f"a{i}: &a{i} [{', '.join([f'*a{i - 1}'] * 10)}]")
    (error,) = errors("\n".join(lines))
    assert error.code == "too-many-values"


def test_many_values_are_an_error(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "MAX_VALUES", 100)
    read("a: [" + "1," * 98 + "]")  # and the list, and the top
    (error,) = errors("a: [" + "1," * 99 + "]")
    assert error.code == "too-many-values"


def test_a_large_file_is_an_error() -> None:
    assert places(b"a" * (MAX_BYTES + 1)) == [("too-large", 1, 1, 1)]


def test_a_binary_file_gives_few_errors() -> None:
    assert 1 <= len(errors(bytes(range(256)) * 1000)) <= MAX_ERRORS


# --- hostile text

YAML_PIECES = [
    *"[]{},:?-&*!|>'\"%@`#\n\r\t ab1.~\\<",
    *("---", "...", "<<", ": ", "- ", "\n  ", "&a ", "*a", "!!int ", "%YAML 1.2\n"),
    *("\\ud800", "\\U00110000", "1e999", ".nan"),
]
YAML_LIKE = st.lists(st.sampled_from(YAML_PIECES), max_size=40).map("".join)


def read_or_errors(text: bytes) -> Source | tuple[Diagnostic, ...]:
    try:
        return read(text)
    except SpecError as error:
        return error.diagnostics


@given(st.binary(max_size=200) | YAML_LIKE.map(str.encode))
def test_garbage_raises_nothing_but_spec_errors(text: bytes) -> None:
    found = read_or_errors(text)
    if isinstance(found, Source):
        json.dumps(found.data, ensure_ascii=False).encode()
    else:
        assert found
        assert all(diagnostic.span for diagnostic in found)
        render_text(found)


@given(st.data())
def test_a_mutated_spec_never_crashes(data: st.DataObject) -> None:
    start = data.draw(st.integers(0, len(ALEXNET)))
    end = data.draw(st.integers(start, min(len(ALEXNET), start + 40)))
    text = ALEXNET[:start] + data.draw(YAML_LIKE).encode() + ALEXNET[end:]
    found = read_or_errors(text)
    if not isinstance(found, Source):
        render_text(found)
        return
    for path, span in {**found.keys, **found.values}.items():
        assert span.text in text.decode(), path
        assert 1 <= span.column <= len(span.text) + 1
        assert span.length >= 1
