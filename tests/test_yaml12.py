from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from typing import Any

import pytest
import yaml
from hypothesis import given
from hypothesis import strategies as st
from reading import ALEXNET, errors, plain_data, read, read_or_errors

from specgen.diagnostics import render_text
from specgen.source import MAX_BYTES, Source, parse
from specgen.yaml12 import reader
from specgen.yaml12.reader import MAX_DEPTH, MAX_ERRORS


@pytest.fixture(params=["CSafeLoader", "SafeLoader"], autouse=True)
def loader(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> None:
    """Run every test with libyaml and with the Python loader."""
    monkeypatch.setattr(reader, "Loader", getattr(yaml, request.param))


def places(text: str | bytes) -> list[tuple[str, int, int, int]]:
    """Return code, line, column and length of every error."""
    found = []
    for diagnostic in errors(text):
        assert diagnostic.span
        span = diagnostic.span
        found.append((diagnostic.code, span.line, span.column, span.length))
    return found


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


class Dumper(yaml.SafeDumper):
    """Quotes every string: PyYAML leaves `1e4`, a number in YAML 1.2, unquoted."""


Dumper.add_representer(
    str, lambda dumper, text: dumper.represent_scalar(reader.TAG + "str", text, '"')
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


# --- errors


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("", [("empty-file", 1, 1, 1)]),
        ("# only\n", [("empty-file", 1, 1, 1)]),
        ("---\n", [("empty-file", 2, 1, 1)]),
        ("~", [("not-a-mapping", 1, 1, 1)]),
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
        ("a: [", [("yaml-syntax", 1, 5, 1)]),
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


def test_a_recoverable_error_has_a_stand_in_at_its_path() -> None:
    text = "1: 2\na: .nan\nb: !x 1\nc: *y\n<<: 3\nd: &d {e: *d}\nf: 1\nf: 2\n? [1]\n: 4"
    source = parse(text.encode(), "a.yaml")
    assert source.data == {
        "1": 2,
        "a": ".nan",
        "b": "1",
        "c": "y",
        "<<": 3,
        "d": {"e": "d"},
        "f": 2,
        "": 4,
    }
    paths = [("1",), ("a",), ("b",), ("c",), ("<<",), ("d", "e"), ("f",), ("",)]
    assert [problem.path for problem in source.problems] == paths


def test_help_says_what_to_write() -> None:
    assert errors("1: 2")[0].help == 'write "1"'
    assert errors("a: 1\n\tb: 1")[0].help == "indent with spaces, not tabs"
    assert "a mapping in {braces}" in str(errors("a: b: c")[0].help)
    assert "needs quotes" in str(errors("a: @b")[0].help)
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


@pytest.mark.parametrize("opening", ["[", "{a: ", "- ", "? ", "{[", "[? "])
def test_deep_nesting_is_an_error(opening: str) -> None:
    text = "a:\n  " + opening * 10_000
    error = errors(text)[-1]
    assert error.code == "too-deep"
    assert error.message == f"values are nested more than {MAX_DEPTH} levels deep"
    assert error.span
    assert error.span.line == 2
    assert error.span.column > MAX_DEPTH  # where it passes a limit, ours or libyaml's
    assert len(render_text([error])) < 500


@pytest.mark.parametrize("reads_ahead", [True, False])
def test_the_parser_may_have_its_own_depth_limit(
    monkeypatch: pytest.MonkeyPatch, reads_ahead: bool
) -> None:
    """New libyaml may give no events for what it finds too deep; old ones give all."""
    text = "a:\n  " + "[" * 100

    def parse(text: str, loader: Any) -> Iterator[Any]:
        if reads_ahead:
            mark = yaml.Mark("", 84, 1, 80, None, 0)
            problem = "exceeded maximum nesting depth"
            raise yaml.scanner.ScannerError("", mark, problem, mark)
        yield from original(text, yaml.SafeLoader)

    original = yaml.parse
    monkeypatch.setattr(yaml, "parse", parse)
    column = 81 if reads_ahead else MAX_DEPTH + 3
    assert places(text) == [("too-deep", 2, column, 1)]


def test_aliases_count_toward_the_depth() -> None:
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
    monkeypatch.setattr(reader, "MAX_VALUES", 100)
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
