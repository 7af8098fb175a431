"""Tables of model.py that are looked up by the name of a layer or a tensor."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from itertools import count, takewhile

from specgen.backends.layout import INDENT, fits

FEWEST = 3  # rows that are worth a comprehension
INDEX = re.compile(r"(?<=[._])\d+(?=\.)")


def table(name: str, rows: Iterable[tuple[str, str]]) -> list[str]:
    """Return the lines of a dict; values are source text.

    Names that differ only in an index share a line: layer1.0.conv, layer1.1.conv, ...
    """
    left = dict(rows)
    lines = [f"{name} = {{"]
    while left:
        key, value = next(iter(left.items()))
        runs = [(match, _run(match, left)) for match in INDEX.finditer(key)]
        index, run = max(runs, key=lambda each: len(each[1]), default=(None, [key]))
        row = _comprehension(index, len(run), value) if index else []
        if not row:
            run = [key]
            row = [f'{INDENT}"{key}": {value},']
            if not fits(row[0], 0):  # nothing can break a name
                row[0] += "  # noqa: E501"
        lines += row
        for each in run:
            del left[each]
    return [*lines, "}"]


def _run(index: re.Match[str], rows: Mapping[str, str]) -> list[str]:
    """The names with this index and those after it, as far as they have its value."""
    key = index.string
    before, after = key[: index.start()], key[index.end() :]
    names = (f"{before}{number}{after}" for number in count(int(index[0])))
    return [*takewhile(lambda name: rows.get(name) == rows[key], names)]


def _comprehension(index: re.Match[str], length: int, value: str) -> list[str]:
    """Return the lines for a run of names; none if they are few, or too long."""
    first = int(index[0])
    loop = f"for i in range({f'{first}, ' if first else ''}{first + length})"
    name = f"{index.string[: index.start()]}{{i}}{index.string[index.end() :]}"
    item = f'f"{name}": {value}'
    if length < FEWEST or not fits(item, 2 * len(INDENT)):
        return []
    line = f"{INDENT}**{{{item} {loop}}},"
    if fits(line, 0):
        return [line]
    whole = f"{item} {loop}"
    inside = [whole] if fits(whole, 2 * len(INDENT)) else [item, loop]
    return [f"{INDENT}**{{", *(2 * INDENT + each for each in inside), f"{INDENT}}},"]
