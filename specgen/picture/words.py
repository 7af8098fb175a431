"""Words in a picture, which stay in their place whatever the font."""

from __future__ import annotations

import re
from bisect import bisect_right
from collections.abc import Sequence
from functools import cache
from html import escape

from specgen.diagnostics import printable

# Widths relative to the font's size, as in DejaVu Sans, the widest of the usual fonts.
NARROW, NORMAL, BROAD, WIDE = 0.42, 0.66, 1.02, 1.3
BOLD = 1.12


def width(words: str, size: float, *, bold: bool = False) -> float:
    """Return how wide a text can be, in pixels."""
    return sum(map(_em, words)) * size * (BOLD if bold else 1)


@cache
def _em(character: str) -> float:
    if character in " .,:;'|!()[]ijltfr/":
        return NARROW
    if character in "mwMW%@":
        return BROAD
    if not character.isascii():
        return WIDE
    return NORMAL + 0.12 * character.isupper()


def cut(words: str, room: float, size: float, *, bold: bool = False) -> str:
    """Return as much of a text as there is room for."""
    if width(words, size, bold=bold) <= room:
        return words
    longer = bisect_right(
        range(len(words)), room, key=lambda n: width(f"{words[:n]}...", size, bold=bold)
    )
    return f"{words[: max(longer - 1, 0)].rstrip(' ,')}..."


def lines(
    pieces: Sequence[str], room: float, size: float, most: int, *, bold: bool = False
) -> list[str]:
    """Put pieces into at most this many lines; the last one is cut.

    A piece is broken, after an underscore or a dot, only if it fills more than a line.
    """

    def fits(words: str) -> bool:
        return width(words, size, bold=bold) <= room

    found: list[str] = []
    for piece in pieces:
        if len(found) == most and width(found[-1], size) > room:
            break  # it is cut before this piece, one of thousands perhaps
        space = " "
        for part in (
            [piece] if fits(piece) else re.findall(r"[^_.]*[_.]|[^_.]+$", piece)
        ):
            joined = f"{found[-1]}{space}{part}" if found else part
            if found and (fits(joined) or len(found) == most):
                found[-1] = joined
            else:
                found.append(part)
            space = ""
    return [cut(line, room, size, bold=bold) for line in found]


def text(
    words: str, x: float, y: float, kind: str, *, size: float = 11, room: float = 0
) -> str:
    """Return a text element; words that are too long for the room are squeezed."""
    font = f' font-size="{number(size)}"' if size != 11 else ""
    squeezed = ""
    if room and width(words, size, bold="b" in kind.split()) > room:
        squeezed = f' textLength="{number(room)}" lengthAdjust="spacingAndGlyphs"'
    place = f'x="{number(x)}" y="{number(y)}"'
    return f'<text class="{kind}" {place}{font}{squeezed}>{shown(words)}</text>'


def number(value: float) -> str:
    """Return a coordinate to a tenth of a pixel."""
    return f"{round(value, 1) + 0:g}"


def shown(words: str) -> str:
    """Escape text for XML; leave out what is invisible or not allowed there."""
    return escape(printable(words))
