"""Formulas: how numbers follow from the params of a block and from what it reads.

The graph has them as texts in the language of expressions, without the dollar sign. In
one there are only params of the block around it and `in.channels`: all other names are
replaced by their values.
"""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping
from contextlib import suppress
from functools import lru_cache
from typing import Any

from specgen.frontend.computing import Names
from specgen.frontend.expressions import (
    BINDS,
    COMPARISONS,
    NOT,
    SIGN,
    START,
    Call,
    Expression,
    ExpressionError,
    Name,
    Number,
    Term,
    Value,
    is_expression,
    parse,
)

IN_CHANNELS = "in.channels"
UNARY = {"negative": ("-", SIGN), "positive": ("+", SIGN), "not": ("not ", NOT)}
ATOM = 9  # binds more tightly than any operation
WHOLE = {"+", "-", "*", "//", "%", "min", "max", "negative", "positive"}
NONE: frozenset[str] = frozenset()


def formulas(
    values: Mapping[str, Any], own: Collection[str], names: Names
) -> dict[str, str]:
    """Return the formulas among the values of a layer, or of a use of a block.

    `own` are the params of the block that it is in.
    """
    found = {}
    for key, value in values.items():
        if not is_expression(value):
            continue
        expression = parse(value)
        kept = expression.names & {*own, IN_CHANNELS}
        if kept:
            known = tuple(
                (n, names[n], type(names[n])) for n in expression.names - kept
            )
            whole = frozenset(n for n in kept if isinstance(names[n], int))
            found[key] = _formula(value, known, whole)
    return {key: text for key, text in found.items() if text}


@lru_cache(maxsize=1024)  # instances repeat themselves
def _formula(
    value: str, known: tuple[tuple[str, Value, type], ...], whole: frozenset[str]
) -> str:
    """Return the formula of an expression, or nothing if there is none.

    The types keep 1 and 1.0 apart, which are equal.
    """
    by: dict[Term, Term] = {}
    for name, number, _ in known:
        if isinstance(number, str):
            return ""
        by[Name(name)] = Number(number)
    term = replaced(parse(value).term, by, whole)
    return text(term) if names_of(term) else ""


@lru_cache(maxsize=4096)
def read(formula: str) -> Term | None:
    """Return what a formula says, or None if it is too long or no formula."""
    with suppress(ExpressionError):
        return parse(f"{START}{formula})").term
    return None


def value_of(term: Term, values: Mapping[str, Value]) -> Value | None:
    """Return what a formula gives, or None if that is nothing."""
    with suppress(ExpressionError, KeyError):
        return Expression(term, NONE, 0).evaluate(values)
    return None


def rounds_alike(term: Term, values: Mapping[str, Value]) -> bool:
    """Whether a formula rounds in Python as in a spec, with these values.

    `int` of half more is another number below 0, and just below a half.
    """
    for each in _parts(term):
        if isinstance(each, Call) and each.name == "round":
            inside = value_of(each.terms[0], values)
            if not isinstance(inside, int | float):
                return False
            if int(inside + 0.5) != value_of(each, values):
                return False
    return True


def names_of(term: Term) -> set[str]:
    """Return the names in a formula."""
    return {each.name for each in _parts(term) if isinstance(each, Name)}


def size_of(term: Term) -> int:
    """Return how many numbers, names and operations there are."""
    return sum(1 for _ in _parts(term))


def _parts(term: Term) -> Iterator[Term]:
    yield term
    if isinstance(term, Call):
        for each in term.terms:
            yield from _parts(each)


def replaced(
    term: Term, by: Mapping[Term, Term], whole: Collection[str] = NONE
) -> Term:
    """Return a formula with other terms in the place of some.

    These params are `whole` numbers.
    """
    if term in by:
        return by[term]
    if not isinstance(term, Call):
        return term
    terms = (replaced(each, by, whole) for each in term.terms)
    return combined(term.name, tuple(terms), whole)


def combined(sign: str, terms: tuple[Term, ...], whole: Collection[str] = NONE) -> Term:
    """Return an operation on terms, or what is always the same and shorter."""
    plain = Call(sign, terms)
    if all(isinstance(term, Number) for term in terms):
        found = value_of(plain, {})
        return plain if found is None or isinstance(found, str) else Number(found)
    match sign, terms:
        case ("*", (Number(1), x) | (x, Number(1))) | ("+", (Number(0), x)):
            return x
        case ("+" | "-", (x, Number(0))):
            return x
        case ("round", (x,)) if _is_whole(x, whole):
            return x
        case ("//", (x, Number(1))) if _is_whole(x, whole):
            return x
        case ("+" | "*", (Call(inner, (x, Number(int(a)))), Number(int(b)))) if (
            inner == sign
        ):
            return Call(sign, (x, combined(sign, (Number(a), Number(b)))))
        case ("//", (Call("*", (x, Number(int(a)))), Number(int(b)))) if a > 0 < b:
            if not _is_whole(x, whole):
                return plain
            if a % b == 0:
                return combined("*", (x, Number(a // b)), whole)
            if b % a == 0:
                return combined("//", (x, Number(b // a)), whole)
        case ("//", (Call("*", (Number(int(a)), x)), Number(int(b)))) if a > 0 < b:
            if _is_whole(x, whole) and a % b == 0:
                return combined("*", (Number(a // b), x), whole)
    return plain


def _is_whole(term: Term, whole: Collection[str]) -> bool:
    """Whether it is a whole number, whatever those of its names are."""
    match term:
        case Number(value):
            return isinstance(value, int)
        case Name(name):
            return "." in name or name in whole  # a size is
        case Call("round"):
            return True
        case Call(sign, terms):
            return sign in WHOLE and all(_is_whole(each, whole) for each in terms)


def text(term: Term) -> str:
    """Return a formula as it is written, in an expression or in Python."""
    return _written(term)[0]


def _written(term: Term) -> tuple[str, int]:
    """Return the text, and how tightly it binds."""
    match term:
        case Number(bool(value)):
            return str(value).lower(), ATOM
        case Number(value):
            return repr(value), ATOM if value >= 0 else SIGN
        case Name(name):
            return name, ATOM
        case Call(name, terms) if name in UNARY:
            sign, binds = UNARY[name]
            return f"{sign}{_inside(terms[0], binds)}", binds
        case Call(sign, (left, right)) if sign in BINDS:
            binds = BINDS[sign]
            starts = sign == "**" or sign in COMPARISONS  # not from the left
            first = _inside(left, binds + starts)
            second = _inside(right, SIGN if sign == "**" else binds + 1)
            simple = not isinstance(left, Call) and not isinstance(right, Call)
            close = sign == "**" and simple  # as the formatter of Python has it
            return (
                f"{first}{sign}{second}" if close else f"{first} {sign} {second}",
                binds,
            )
        case Call(name, terms):
            return f"{name}({', '.join(map(text, terms))})", ATOM


def _inside(term: Term, least: int) -> str:
    """Return the text in brackets, unless it binds as tightly as is needed."""
    found, binds = _written(term)
    return found if binds >= least else f"({found})"


def python(term: Term, names: Mapping[str, str]) -> str:
    """Return a formula in Python, where names are called otherwise."""
    return text(_translated(term, names))


def _translated(term: Term, names: Mapping[str, str]) -> Term:
    match term:
        case Number(bool(value)):
            return Name(str(value))
        case Name(name):
            return Name(names[name])
        case Call(name, terms):
            inside = tuple(_translated(each, names) for each in terms)
            if name == "round":  # half up; round() of Python goes to the even number
                return Call("int", (Call("+", (*inside, Number(0.5))),))
            return Call(name, inside)
    return term
