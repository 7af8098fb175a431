"""Figures for people: shapes, percentages, ranges of names, tables.

Text tables are plain ASCII, to survive any terminal, log or email.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from html import escape
from itertools import groupby

from specgen.diagnostics import printable
from specgen.ops.base import Shape

# One line of a table: a cell for each column, or a rule.
Row = Sequence[str] | None


def dimensions(shape: Shape | list[int]) -> str:
    """Return a shape as people write it: 96 x 55 x 55."""
    return " x ".join(map(str, shape))


def with_share(number: int, total: int) -> tuple[str, str]:
    """A number and its percentage; nothing for 0, which most layers have."""
    if number == 0:
        return "", ""
    share = number / total
    return f"{number:,}", f"{share:.0%}" if share >= 0.005 else "<1%"


def ranges(some: Sequence[str], order: Sequence[str], least: int = 3) -> list[str]:
    """Name some of `order`; `least` neighbors or more become `gpu0..gpu3`."""
    rank = {name: index for index, name in enumerate(order)}
    texts = []
    for _, run in groupby(enumerate(some), lambda pair: rank[pair[1]] - pair[0]):
        names = [name for _, name in run]
        texts += names if len(names) < least else [f"{names[0]}..{names[-1]}"]
    return texts


def aligned(rows: Sequence[Row], sides: str, most: int | None = None) -> str:
    """Columns two spaces apart, each to its side (< or >); None is a rule.

    They are one space apart if that keeps the table within the `most` columns of a
    terminal. A row of one cell is a line of text between the others.
    """
    cells = [row for row in rows if row and len(row) > 1]
    widths = [max(map(len, column)) for column in zip(*cells, strict=True)]
    whole = sum(widths) + 2 * (len(widths) - 1)
    narrow = sum(widths) + len(widths) - 1
    gap, total = (1, narrow) if most and narrow <= most < whole else (2, whole)
    rule = "-" * total

    def line(row: Sequence[str]) -> Iterator[str]:
        if len(row) == 1:
            yield row[0]
            return
        for cell, width, side in zip(row, widths, sides, strict=True):
            yield f"{cell:{side}{width}}"

    lines = ((" " * gap).join(line(row)).rstrip() if row else rule for row in rows)
    return "\n".join(lines)


def html(caption: str, rows: Sequence[Sequence[str]], sides: str) -> str:
    """Return the same as an HTML table, with the first row as the head; all escaped."""
    align = {"<": "left", ">": "right"}

    def line(row: Sequence[str], tag: str) -> Iterator[str]:
        yield "<tr>"
        for cell, side in zip(row, sides, strict=True):
            text = escape(printable(cell))
            yield f'<{tag} style="text-align: {align[side]}">{text}</{tag}>'
        yield "</tr>\n"

    head, *body = rows
    parts = [f"<table>\n<caption>{escape(printable(caption))}</caption>\n<thead>"]
    parts += [*line(head, "th"), "</thead>\n<tbody>\n"]
    for row in body:
        parts += line(row, "td")
    return "".join([*parts, "</tbody>\n</table>"])
