"""Names of layers as an outline: each group and block once, what is in it below."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from typing import NamedTuple

from specgen.graph import around


class Line(NamedTuple):
    """A line of an outline; `name` is that of the layer, empty for others."""

    text: str
    name: str


def outline(names: Iterable[str], runs: Mapping[str, str]) -> Iterator[Line]:
    """Yield a line for each layer, after those of the groups and blocks it is in.

    A group of nothing but groups has no line of its own: layer1.0. Equal blocks, which
    `runs` has by the first and the last, have one for all of them.
    """
    stack: list[str] = []
    for name in names:
        scope, _, leaf = name.rpartition(".")
        inside = {*around(scope)}
        while stack and stack[-1] not in inside:
            stack.pop()
        for path in reversed(around(scope)):
            if path not in stack and (path in runs or path == scope):
                outer = f"{stack[-1]}." if stack else ""
                title = path.removeprefix(outer)
                if path in runs:
                    title += f"..{runs[path].removeprefix(outer)}: each"
                yield Line(f"{_indent(stack)}{title}", "")
                stack.append(path)
        yield Line(f"{_indent(stack)}{leaf}", name)


def _indent(stack: list[str]) -> str:
    return "  " * len(stack)
