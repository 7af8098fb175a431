"""Formulas as texts: what they are in Python, and what is left out of them."""

from __future__ import annotations

import math
from typing import Any

import pytest
from hypothesis import given
from test_expressions import ARITHMETIC

from specgen.frontend.expressions import parse
from specgen.frontend.formulas import (
    python,
    read,
    replaced,
    rounds_alike,
    text,
    value_of,
)

VALUES: dict[str, Any] = {"a": 3, "b": 2.5, "n": -7, "in.channels": 64}
CALLED = {name: name.replace(".", "_") for name in VALUES}


@given(ARITHMETIC)
def test_a_formula_is_written_as_it_computes(text_: str) -> None:
    if len(text_) > 100 or text_.count("**") > 1:  # Python takes long for 9 ** 9 ** 9
        return
    term = parse(f"$({text_})").term
    value = value_of(term, VALUES)
    shorter = replaced(term, {}, {"a", "n"})
    assert read(text(term)) == term
    if value is None:
        return
    same = value_of(shorter, VALUES)
    assert isinstance(value, int | float)
    assert isinstance(same, int | float)
    assert math.isclose(same, value, rel_tol=1e-12)
    scope = {CALLED[name]: number for name, number in VALUES.items()}
    names = {"min": min, "max": max, "int": int} | scope
    assert eval(python(term, CALLED), {"__builtins__": {}}, names) == value


@pytest.mark.parametrize(
    ("written", "short"),
    [
        ("a * 64 // 64 * 1", "a"),
        ("a * 4 // 64 * 32", "a // 16 * 32"),
        ("a * 64 // 4", "a * 16"),
        ("64 * a // 4", "16 * a"),
        ("b * 64 // 4", "b * 64 // 4"),  # b may be a fraction
        ("a * 5 // 2", "a * 5 // 2"),
        ("round(a * 3 - 1)", "a * 3 - 1"),
        ("round(b * 3)", "round(b * 3)"),
        ("a + 1 + 2", "a + 3"),
        ("0 + a - 0", "a"),
        ("a - (n - 1)", "a - (n - 1)"),
        ("(a ** n) ** 2", "(a**n) ** 2"),
        ("-a ** 2", "-a**2"),
        ("(-a) ** 2", "(-a) ** 2"),
        ("2 ** -a", "2 ** -a"),
        ("(a < n) == (n < b)", "(a < n) == (n < b)"),
        ("not (a < n or n < b) and a < b", "not (a < n or n < b) and a < b"),
    ],
)
def test_what_is_always_the_same_is_left_out(written: str, short: str) -> None:
    assert text(replaced(parse(f"$({written})").term, {}, {"a", "n"})) == short


@pytest.mark.parametrize("less", [-5, 0, 4])
def test_python_rounds_otherwise_below_0(less: int) -> None:
    term = read("8 + round(less / 3)")
    assert term
    assert rounds_alike(term, {"less": less}) == (less >= 0)
