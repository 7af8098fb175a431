"""Names of layers as an outline: each group and block once, what is in it below."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import NamedTuple

from specgen.graph import around


class Line(NamedTuple):
    """A line of an outline; `name` is that of the layer, empty for others."""

    text: str
    name: str


def outline(names: Iterable[str]) -> Iterator[Line]:
    """Yield a line for each layer, after those of the groups and blocks it is in.

    A group of nothing but groups has no line of its own: layer1.0.
    """
    stack: list[str] = []
    for name in names:
        scope, _, leaf = name.rpartition(".")
        inside = {*around(scope)}
        while stack and stack[-1] not in inside:
            stack.pop()
        if scope and scope not in stack:
            outer = f"{stack[-1]}." if stack else ""
            yield Line(f"{_indent(stack)}{scope.removeprefix(outer)}", "")
            stack.append(scope)
        yield Line(f"{_indent(stack)}{leaf}", name)


def _indent(stack: list[str]) -> str:
    return "  " * len(stack)
