"""Where everything is in a picture: columns, lanes, and the blocks in them."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from math import log2

from specgen.ops.base import Shape
from specgen.picture.stages import Stage, stages
from specgen.picture.words import number
from specgen.plan import Plan

# Pixels, in a picture 1,000 wide.
WIDTH, MARGIN = 1000, 16
LEFT, RIGHT = 100, 988  # ends of the lanes; the image is left of them
FIRST, PITCH, COLUMNS = 166, 108, 8  # centers of the columns
ROOM = PITCH - 8  # for the words of a column
HEADER = 24  # of a lane
WORDS = 36  # below a block: its shape, and what it fetches
GAP = 10  # between lanes
LABELS = 86  # below the lanes: a column's layers
TALLEST = 100  # of a block, front and oblique together; less in many lanes
TITLE, FOOTER = 66, 46


@dataclass(frozen=True, slots=True)
class Block:
    """A tensor of one device, drawn around the center of its column.

    Sizes are logarithmic: a map's height and width are those of the front and of the
    oblique edge, its channels the thickness. Features only have a height.
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
        """Of the front."""
        if not self.shape[1:]:
            return min(7 * log2(1 + self.shape[0]), 97) / TALLEST * self.tallest
        return min(11 * log2(1 + self.shape[1]), 84) / TALLEST * self.tallest

    @property
    def depth(self) -> float:
        """Of the oblique edges, right and up."""
        if not self.shape[1:]:
            return 3
        return min(2 * log2(1 + self.shape[2]), 16) / TALLEST * self.tallest

    @property
    def thickness(self) -> float:
        """Of the front."""
        return min(3 * log2(1 + self.shape[0]), 36) if self.shape[1:] else 12

    @property
    def half(self) -> float:
        """From the center to the left and right end."""
        return (self.thickness + self.depth) / 2

    def beside(self, distance: float) -> float:
        """How far from its middle a line can meet it, up to this much."""
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


@dataclass(frozen=True, slots=True)
class Row:
    """Columns side by side, and the lanes that they need.

    `before` is the last column of the row above.
    """

    stages: Sequence[Stage]
    before: Stage | None
    devices: tuple[str, ...]
    tallest: float

    @property
    def lane(self) -> float:
        """The height of a lane."""
        return HEADER + self.tallest + WORDS

    @property
    def lanes(self) -> float:
        """The height of all lanes."""
        return len(self.devices) * (self.lane + GAP) - GAP

    def top(self, device: str) -> float:
        """Where a lane begins."""
        return self.devices.index(device) * (self.lane + GAP)

    def middle(self, device: str) -> float:
        """Where the middle of a lane's blocks is."""
        return self.top(device) + HEADER + self.tallest * 0.56

    def block(self, stage: Stage) -> Block:
        """What a stage is in each of its lanes."""
        return Block(stage.shape, self.tallest)


def in_rows(plan: Plan) -> list[Row]:
    """Break the columns into rows; a row has the lanes that something is in."""
    columns = stages(plan)
    tallest = TALLEST if len(plan.devices) <= 3 else 0.6 * TALLEST
    found = []
    for start in range(0, len(columns), COLUMNS):
        here = columns[start : start + COLUMNS]
        used = {device for stage in here for device in stage.devices}
        used |= {edge.source for stage in here for edge in stage.exchanges}
        devices = tuple(d.name for d in plan.devices if d.name in used)
        before = columns[start - 1] if start else None
        found.append(Row(here, before, devices, tallest))
    return found
