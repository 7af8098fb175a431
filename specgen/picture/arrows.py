"""The arrows of a picture: along a lane, across lanes, past columns; and brackets."""

from __future__ import annotations

from collections.abc import Iterator
from itertools import groupby
from statistics import fmean

from specgen.picture.geometry import (
    GUTTER,
    IMAGE_X,
    LABELS,
    LEFT,
    PITCH,
    RIGHT,
    ROOM,
    Block,
    Row,
)
from specgen.picture.stages import IMAGE, all_to_all
from specgen.picture.ways import Way
from specgen.picture.words import cut, number, text
from specgen.tables import ranges

MOST_CURVES = 6  # of an exchange; more become one line that all share
ASIDE = 9  # of the middle of a block: where ways from elsewhere leave and arrive

# A line goes across until here, and then up or down to there.
Turn = tuple[float, float]


def image(row: Row) -> tuple[Block, float]:
    """Return the image, and where it has its middle."""
    head = row.stages[0].head
    middle = fmean(map(row.middle, row.stages[0].devices))
    return Block(head.input_shapes[0], row.tallest, image=True), middle


def incoming(row: Row, column: int) -> Iterator[str]:
    """What a column reads, in coordinates from its center; red if it is fetched."""
    here = [way for way in row.ways if way.target == column]
    edges = row.stages[column].exchanges
    if (
        len(edges) > MOST_CURVES
        and all_to_all(edges)
        and not any(way.skips or way.source == IMAGE for way in here if way.fetched)
    ):
        yield from _bus(row, [way for way in here if way.fetched])
        here = [way for way in here if not way.fetched]
    end = row.x(column) - row.block(column).half - 3
    for way in here:
        x, y, *turns = _begin(row, way)
        if way.fetched and (way.skips or way.source == IMAGE):
            # Until here it may be one with others.
            path = _path(x, y, turns, row.gutter(column), row.x(column))
            yield f'<path class="a" d="{path}"/>'
            x, y, turns = row.gutter(column), turns[-1][1] if turns else y, []
        turns.append((row.gutter(column), _arrival(row, way)))
        kind, head = ("x", "xh") if way.fetched else (_gray(way), "ah")
        path = _path(x, y, turns, end, row.x(column))
        yield f'<path class="{kind}" marker-end="url(#{head})" d="{path}"/>'


def leaving(row: Row) -> Iterator[str]:
    """Lines to the end of the lanes, for columns of the rows below."""
    here = (way for way in row.ways if way.target >= row.columns.stop)
    paths = {}
    for way in here:
        x, y, *turns = _begin(row, way)
        paths[_path(x, y, turns, RIGHT, 0)] = _gray(way)
    yield from (f'<path class="{kind}" d="{path}"/>' for path, kind in paths.items())


def _gray(way: Way) -> str:
    """The class of a line that brings nothing; dashed if that has been copied."""
    return "a r" if way.again else "a"


def _begin(row: Row, way: Way) -> tuple[float, float, *tuple[Turn, ...]]:
    """Return where a way begins in this row, and how it gets to its track."""
    track = row.track(way.source, way.start) if way.skips else None
    if way.source == IMAGE and row.columns.start == 0:
        block, y = image(row)
        to = row.middle(way.start) if track is None else track
        return IMAGE_X + block.half + 3, y, (LEFT, to)
    if way.source not in row.columns:  # in a row above
        y = _departure(row, way) if track is None else track
        return row.gutter(row.columns.start), y
    x = row.x(way.source) + row.block(way.source).half + 2
    if track is None:
        return x, _departure(row, way)
    turn = min(row.gutter(way.source + 1), RIGHT - GUTTER)
    return x, _departure(row, way), (turn, track)


def _departure(row: Row, way: Way) -> float:
    """Where it leaves its block: below the middle only for a lane below."""
    middle, below = row.middle(way.start), False
    if not way.skips:
        if way.start == way.end or way.target not in row.columns:
            return middle
        below = _down(row, way)
    return middle + (1 if below else -1) * row.block(way.source).beside(ASIDE)


def _arrival(row: Row, way: Way) -> float:
    """Where it meets its block: below the middle only from a lane below."""
    middle = row.middle(way.end)
    if way.start == way.end and not way.skips:
        return middle
    below = way.start != way.end and not _down(row, way)
    return middle + (1 if below else -1) * row.block(way.target).beside(ASIDE)


def _down(row: Row, way: Way) -> bool:
    return row.devices.index(way.start) < row.devices.index(way.end)


def _bus(row: Row, here: list[Way]) -> Iterator[str]:
    """One line that all devices write to, above their middle, and read from, below."""
    column = here[0].target
    away, block = row.block(column - 1).beside(6), row.block(column)
    out = [row.middle(device) - away for device in {way.start: None for way in here}]
    into = [
        row.middle(device) + block.beside(6)
        for device in {way.end: None for way in here}
    ]
    x, y = number(-PITCH / 2), [*out, *into]
    start, *_ = _begin(row, here[0])
    yield f'<path class="x" d="M{x} {number(min(y))}V{number(max(y))}"/>'
    for each in map(number, out):
        yield f'<path class="x" d="M{number(start - row.x(column))} {each}H{x}"/>'
    for each in map(number, into):
        line = f"M{x} {each}H{number(-block.half - 3)}"
        yield f'<path class="x" marker-end="url(#xh)" d="{line}"/>'


def _path(x: float, y: float, turns: list[Turn], end: float, origin: float) -> str:
    """A line that goes up and down in gutters only; x counts from an origin."""
    parts = [f"M{number(x - origin)} {number(y)}"]
    for gutter, to in turns:
        if to != y:
            left, middle, right = (
                number(gutter - origin + part * GUTTER) for part in (0, 0.5, 1)
            )
            start, y = number(y), to
            parts.append(
                f"H{left}C{middle} {start} {middle} {number(y)} {right} {number(y)}"
            )
    return "".join((*parts, f"H{number(end - origin)}"))


def brackets(row: Row) -> Iterator[str]:
    """Mark the columns that stand for several equal blocks, and say how many."""
    y = row.lanes + LABELS
    for paths, group in groupby(row.columns, lambda c: row.stages[c].repeated):
        if paths:
            first, *_, last = [*group] * 2
            left, right = row.x(first) - ROOM / 2, row.x(last) + ROOM / 2
            x, end, up, down = map(number, (left, right, y - 4, y))
            line = f"M{x} {up}V{down}H{end}V{up}"
            yield f'<path class="k" d="{line}"/>'
            words = f"x {len(paths)}: {', '.join(ranges(paths, paths))}"
            middle = (left + right) / 2
            yield text(cut(words, right - left, 11), middle, y + 15, "m")
