"""Arithmetic in a spec: `$name`, `$(...)`, with an evaluator of its own.

Numbers, true and false; `+ - * / // % **`, comparisons, `and or not`, `min max round`.
There are no attributes, no texts and no other calls, and every number fits in 64 bits:
an expression can do nothing but compute, and not for long.
"""

from __future__ import annotations

import math
import operator
import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import lru_cache
from typing import Protocol

from specgen.diagnostics import short

Value = bool | int | float | str

LONGEST = 300  # characters
DEEPEST = 50  # brackets, signs and powers within each other
LARGEST = 2**63 - 1

TOKEN = re.compile(
    r"(?P<number>(?:[0-9]+(?:\.[0-9]*)?|\.[0-9]+)(?:[eE][-+]?[0-9]+)?)"
    r"|(?P<name>[A-Za-z_][A-Za-z0-9_]*(?:\.[A-Za-z_][A-Za-z0-9_]*)*)"
    r"|(?P<sign>\*\*|//|==|!=|<=|>=|[-+*/%<>(),])"
)
SPACE = re.compile(r"[ \t]*")
NAME = re.compile(r"\$([A-Za-z_][A-Za-z0-9_]*(?:\.[A-Za-z]+)?)")
START = "$("

COMPARISONS: Mapping[str, Callable[[float, float], bool]] = {
    "==": operator.eq,
    "!=": operator.ne,
    "<": operator.lt,
    "<=": operator.le,
    ">": operator.gt,
    ">=": operator.ge,
}
ARITHMETIC: Mapping[str, Callable[[float, float], float]] = {
    "+": operator.add,
    "-": operator.sub,
    "*": operator.mul,
    "/": operator.truediv,
    "//": operator.floordiv,
    "%": operator.mod,
}
# How tightly what joins two terms binds; `not` binds like 3, a sign like 7.
BINDS = {"or": 1, "and": 2, **dict.fromkeys(COMPARISONS, 4), "+": 5, "-": 5}
BINDS |= {"*": 6, "/": 6, "//": 6, "%": 6, "**": 8}
NOT, SIGN, POWER = 3, 7, 8
FUNCTIONS = {"min": (2, 100), "max": (2, 100), "round": (1, 1)}
LITERALS = {"true": True, "false": False}
WORDS = {"and", "or", "not", "in", *FUNCTIONS, *LITERALS}


class ExpressionError(Exception):
    """An expression cannot be read, or has no value; `help` says what to write."""

    def __init__(self, message: str, help: str | None = None) -> None:
        super().__init__(message)
        self.help = help


class Names(Protocol):
    """What names stand for, such as a mapping."""

    def __getitem__(self, name: str, /) -> Value:
        """Return the value of a name."""


@dataclass(frozen=True, slots=True)
class Number:
    """A number, true or false."""

    value: bool | int | float


@dataclass(frozen=True, slots=True)
class Name:
    """A param, or what else has a name."""

    name: str


@dataclass(frozen=True, slots=True)
class Call:
    """An operation or a function: its sign or name, and what it is applied to."""

    name: str
    terms: tuple[Term, ...]


Term = Number | Name | Call


@dataclass(frozen=True, slots=True)
class Expression:
    """What a `$name` or `$(...)` computes, of which names, in how many steps."""

    term: Term
    names: frozenset[str]
    size: int

    def evaluate(self, scope: Names) -> Value:
        """Return the value, given those of the names.

        Raises:
            ExpressionError: there is none.
        """
        return _evaluate(self.term, scope)


def is_expression(value: object) -> bool:
    """Tell whether a value of a spec is to be computed."""
    return isinstance(value, str) and value.startswith("$")


@lru_cache(maxsize=4096)
def parse(text: str) -> Expression:
    """Read `$name` or `$(...)`.

    Raises:
        ExpressionError: it is neither.
    """
    if len(text) > LONGEST:
        raise ExpressionError(f"an expression has at most {LONGEST} characters")
    if found := NAME.fullmatch(text):
        name = found[1]
        term = Number(LITERALS[name]) if name in LITERALS else Name(name)
        return Expression(term, frozenset({name} - LITERALS.keys()), 1)
    end = closing(text, 0)
    if not text.startswith(START) or end is None or end < len(text):
        if text.startswith(START) and end is None:
            raise ExpressionError("a ) is missing in this expression")
        meant = rewritten(text)
        help = f"write {meant}" if meant else "put all of it in one $(...)"
        raise ExpressionError("expected $name or $(expression)", help)
    return _Parser(text[len(START) : -1]).expression()


