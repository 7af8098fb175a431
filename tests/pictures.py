"""Reads an SVG of `specgen.picture` back: where its words, blocks and lines are."""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import NamedTuple
from xml.etree import ElementTree

from specgen.picture.words import width

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
    """Where a line begins and ends, and whether it has an arrowhead."""

    start: tuple[float, float]
    end: tuple[float, float]
    arrow: bool
    red: bool


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
        self._read(root, 0, 0, "")

    def _read(
        self, parent: ElementTree.Element, x: float, y: float, inside: str
    ) -> None:
        for element in parent:
            name, kind = element.tag.removeprefix(SVG), element.get("class", "")
            if name == "g":
                move = re.match(
                    r"translate\((\S+) (\S+)\)", element.get("transform", "")
                )
                dx, dy = map(float, move.groups()) if move else (0, 0)
                self._read(element, x + dx, y + dy, kind)
            elif name == "text":
                self.words.append(_words(element, kind).moved(x, y))
            elif name == "rect" and kind != "page":
                left, top, w, h = (
                    float(element.attrib[k]) for k in ("x", "y", "width", "height")
                )
                box = Box(left, top, left + w, top + h).moved(x, y)
                if inside:
                    self.blocks.append(box)
                elif kind == "lane":
                    self.lanes.append(box)
            elif name == "path" and kind in ("a", "x"):
                start, *_, end = _points(element.attrib["d"])
                self.lines.append(
                    Line(
                        (start[0] + x, start[1] + y),
                        (end[0] + x, end[1] + y),
                        element.get("marker-end") is not None,
                        kind == "x",
                    )
                )


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
    """The points of a path of M, C, H and V, including control points."""
    x = y = 0.0
    for letter, numbers in re.findall(r"([MCHV])([^MCHV]*)", path):
        values = [float(n) for n in numbers.split()]
        if letter in "HV":
            x, y = (values[0], y) if letter == "H" else (x, values[0])
            yield x, y
        else:
            for x, y in zip(values[::2], values[1::2], strict=True):
                yield x, y
