"""Where everything is in a picture: columns, lanes, and the blocks in them.

Words keep to the head of a lane and to their columns; between these are gutters. Lines
go up and down only there, so no line crosses a word.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from math import log2

from specgen.ops.base import Shape, volume
from specgen.picture.stages import Stage, stages
from specgen.picture.ways import Way, tracks, ways
from specgen.picture.words import number
from specgen.plan import Plan

# Pixels, in a picture 1,000 wide.
WIDTH, MARGIN = 1000, 16
LEFT, RIGHT = 86, 990  # ends of the lanes
IMAGE_X = 42  # the center of the image, left of them
HEAD, GUTTER = 102, 14  # where the words of a lane begin; between words of columns
FIRST, PITCH, COLUMNS = 240, 100, 8  # centers of the columns
ROOM = PITCH - GUTTER  # for the words of a column
PAD, TRACK = 8, 8  # of a lane; between the tracks above its blocks
WORDS = 36  # below a block: its shape, and what it fetches
GAP = 10  # between lanes
LABELS = 94  # below the lanes: a column's layers
BRACKETS = 28  # below these, where blocks are repeated
TALLEST = 100  # of a block, front and oblique together; less in many lanes
TITLE, FOOTER = 66, 46


@dataclass(frozen=True, slots=True)
class Block:
    """A tensor of one device, drawn around the center of its column.

    Sizes grow with the logarithm: a map's height and width are those of the front and
    of the oblique edge, its channels the thickness. Features are a height alone.
    """

    shape: Shape
    tallest: float
    image: bool = False

    @property
    def kind(self) -> str:
        """The class that gives its colors."""
        return "image" if self.image else "maps" if self.shape[1:] else "features"

    @property
    def height(self) -> float:
        """The height of the front."""
        if not self.shape[1:]:
            return min(7 * log2(1 + self.shape[0]), 97) / TALLEST * self.tallest
        return min(11 * log2(1 + self.shape[1]), 84) / TALLEST * self.tallest

    @property
    def depth(self) -> float:
        """The length of the oblique edges, to the right and up."""
        if not self.shape[1:]:
            return 3
        return min(2 * log2(1 + volume(self.shape[2:])), 16) / TALLEST * self.tallest

    @property
    def thickness(self) -> float:
        """The width of the front."""
        return min(3 * log2(1 + self.shape[0]), 36) if self.shape[1:] else 12

    @property
    def half(self) -> float:
        """The distance from the center to the left and right ends."""
        return (self.thickness + self.depth) / 2

    def beside(self, distance: float) -> float:
        """Return how far from its middle a line can meet it, but no more than this."""
        return min(distance, self.height / 2 - 1)

    def draw(self, middle: float) -> Iterator[str]:
        """Draw it around the middle of its front's height."""
        x, y = number(-self.half), number(middle - self.height / 2)
        w, h, d = map(number, (self.thickness, self.height, self.depth))
        right = number(self.thickness - self.half)
        yield (
            f'<g class="{self.kind}">'
            f'<path class="t" d="M{x} {y}l{d} -{d}h{w}l-{d} {d}z"/>'
            f'<path class="s" d="M{right} {y}l{d} -{d}v{h}l-{d} {d}z"/>'
            f'<rect x="{x}" y="{y}" width="{w}" height="{h}"/></g>'
        )


@dataclass(frozen=True)
class Row:
    """Columns side by side, and the lanes that they need.

    Attributes:
        stages: of the whole picture.
        columns: the numbers of those here.
        ways: those that lead to, from or past them.
        devices: the lanes, from above.
        tallest: the highest block.
        tracks: by the column that they come from.
    """

    stages: Sequence[Stage]
    columns: range
    ways: Sequence[Way]
    devices: tuple[str, ...]
    tallest: float
    tracks: Mapping[int, int]

    @cached_property
    def lane(self) -> float:
        """The height of a lane."""
        return self._above + self.tallest + WORDS

    @property
    def lanes(self) -> float:
        """The height of all lanes."""
        return len(self.devices) * (self.lane + GAP) - GAP

    @property
    def height(self) -> float:
        """The height of the lanes and of all words below."""
        repeated = any(self.stages[column].repeated for column in self.columns)
        return self.lanes + LABELS + BRACKETS * repeated

    @cached_property
    def _above(self) -> float:
        """The space between the upper end of a lane and its blocks."""
        return PAD + TRACK * (1 + max(self.tracks.values(), default=-1))

    def top(self, device: str) -> float:
        """Where a lane begins."""
        return self.devices.index(device) * (self.lane + GAP)

    def blocks(self, device: str) -> float:
        """Where the blocks of a lane begin."""
        return self.top(device) + self._above

    def middle(self, device: str) -> float:
        """Where the blocks of a lane have their middle."""
        return self.blocks(device) + 0.58 * self.tallest

    def track(self, source: int, device: str) -> float:
        """Where a way from this column runs above the blocks of a lane."""
        return self.blocks(device) - TRACK * (0.5 + self.tracks[source])

    def block(self, column: int) -> Block:
        """What a stage is in each of its lanes."""
        return Block(self.stages[column].shape, self.tallest)

    def x(self, column: int) -> float:
        """The center of a column."""
        return FIRST + (column - self.columns.start) * PITCH

    def gutter(self, column: int) -> float:
        """The left end of the gutter before a column."""
        return self.x(column) - (PITCH + GUTTER) / 2


def in_rows(plan: Plan) -> list[Row]:
    """Break the columns into rows; a row has the lanes that something is in."""
    columns = stages(plan)
    tallest = TALLEST if len(plan.devices) <= 3 else 0.6 * TALLEST
    near: list[list[Way]] = [[] for _ in range(0, len(columns), COLUMNS)]
    for way in ways(columns):
        first, last = max(way.source, 0) // COLUMNS, way.target // COLUMNS
        for row in near[first : last + 1]:
            row.append(way)
    rows = []
    for index, here in enumerate(near):
        start = index * COLUMNS
        numbers = range(start, min(start + COLUMNS, len(columns)))
        used = {name for column in numbers for name in columns[column].devices}
        used |= {way.start for way in here}
        devices = tuple(d.name for d in plan.devices if d.name in used)
        rows.append(
            Row(columns, numbers, here, devices, tallest, tracks(here, numbers))
        )
    return rows
