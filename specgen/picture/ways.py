"""Who reads what in a picture: the ways between columns, and those that skip some."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from specgen.picture.stages import IMAGE, Stage

MOST_TRACKS = 6  # above the blocks; more ways share the outermost


@dataclass(frozen=True, slots=True)
class Way:
    """From a column's block on one device to a later column's on the same or another.

    Attributes:
        source: the column, or `IMAGE`, which then is on all devices.
        target: the column.
        start: the device of the first.
        end: the device of the second.
        fetched: whether something is copied before the second runs.
    """

    source: int
    target: int
    start: str
    end: str
    fetched: bool = False

    @property
    def again(self) -> bool:
        """Whether the second reads what its device fetched for an earlier column."""
        return self.start != self.end and not self.fetched

    @property
    def skips(self) -> bool:
        """Whether there are columns between."""
        return self.target > self.source + 1


def ways(stages: Sequence[Stage]) -> list[Way]:
    """Return all ways, by the column that they lead to."""
    return [way for index in range(len(stages)) for way in _into(stages, index)]


def _into(stages: Sequence[Stage], index: int) -> Iterator[Way]:
    stage = stages[index]
    copied = [
        Way(_origin(stages, stage, edge.source), index, edge.source, edge.target, True)
        for edge in stage.exchanges
    ]
    known = {(way.source, way.end) for way in copied}
    for source in stage.reads:
        if source == IMAGE:
            has = (name for name in stage.devices if (IMAGE, name) not in known)
            yield from (Way(IMAGE, index, name, name) for name in has)
            continue
        held = stages[source].devices
        for name in stage.head.local:
            if name in held:
                yield Way(source, index, name, name)
            elif (source, name) not in known:  # what it fetched for an earlier column
                yield Way(source, index, held[0], name)
    yield from copied


def _origin(stages: Sequence[Stage], stage: Stage, device: str) -> int:
    """Return the column of what a device sends: the last of those that it runs."""
    on = [
        column
        for column in stage.reads
        if column != IMAGE and device in stages[column].devices
    ]
    return max(on, default=IMAGE if IMAGE in stage.reads else max(stage.reads))


def tracks(found: Sequence[Way], columns: range) -> dict[int, int]:
    """Give each column that some later ones read a track, 0 next to the blocks.

    A way that skips columns goes up to it, along, and down. In these columns, no two
    on a track meet, not even where one goes up and the other down.
    """
    ends: dict[int, int] = {}
    for way in found:
        if way.skips and way.source < columns.stop and way.target >= columns.start:
            ends[way.source] = max(way.target, ends.get(way.source, 0))
    spans = {
        source: (max(source + 1, columns.start), min(end, columns.stop))
        for source, end in ends.items()
    }
    taken: list[list[tuple[int, int]]] = [[] for _ in range(MOST_TRACKS)]
    given: dict[int, int] = {}
    for source in sorted(spans, key=lambda s: (spans[s][1] - spans[s][0], s)):
        first, last = spans[source]
        free = (
            track
            for track, others in enumerate(taken)
            if all(last < a or b < first for a, b in others)
        )
        given[source] = next(free, MOST_TRACKS - 1)
        taken[given[source]].append((first, last))
    return given