def rewritten(text: str) -> str | None:
    """Return what a text means that has a $ elsewhere: `2 * $width`, `${width}`."""
    if "$" not in text and "{{" not in text:
        return None
    meant = f"$({re.sub('[${}]', '', text).strip()})"
    try:
        parse(meant)
    except ExpressionError:
        return None
    return meant


def closing(text: str, start: int) -> int | None:
    """Return where the brackets of a `$(` at `start` are closed, or None."""
    depth = 0
    for index in range(start + 1, len(text)):
        depth += {"(": 1, ")": -1}.get(text[index], 0)
        if depth == 0:
            return index + 1
    return None


@lru_cache(maxsize=4096)
def parts(text: str) -> tuple[str | Expression, ...]:
    """Read a text that may contain expressions: `layer$(index + 1)`.

    Raises:
        ExpressionError: one of them cannot be read.
    """
    found: list[str | Expression] = []
    at = 0
    while (start := text.find("$", at)) >= 0:
        name = NAME.match(text, start)
        end = name.end() if name else closing(text, start)
        if text[at:start]:
            found.append(text[at:start])
        found.append(parse(text[start:end]))
        at = len(text) if end is None else end
    return (*found, text[at:]) if text[at:] else tuple(found)


class _Parser:
    """Reads an expression by precedence climbing."""

    def __init__(self, text: str) -> None:
        self.text = text
        self.at = 0
        self.names: set[str] = set()
        self.size = 0
        self.depth = 0
        self.kind = self.token = ""
        self.advance()

    def expression(self) -> Expression:
        term = self.binary(0)
        if self.kind:
            raise self.unexpected()
        return Expression(term, frozenset(self.names), self.size)

    def advance(self) -> None:
        """Read the next token; at the end, one without a kind."""
        match = SPACE.match(self.text, self.at)
        start = match.end() if match else self.at
        self.at = start
        if start == len(self.text):
            self.kind = self.token = ""
            return
        found = TOKEN.match(self.text, start)
        if not found:
            what = self.text[start]
            help = {"=": "write == to compare", "!": "write not, or !="}.get(what)
            raise ExpressionError(f"an expression cannot contain {what}", help)
        self.kind, self.token, self.at = str(found.lastgroup), found[0], found.end()
        self.size += 1

    def unexpected(self) -> ExpressionError:
        if not self.kind:
            return ExpressionError("this expression is not complete")
        return ExpressionError(f"unexpected {short(self.token)} in an expression")

    def expect(self, sign: str) -> None:
        if self.token != sign:
            what = short(self.token) if self.kind else "the end"
            raise ExpressionError(f"expected {sign} in an expression, got {what}")
        self.advance()

    def deeper(self, least: int) -> Term:
        """Read a term inside of another one."""
        self.depth += 1
        if self.depth > DEEPEST:
            message = f"an expression has at most {DEEPEST} levels of brackets"
            raise ExpressionError(message)
        term = self.binary(least)
        self.depth -= 1
        return term

    def binary(self, least: int) -> Term:
        """Read terms joined by what binds at least as tightly as `least`."""
        term = self.unary(least)
        compared = False
        while (binds := BINDS.get(self.token, -1)) >= least:
            sign = self.token
            if sign in COMPARISONS and compared:
                help = "write a < b and b < c"
                raise ExpressionError("comparisons cannot be chained", help)
            compared = sign in COMPARISONS
            self.advance()
            # 2 ** 3 ** 2 is 2 ** 9; all others start from the left.
            right = self.deeper(binds if sign == "**" else binds + 1)
            term = Call(sign, (term, right))
        return term

    def unary(self, least: int) -> Term:
        if self.token == "not" and least <= NOT:
            self.advance()
            return Call("not", (self.deeper(NOT),))
        if self.token in ("-", "+"):
            sign = self.token
            self.advance()
            term = self.deeper(SIGN)
            return Call("negative" if sign == "-" else "positive", (term,))
        return self.atom()

    def atom(self) -> Term:
        kind, token = self.kind, self.token
        if kind == "number":
            self.advance()
            return Number(_number(token))
        if token == "(":
            self.advance()
            term = self.deeper(0)
            self.expect(")")
            return term
        if kind != "name" or token in ("and", "or", "not", "in"):
            raise self.unexpected()
        self.advance()
        if token in FUNCTIONS:
            return self.call(token)
        if self.token == "(":
            help = f"the functions are {', '.join(FUNCTIONS)}"
            raise ExpressionError(f"there is no function {short(token)}", help)
        if token in LITERALS:
            return Number(LITERALS[token])
        self.names.add(token)
        return Name(token)

    def call(self, name: str) -> Term:
        self.expect("(")
        terms = [self.deeper(0)]
        while self.token == ",":
            self.advance()
            terms.append(self.deeper(0))
        self.expect(")")
        least, most = FUNCTIONS[name]
        if not least <= len(terms) <= most:
            wanted = "one value" if most == 1 else "two values or more"
            raise ExpressionError(f"{name} takes {wanted}, not {len(terms)}")
        return Call(name, tuple(terms))


