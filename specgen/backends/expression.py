"""Expressions of the generated code, laid out as the formatter lays out long ones."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Union

from specgen.backends.layout import INDENT, fits

Expression = Union[str, "Called", "Joined", "Several", "Repeated", "Numbered"]


@dataclass(frozen=True, slots=True)
class Called:
    """`name(argument, ...)`."""

    name: str
    arguments: tuple[Expression, ...]

    def __str__(self) -> str:
        return f"{self.name}({', '.join(map(str, self.arguments))})"


@dataclass(frozen=True, slots=True)
class Joined:
    """`left + right`."""

    sign: str
    operands: tuple[str, ...]

    def __str__(self) -> str:
        return f" {self.sign} ".join(self.operands)


@dataclass(frozen=True, slots=True)
class Several:
    """`(first, second)`."""

    items: tuple[Expression, ...]

    def __str__(self) -> str:
        return f"({', '.join(map(str, self.items))})"


@dataclass(frozen=True, slots=True)
class Repeated:
    """`*(value for _ in range(count))`."""

    value: Called
    count: int

    def __str__(self) -> str:
        return f"*({self.value} {self.loop})"

    @property
    def loop(self) -> str:
        """What follows the value."""
        return f"for _ in range({self.count})"


@dataclass(frozen=True, slots=True)
class Numbered:
    """`(f"name_{i}", value) for i in range(start, stop)`; `name` is without the i."""

    name: str
    value: Called
    start: int
    stop: int

    def __str__(self) -> str:
        return f"{self.pair} {self.loop}"

    @property
    def pair(self) -> Several:
        """A name and its value."""
        return Several((f'f"{self.name}{{i}}"', self.value))

    @property
    def loop(self) -> str:
        """What follows the pair."""
        return f"for i in range({f'{self.start}, ' if self.start else ''}{self.stop})"


def statement(value: Expression, indent: int) -> list[str]:
    """Return the lines of an expression by itself."""
    return _lines("", value, "", indent)


def give_back(value: Expression, indent: int, comment: str) -> list[str]:
    """Return the lines of `return value  # comment`."""
    return _commented("return ", value, indent, comment)


def assign(variable: str, value: Expression, indent: int, comment: str) -> list[str]:
    """Return the lines of `variable = value  # comment`."""
    return _commented(f"{variable} = ", value, indent, comment)


def _commented(before: str, value: Expression, indent: int, comment: str) -> list[str]:
    """A comment that does not fit behind the whole statement goes above it."""
    pad = " " * indent
    line = f"{before}{value}"
    if fits(line, indent, comment):
        return [f"{pad}{line}  # {comment}" if comment else f"{pad}{line}"]
    above = [f"{pad}# {comment}"] if comment else []
    return above + _lines(before, value, "", indent)


def _lines(before: str, value: Expression, after: str, indent: int) -> list[str]:
    pad, inner = " " * indent, indent + len(INDENT)
    line = f"{before}{value}{after}"
    if fits(line, indent):
        return [pad + line]
    match value:
        case Called(name) if before.endswith("= ") and not fits(
            f"{before}{name}(", indent
        ):
            return [f"{pad}{before}(", *_lines("", value, "", inner), f"{pad}){after}"]
        case Called(name, arguments):
            return [
                f"{pad}{before}{name}(",
                *_arguments(arguments, inner),
                f"{pad}){after}",
            ]
        case Several(items):
            lines = [line for item in items for line in _lines("", item, ",", inner)]
            return [f"{pad}{before}(", *lines, f"{pad}){after}"]
        case Repeated(repeated):
            lines = _lines("", repeated, "", inner)
            loop = f"{' ' * inner}{value.loop}"
            return [f"{pad}{before}*(", *lines, loop, f"{pad}){after}"]
        case Numbered():
            return [*_lines("", value.pair, "", indent), f"{pad}{value.loop}"]
        case Joined() if before or after:
            return [f"{pad}{before}(", *_operands(value, inner), f"{pad}){after}"]
        case Joined():
            return _operands(value, indent)
    return [pad + line]


def _arguments(arguments: Sequence[Expression], indent: int) -> list[str]:
    body = ", ".join(map(str, arguments))
    if fits(body, indent):
        return [" " * indent + body]
    if len(arguments) == 1:
        return _lines("", arguments[0], "", indent)
    return [line for a in arguments for line in _lines("", a, ",", indent)]


def _operands(value: Joined, indent: int) -> list[str]:
    pad = " " * indent
    if fits(str(value), indent):
        return [f"{pad}{value}"]
    first, *others = value.operands
    return [f"{pad}{first}", *(f"{pad}{value.sign} {other}" for other in others)]
