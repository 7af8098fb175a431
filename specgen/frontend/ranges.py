"""Ranges of layers in a placement, `first..last`, as layers are added and removed."""

from __future__ import annotations

from bisect import bisect_left, bisect_right
from collections.abc import Collection, Iterable, Mapping, Sequence

from specgen.graph import around

Spans = Mapping[str, tuple[int, int]]  # the first and the last layer of each path


def spans(layers: Iterable[str]) -> Spans:
    """Return the span of each of these layers, and of each group around them."""
    found: dict[str, tuple[int, int]] = {}
    for index, layer in enumerate(layers):
        for path in around(layer):
            found[path] = (found.get(path, (index, index))[0], index)
    return found


def shrink(key: str, at: Spans, kept: Sequence[str]) -> str | None:
    """Return the key for what is left of the layers that it names, or None.

    `at` has the span of every layer before some are removed; `kept` has those that
    stay, in order. What a key names may be inside of these. A key that does not name
    layers is returned unchanged.
    """
    ends = _ends(key)
    first, last = (_member(end, at) for end in ends)
    if first is None or last is None or at[first][0] > at[last][1]:
        return key
    low, high = at[first][0], at[last][1]
    start = bisect_left(kept, low, key=lambda name: at[name][0])
    stop = bisect_right(kept, high, key=lambda name: at[name][0])
    if start == stop:
        return None
    left = kept[start], kept[stop - 1]

    def largest(layer: str, end: int) -> str:
        """Return the largest group in the range that begins or ends with a layer."""
        same = (path for path in around(layer) if at[path][end] == at[layer][end])
        return [p for p in same if low <= at[p][0] and at[p][1] <= high][-1]

    ends = (
        ends[0] if at[left[0]][0] <= at[first][1] else largest(left[0], 0),
        ends[1] if at[left[1]][1] >= at[last][0] else largest(left[1], 1),
    )
    return ends[0] if ends[0] == ends[1] else "..".join(ends)


def missing(
    keys: Iterable[str], layers: Sequence[str], new: Collection[str]
) -> dict[str, str]:
    """Return the new layers that no key names, with the key of the layer before each.

    New layers at the start get the key of the next layer that has one.
    """
    at = spans(layers)
    pieces = []
    for key in keys:
        first, last = (_member(end, at) for end in _ends(key))
        if first is not None and last is not None:
            pieces.append((at[first][0], at[last][1], key))
    pieces.sort()
    starts = [start for start, _, _ in pieces]

    def placed(index: int) -> str | None:
        piece = bisect_right(starts, index) - 1
        return pieces[piece][2] if piece >= 0 and pieces[piece][1] >= index else None

    said = [placed(index) for index in range(len(layers))]
    like: str | None = next(filter(None, said), None)
    found: dict[str, str] = {}
    for name, its_key in zip(layers, said, strict=True):
        if its_key is None and name in new and like is not None:
            found[name] = like
        else:  # an old layer that no key names is an error in the spec
            like = its_key
    return found


def _member(path: str, at: Collection[str]) -> str | None:
    """Return which of these layers a path is, or is inside of."""
    return next((name for name in around(path) if name in at), None)


def _ends(key: str) -> tuple[str, str]:
    first, dots, last = (part.strip() for part in key.partition(".."))
    return (first, last) if dots else (first, first)
