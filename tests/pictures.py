"""Reads an SVG of `specgen.picture` back, and judges where it has what."""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from itertools import combinations, groupby, pairwise
from typing import NamedTuple
from xml.etree import ElementTree

from specgen.picture.arrows import MOST_CURVES
from specgen.picture.words import width
from specgen.plan import Plan

SVG = "{http://www.w3.org/2000/svg}"


class Box(NamedTuple):
    """A rectangle, and the words in it, if it has some."""

    left: float
    top: float
    right: float
    bottom: float
    words: str = ""

    def overlaps(self, other: Box) -> bool:
        across = self.left < other.right and other.left < self.right
        return across and self.top < other.bottom and other.top < self.bottom

    def moved(self, x: float, y: float) -> Box:
        return Box(
            self.left + x, self.top + y, self.right + x, self.bottom + y, self.words
        )


class Line(NamedTuple):
    """Points of a line, close together where it bends, in the column that it is of."""

    points: tuple[tuple[float, float], ...]
    arrow: bool
    red: bool
    column: str
    bracket: bool

    @property
    def start(self) -> tuple[float, float]:
        return self.points[0]

    @property
    def end(self) -> tuple[float, float]:
        return self.points[-1]

    def crosses(self, box: Box) -> bool:
        """Whether a piece of it, as a box of its own, overlaps another."""
        across, down = zip(*self.points, strict=True)
        whole = Box(min(across) - 1, min(down) - 1, max(across) + 1, max(down) + 1)
        return whole.overlaps(box) and any(
            Box(
                min(a, c) - 0.1, min(b, d) - 0.1, max(a, c) + 0.1, max(b, d) + 0.1
            ).overlaps(box)
            for (a, b), (c, d) in pairwise(self.points)
        )


class Picture:
    """What is in a picture, in pixels of the page."""

    def __init__(self, svg: str) -> None:
        root = ElementTree.fromstring(svg)
        self.width, self.height = (
            float(root.attrib["width"]),
            float(root.attrib["height"]),
        )
        self.words: list[Box] = []
        self.blocks: list[Box] = []
        self.lanes: list[Box] = []
        self.lines: list[Line] = []
        self._read(root, 0, 0, "", "")

    def _read(
        self, parent: ElementTree.Element, x: float, y: float, inside: str, column: str
    ) -> None:
        column = parent.findtext(f"{SVG}title", column)
        for element in parent:
            name, kind = element.tag.removeprefix(SVG), element.get("class", "")
            line = kind.removesuffix(" r")  # dashed
            if name == "g":
                move = re.match(
                    r"translate\((\S+) (\S+)\)", element.get("transform", "")
                )
                dx, dy = map(float, move.groups()) if move else (0, 0)
                self._read(element, x + dx, y + dy, kind, column)
            elif name == "text":
                self.words.append(_words(element, kind).moved(x, y))
            elif name == "rect" and kind != "page":
                left, top, w, h = (
                    float(element.attrib[k]) for k in ("x", "y", "width", "height")
                )
                box = Box(left, top, left + w, top + h).moved(x, y)
                if inside:
                    depth = _depth(parent)
                    box = box._replace(top=box.top - depth, right=box.right + depth)
                    self.blocks.append(box)
                elif kind == "lane":
                    self.lanes.append(box)
            elif name == "path" and line in ("a", "x", "k"):
                points = tuple((a + x, b + y) for a, b in _points(element.attrib["d"]))
                arrow = element.get("marker-end") is not None
                self.lines.append(Line(points, arrow, kind == "x", column, kind == "k"))


def _depth(block: ElementTree.Element) -> float:
    """The length of the oblique edges of a block, which its front is without."""
    side = next(path for path in block if path.get("class") == "s")
    found = re.search(r"l(\S+) ", side.attrib["d"])
    assert found
    return float(found[1])


def _words(element: ElementTree.Element, kind: str) -> Box:
    words, size = element.text or "", float(element.get("font-size", 11))
    wide = float(
        element.get("textLength") or width(words, size, bold="b" in kind.split())
    )
    x, y = float(element.attrib["x"]), float(element.attrib["y"])
    anchors = {"m": wide / 2, "e": wide}
    left = x - next((anchors[k] for k in kind.split() if k in anchors), 0)
    return Box(left, y - 0.8 * size, left + wide, y + 0.25 * size, words)


def _points(path: str) -> Iterator[tuple[float, float]]:
    """The points of a path of M, C, H and V, with 16 on each curve."""
    x = y = 0.0
    for letter, numbers in re.findall(r"([MCHV])([^MCHV]*)", path):
        values = [float(n) for n in numbers.split()]
        if letter == "C":
            across, down = (x, *values[::2]), (y, *values[1::2])
            for step in range(1, 17):
                x, y = _bezier(across, step / 16), _bezier(down, step / 16)
                yield x, y
        else:
            x = x if letter == "V" else values[0]
            y = y if letter == "H" else values[-1]
            yield x, y


def _bezier(points: Sequence[float], t: float) -> float:
    """Where a cubic curve is along one axis."""
    times = (1, 3, 3, 1)
    return sum(
        n * (1 - t) ** (3 - i) * t**i * p
        for i, (n, p) in enumerate(zip(times, points, strict=True))
    )


def is_legible(svg: str) -> None:
    """No words overlap or leave the page; arrows lead from block to block."""
    found = Picture(svg)
    for a, b in combinations(found.words, 2):
        assert not a.overlaps(b), (a, b)
    for box in (*found.words, *found.blocks, *found.lanes):
        assert box.left >= 0, box
        assert box.right <= found.width == 1000, box
        assert box.top >= 0, box
        assert box.bottom <= found.height, box
    for box in (*found.words, *found.blocks):
        assert not any(box.overlaps(block) for block in found.blocks if block != box)
        for line in found.lines:
            assert not line.crosses(box), (line, box)
    for line in found.lines:
        assert max(x for x, _ in line.points) <= found.lanes[0].right, line
        if line.arrow:
            x, y = line.end
            assert any(
                abs(block.left - 3 - x) < 0.2 and block.top <= y <= block.bottom
                for block in found.blocks
            ), line
        if line.bracket:
            continue
        x, y = line.start
        assert (
            x == 183  # the row above
            or any(
                abs(block.right + room - x) < 0.2 and block.top <= y <= block.bottom
                for block in found.blocks
                for room in (2, 3)
            )
            or any(_touches(other, x, y) for other in found.lines if other != line)
        ), line


def _touches(line: Line, x: float, y: float) -> bool:
    return line.crosses(Box(x - 0.1, y - 0.1, x + 0.1, y + 0.1))


def leads_where_it_is_read(svg: str, plan: Plan) -> None:
    """Each exchange is a red arrow, in the column of its layer, from lane to lane."""
    found = Picture(svg)
    for name, edges in groupby(plan.traffic, lambda edge: edge.before):
        arrows = [
            (_lane(found, line.start[1]), _lane(found, line.end[1]))
            for line in found.lines
            if line.red and line.arrow and line.column.startswith(f"{name}: ")
        ]
        wanted = [(edge.source, edge.target) for edge in edges]
        if len(wanted) <= MOST_CURVES:
            assert sorted(arrows) == sorted(wanted)
        else:
            assert {b for _, b in arrows} == {b for _, b in wanted}


def _lane(found: Picture, y: float) -> str:
    """The device of a lane: the first words in it."""
    (lane,) = (lane for lane in found.lanes if lane.top < y < lane.bottom)
    return next(box.words for box in found.words if box.top > lane.top)
