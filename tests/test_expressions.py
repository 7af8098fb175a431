"""The arithmetic of specs, against Python's own, and what it refuses."""

from __future__ import annotations

import ast
import math
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from specgen.frontend.expressions import (
    DEEPEST,
    LARGEST,
    LONGEST,
    ExpressionError,
    parse,
    parts,
)

SCOPE: dict[str, Any] = {"a": 3, "b": 2.5, "n": -7, "yes": True, "no": False}


def numbers() -> st.SearchStrategy[str]:
    whole = st.integers(0, 10**6).map(str)
    fraction = st.floats(0, 1e6, allow_subnormal=False).map(repr)
    return st.one_of(whole, fraction, st.sampled_from(["a", "b", "n", "in.channels"]))


def combined(inner: st.SearchStrategy[str]) -> st.SearchStrategy[str]:
    def joined(*signs: str) -> st.SearchStrategy[str]:
        return st.builds("{} {} {}".format, inner, st.sampled_from(signs), inner)

    called = st.builds(
        "{}({}, {})".format, st.sampled_from(["min", "max"]), inner, inner
    )
    signed = st.builds("{}{}".format, st.sampled_from("-+"), inner)
    return joined(*"+-*/%", "//", "**") | called | signed | inner.map("({})".format)


def truths() -> st.SearchStrategy[str]:
    signs = st.sampled_from(["==", "!=", "<", "<=", ">", ">="])
    compared = st.builds("{} {} {}".format, ARITHMETIC, signs, ARITHMETIC)
    return compared | st.sampled_from(["yes", "no", "true", "false"])


def logic(inner: st.SearchStrategy[str]) -> st.SearchStrategy[str]:
    words = st.sampled_from(["and", "or"])
    joined = st.builds("{} {} {}".format, inner, words, inner)
    return joined | inner.map("not {}".format) | inner.map("({})".format)


ARITHMETIC = st.recursive(numbers(), combined, max_leaves=8)


def evaluated(text: str) -> Any:
    scope = {**SCOPE, "channels": 64, "true": True, "false": False}
    return eval(text, {"__builtins__": {}, "min": min, "max": max, **scope})


def python(text: str) -> Any:
    """Return what Python computes, or None if that is not a number of 64 bits."""
    text = text.replace("in.channels", "channels")
    try:
        value = evaluated(text)
        known = isinstance(value, int | float) and math.isfinite(value)
    except (ZeroDivisionError, OverflowError):
        return None
    except TypeError:  # complex numbers have no order
        assert takes_a_root(text)
        return None
    return value if known else None


def takes_a_root(text: str) -> bool:
    """Whether Python comes to a complex number on its way, which it can compare."""
    tree = ast.parse(text.replace("in.channels", "channels"), mode="eval")
    powers = (
        node
        for node in ast.walk(tree)
        if isinstance(node, ast.BinOp) and isinstance(node.op, ast.Pow)
    )
    return any(isinstance(evaluated(ast.unparse(node)), complex) for node in powers)


def ours(text: str) -> Any:
    return parse(f"$({text})").evaluate({**SCOPE, "in.channels": 64})


@given(ARITHMETIC | st.recursive(truths(), logic, max_leaves=5))
def test_it_computes_as_python_does(text: str) -> None:
    if len(text) > 100 or text.count("**") > 1:  # Python takes long for 9 ** 9 ** 9
        return
    try:
        value = ours(text)
    except ExpressionError as error:
        expected = python(text)
        too_large = "64 bits" in str(error) or "too large" in str(error)
        root = "root of a negative number" in str(error)
        assert expected is None or too_large or (root and takes_a_root(text))
    else:
        expected = python(text)
        assert value == expected
        assert type(value) is type(expected)


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("2 + 3 * 4", 14),
        ("-2 ** 2", -4),
        ("2 ** 3 ** 2", 512),
        ("2 ** -1", 0.5),
        ("7 // 2", 3),
        ("-7 % 3", 2),
        ("6 / 2", 3.0),
        ("10 - 2 - 3", 5),
        ("round(2.5)", 3),
        ("round(-2.5)", -2),
        ("round(0.49999999999999994)", 0),
        ("round(7)", 7),
        ("max(8, a, b)", 8),
        ("not a == 3 or yes", True),
        ("no and 1 / 0 == 1", False),
        ("yes or 1 / 0 == 1", True),
        ("yes == not_no", True),
        (" 1+1\t", 2),
        (".5", 0.5),
        ("1e2", 100.0),
    ],
)
def test_values(text: str, value: object) -> None:
    found = parse(f"$({text})").evaluate({**SCOPE, "not_no": True})
    assert found == value
    assert type(found) is type(value)


