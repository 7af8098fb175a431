"""Matches the layers of two networks: kept, renamed, moved, added or removed."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

from specgen.graph import Graph, Node

ALIKE = 3


@dataclass(frozen=True, slots=True)
class Matching:
    """Layers of `old` and `new` by name.

    Attributes:
        pairs: the new name of each layer that is in both, in the new order.
        removed: old layers without a new one.
        added: new layers without an old one.
        moved: new names of layers in both that come in another order.
    """

    pairs: Mapping[str, str]
    removed: tuple[str, ...]
    added: tuple[str, ...]
    moved: frozenset[str]

    @property
    def renamed(self) -> dict[str, str]:
        """New names by old ones, where they differ."""
        return {old: new for old, new in self.pairs.items() if old != new}


def match(old: Graph, new: Graph) -> Matching:
    """Match layers by name, and others by their place and what they are.

    A layer counts as renamed if it is in the same place between layers that are in
    both, and has the same op with equal fields or with tensors of the same shapes.
    """
    before = {node.name: node for node in old.nodes}
    after = {node.name: node for node in new.nodes}
    moved = _moved(before, after)
    pairs = {name: name for name in after if name in before}
    anchors = [name for name in pairs if name not in moved]
    for gone, come in zip(_gaps(before, anchors), _gaps(after, anchors), strict=True):
        lost = [before[name] for name in gone if name not in after]
        found = [after[name] for name in come if name not in before]
        pairs |= dict(_renamed(lost, found))
    order = {name: index for index, name in enumerate(after)}
    known = set(pairs.values())
    return Matching(
        dict(sorted(pairs.items(), key=lambda pair: order[pair[1]])),
        tuple(name for name in before if name not in pairs),
        tuple(name for name in after if name not in known),
        frozenset(moved),
    )


def _gaps(names: Mapping[str, Node], anchors: Sequence[str]) -> Iterator[list[str]]:
    """Yield the names before, between and after the anchors."""
    gap: list[str] = []
    stops = set(anchors)
    for name in names:
        if name in stops:
            yield gap
            gap = []
        else:
            gap.append(name)
    yield gap


def _renamed(lost: Sequence[Node], found: Sequence[Node]) -> Iterator[tuple[str, str]]:
    """Yield the pairs of the alignment that keeps the order and makes most pairs."""
    # Equal heads belong together: without this, a thousand layers take seconds.
    heads = 0
    for a, b in zip(lost, found, strict=False):
        if _likeness(a, b) < ALIKE:
            break
        yield a.name, b.name
        heads += 1
    lost, found = lost[heads:], found[heads:]
    likeness = [[_likeness(a, b) for b in found] for a in lost]
    best = [[0] * (len(found) + 1) for _ in range(len(lost) + 1)]
    for i in reversed(range(len(lost))):
        for j in reversed(range(len(found))):
            paired = likeness[i][j] and likeness[i][j] + best[i + 1][j + 1]
            best[i][j] = max(best[i + 1][j], best[i][j + 1], paired)
    i = j = 0
    while i < len(lost) and j < len(found):
        paired = likeness[i][j]
        if paired and best[i][j] == paired + best[i + 1][j + 1]:
            yield lost[i].name, found[j].name
            i, j = i + 1, j + 1
        elif best[i][j] == best[i + 1][j]:
            i += 1
        else:
            j += 1


def _likeness(a: Node, b: Node) -> int:
    """How likely two names mean the same layer: from 0, not at all, to ALIKE."""
    if a.op.op != b.op.op:
        return 0
    equal = a.op == b.op
    tensors = a.op.shapes(a.x) == b.op.shapes(b.x)
    return 2 * equal + tensors


def _moved(before: Mapping[str, Node], after: Mapping[str, Node]) -> set[str]:
    """Return the fewest layers to take out so that the others keep their order.

    Layers that act only in training are preferred over layers that compute.
    """
    new = [name for name in after if name in before]
    rank = {name: index for index, name in enumerate(n for n in before if n in after)}
    first = next((i for i, name in enumerate(new) if rank[name] != i), len(new))
    last = len(new)
    while last > first and rank[new[last - 1]] == last - 1:
        last -= 1
    middle = new[first:last]  # everything before and after is in order
    # The heaviest chain of names in order that ends with each.
    weights = [1 if after[name].op.training_only else 1000 for name in middle]
    total: list[int] = []
    back: list[int] = []
    for i, name in enumerate(middle):
        earlier = [j for j in range(i) if rank[middle[j]] < rank[name]]
        link = max(earlier, key=lambda j: total[j], default=-1)
        total.append(weights[i] + (total[link] if link >= 0 else 0))
        back.append(link)
    kept = set()
    at = max(range(len(middle)), key=lambda i: total[i], default=-1)
    while at >= 0:
        kept.add(middle[at])
        at = back[at]
    return {name for name in middle if name not in kept}
