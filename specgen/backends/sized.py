"""Whole numbers that remember how they came about.

An op that computes its shape or its arguments with these says how they follow from
those of its inputs.
"""

from __future__ import annotations

from specgen.frontend.expressions import ARITHMETIC, Name, Number, Term
from specgen.frontend.formulas import combined, names_of, size_of, text

LOST = Name("lost")  # no name of a spec: it stands for what is too long to remember
LONGEST = 40  # numbers, names and operations


class Sized(int):
    """A whole number with its formula, which is what it is written as."""

    term: Term

    @staticmethod
    def of(value: int, term: Term) -> Sized:
        """Return a number with this formula."""
        found = Sized(value)
        found.term = bounded(term)
        return found

    def __repr__(self) -> str:
        return text(self.term)

    def __str__(self) -> str:
        return text(self.term)

    def __add__(self, other: int) -> Sized:
        return _applied("+", self, other)

    def __radd__(self, other: int) -> Sized:
        return _applied("+", other, self)

    def __mul__(self, other: int) -> Sized:
        return _applied("*", self, other)

    def __rmul__(self, other: int) -> Sized:
        return _applied("*", other, self)

    def __floordiv__(self, other: int) -> Sized:
        return _applied("//", self, other)

    def __rfloordiv__(self, other: int) -> Sized:
        return _applied("//", other, self)


def _applied(sign: str, *numbers: int) -> Sized:
    left, right = map(int, numbers)
    term = combined(sign, tuple(map(term_of, numbers)))
    return Sized.of(int(ARITHMETIC[sign](left, right)), term)


def bounded(term: Term) -> Term:
    """Return a formula, unless it is too long, or made of one that was."""
    too_long = size_of(term) > LONGEST or LOST.name in names_of(term)
    return LOST if too_long else term


def term_of(number: int) -> Term:
    """Return the formula of a number; a plain one is itself."""
    return number.term if isinstance(number, Sized) else Number(number)
