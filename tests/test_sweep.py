"""Sweeps: what `--sweep` accepts, and what is wrong with others."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from specgen.frontend.overlay import option
from specgen.variants.sweep import Value, combinations, read_sweeps, value_of


@pytest.mark.parametrize(
    ("text", "values"),
    [
        ("7", {"7": 7}),
        ("7,", {"7": 7}),
        (" 7 , 0x8", {"7": 7, "0x8": 8}),
        ("0,{top: 1},[1,2]", {"0": 0, "{top: 1}": {"top": 1}, "[1,2]": [1, 2]}),
        ("1,1.0,true,'1',null", {"1": 1, "1.0": 1.0, "true": True, "'1'": "1"}),
        ("'a, b',\"],\",''", {"'a, b'": "a, b", '"],"': "],", "''": ""}),
        ("{x: [1, {y: 2}]}, a b", {"{x: [1, {y: 2}]}": {"x": [1, {"y": 2}]}}),
        ("1e-3,3GiB", {"1e-3": 1e-3, "3GiB": "3GiB"}),
    ],
)
def test_values_are_a_flow_sequence(text: str, values: dict[str, Any]) -> None:
    (sweep,), problems = read_sweeps([f"layers.conv1.padding={text}"])
    assert not problems
    assert sweep.path == "layers.conv1.padding"
    found = {value.text: value.data for value in sweep.values}
    assert values.items() <= found.items()
    assert len(found) - len(values) <= 1
    for written, value in found.items():
        path = "layers.conv1.padding"
        assert value_of(option(f"{path}={written}"), path) == value


@pytest.mark.parametrize(
    ("text", "code", "place"),
    [
        ("x", "bad-sweep", "x"),
        ("x=", "bad-sweep", "="),
        ("x= ", "bad-sweep", "="),
        ("=1", "bad-sweep", "="),
        ("a.=1", "bad-sweep", "="),
        ("extends=a.yaml", "bad-sweep", "extends"),
        ("a=1\n2", "bad-sweep", "\n"),
        ("a=1,0x1", "bad-sweep", "0x1"),
        ("a={b: 1},{'b': 1}", "bad-sweep", "{'b': 1}"),
        ("a=b: 1", "bad-sweep", "b: 1"),
        ("a=&x 1,*x", "bad-sweep", "*x"),
        ("a=!!str 1,2", "bad-sweep", "1"),
        ("a=1] #", "bad-sweep", "]"),
        ("a=1]", "yaml-syntax", ""),
        ("a=1],[2", "yaml-syntax", ","),
        ("a=1,,2", "yaml-syntax", ","),
        ("a=1 # b", "yaml-syntax", ""),
        ("a={b: 1, b: 2}", "duplicate-key", "b"),
        ("a=.nan", "bad-number", ".nan"),
        ("a=\x1b", "bad-character", "\x1b"),
        ("a=\udcff", "not-utf8", "\udcff"),
    ],
)
def test_a_wrong_sweep_is_shown_where_it_is(text: str, code: str, place: str) -> None:
    sweeps, (error,) = read_sweeps([text])
    assert not sweeps
    assert error.code == code
    assert error.span
    assert (error.span.file, error.span.text) == (f"--sweep {text}", text)
    assert text[error.span.column - 1 :][: error.span.length] == place


def test_a_path_is_swept_only_once_and_all_errors_are_found() -> None:
    sweeps, problems = read_sweeps(["a=1", "b=", "a=2", "c=1"])
    assert [sweep.path for sweep in sweeps] == ["a", "c"]
    assert [p.message for p in problems] == [
        "there is no value after the =",
        "this path is swept twice",
    ]


def test_sweeps_multiply_and_the_last_changes_fastest() -> None:
    sweeps, _ = read_sweeps(["a=1,2", "b=x,y"])
    texts = [[value.text for value in values] for values in combinations(sweeps, 2)]
    assert texts == [["1", "x"], ["1", "y"], ["2", "x"], ["2", "y"]]
    assert combinations([], 3) == [()]


@given(st.text(max_size=30), st.text(max_size=30))
def test_no_sweep_raises_anything(path: str, values: str) -> None:
    """What is read is what `--set` would read, value by value."""
    for text in (f"{path}={values}", f"a.b={values}"):
        sweeps, problems = read_sweeps([text])
        assert bool(sweeps) != bool(problems)
        for sweep in sweeps:
            for value in sweep.values:
                assert isinstance(value, Value)
                source = option(f"{sweep.path}={value.text}")
                assert value_of(source, sweep.path) == value.data