def _number(text: str) -> int | float:
    if text.isdecimal():
        return _checked(int(text) if len(text) < 20 else LARGEST + 1)
    return _checked(float(text))


def _checked(number: int | float) -> int | float:
    """Refuse a number that does not fit in 64 bits."""
    if not -LARGEST <= number <= LARGEST and isinstance(number, int):
        raise ExpressionError("a whole number does not fit in 64 bits here")
    if not math.isfinite(number):
        raise ExpressionError("a number is too large here")
    return number


def _evaluate(term: Term, scope: Names) -> Value:
    if isinstance(term, Number):
        return term.value
    if isinstance(term, Name):
        return scope[term.name]
    if term.name in ("and", "or"):
        first, second = term.terms
        if _truth(_evaluate(first, scope), term.name) == (term.name == "or"):
            return term.name == "or"
        return _truth(_evaluate(second, scope), term.name)
    return _apply(term.name, [_evaluate(each, scope) for each in term.terms])


def _truth(value: Value, word: str) -> bool:
    if isinstance(value, bool):
        return value
    raise ExpressionError(f"{word} takes true or false, got {_said(value)}")


def _said(value: Value) -> str:
    if isinstance(value, str):
        return f'the word "{short(value)}"'
    return str(value).lower()


def _apply(name: str, values: list[Value]) -> Value:
    """Compute one operation."""
    if name == "not":
        return not _truth(values[0], name)
    if name in ("==", "!=") and all(isinstance(value, bool) for value in values):
        return (values[0] == values[1]) == (name == "==")
    numbers: list[int | float] = []
    for value in values:
        if isinstance(value, bool | str):
            what = {"negative": "-", "positive": "+"}.get(name, name)
            raise ExpressionError(f"{what} takes numbers, got {_said(value)}")
        numbers.append(value)
    if name in COMPARISONS:
        return COMPARISONS[name](*numbers)
    try:
        return _checked(_compute(name, numbers))
    except ZeroDivisionError:
        raise ExpressionError("there is a division by zero") from None
    except OverflowError:
        raise ExpressionError("a number is too large here") from None


def _compute(name: str, numbers: list[int | float]) -> int | float:
    match name, numbers:
        case "min", _:
            return min(numbers)
        case "max", _:
            return max(numbers)
        case "round", [x]:  # half up; x + 0.5 would round 0.49999999999999994 up
            whole = math.floor(x)
            return whole + (x - whole >= 0.5)
        case "negative", [x]:
            return -x
        case "positive", [x]:
            return x
        case "**", [x, y]:
            return _power(x, y)
        case _, [x, y]:
            return ARITHMETIC[name](x, y)
    raise AssertionError(name)


def _power(x: int | float, y: int | float) -> int | float:
    whole = isinstance(x, int) and isinstance(y, int) and y >= 0
    if whole and abs(x) > 1 and y > 63:
        raise OverflowError  # before it is computed: it may have a million digits
    result: int | float | complex = x**y
    if isinstance(result, complex):
        raise ExpressionError("a root of a negative number is not a number")
    return result