@pytest.mark.parametrize(
    ("text", "message", "help"),
    [
        ("", "this expression is not complete", None),
        ("1 +", "this expression is not complete", None),
        ("1 2", "unexpected 2 in an expression", None),
        ("a.b.c(1)", "there is no function a.b.c", "the functions are min, max, round"),
        ("__import__(1)", "there is no function __import__", None),
        ("a[0]", "an expression cannot contain [", None),
        ("'x'", "an expression cannot contain '", None),
        ("a = 1", "an expression cannot contain =", "write == to compare"),
        ("!yes", "an expression cannot contain !", "write not, or !="),
        ("1 < a < 3", "comparisons cannot be chained", "write a < b and b < c"),
        ("1 + not yes", "unexpected not in an expression", None),
        ("min(1)", "min takes two values or more, not 1", None),
        ("round(1, 2)", "round takes one value, not 2", None),
        ("round()", "unexpected ) in an expression", None),
        ("max", "expected ( in an expression, got the end", None),
        ("9223372036854775808", "a whole number does not fit in 64 bits here", None),
        ("1e999", "a number is too large here", None),
        ("yes + 1", "+ takes numbers, got true", None),
        ("-no", "- takes numbers, got false", None),
        ("1 and yes", "and takes true or false, got 1", None),
        ("yes and 1", "and takes true or false, got 1", None),
        ("not word", 'not takes true or false, got the word "relu"', None),
        ("word == 1", '== takes numbers, got the word "relu"', None),
        ("yes == 1", "== takes numbers, got true", None),
        ("1 % 0", "there is a division by zero", None),
        ("0 ** -1", "there is a division by zero", None),
        ("9 ** 9 ** 9", "a number is too large here", None),
        ("2.0 ** 99999", "a number is too large here", None),
        ("(0 - 8) ** 0.5", "a root of a negative number is not a number", None),
        (f"{LARGEST} + 1", "a whole number does not fit in 64 bits here", None),
    ],
)
def test_what_it_refuses(text: str, message: str, help: str | None) -> None:
    with pytest.raises(ExpressionError) as caught:
        parse(f"$({text})").evaluate({**SCOPE, "word": "relu"})
    assert str(caught.value) == message
    if help:
        assert caught.value.help
        assert caught.value.help.startswith(help)


@pytest.mark.parametrize("text", ["$", "$1", "$a b", "$(a", "$(a) + 1", "$(a)$(a)"])
def test_one_expression_is_the_whole_value(text: str) -> None:
    with pytest.raises(ExpressionError):
        parse(text)


def test_its_names_are_known_before_its_value() -> None:
    found = parse("$(min(in.channels, width) * (1 + width) > index and true)")
    assert found.names == {"in.channels", "width", "index"}
    assert parse("$width").names == {"width"}
    assert parse("$in.channels").names == {"in.channels"}


def test_a_text_with_expressions_in_it() -> None:
    first, second, *more = parts("layer$(index + 1)_$width")
    assert first == "layer"
    assert second == parse("$(index + 1)")
    assert more == ["_", parse("$width")]
    assert parts("plain") == ("plain",)


@pytest.mark.parametrize(
    "text",
    [
        "(" * 10**6,
        "(" * (LONGEST // 2 - 2) + "1" + ")" * (LONGEST // 2 - 2),
        "-" * (DEEPEST + 1) + "1",
        "2 ** " * (DEEPEST + 1) + "1",
        "not " * (DEEPEST + 1) + "yes",
    ],
)
def test_one_that_is_too_long_or_too_deep_is_refused(text: str) -> None:
    with pytest.raises(ExpressionError):
        parse(f"$({text})")


def test_the_longest_chain_has_a_value() -> None:
    text = "+".join(["1"] * ((LONGEST - 3) // 2))
    assert parse(f"$({text})").evaluate({}) == text.count("1")
