"""A plan as columns: each a layer that multiplies or joins, with what follows it."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, replace

from specgen.graph import INPUT
from specgen.ops.base import Shape
from specgen.picture.folding import exchanges, repeats
from specgen.plan import LayerPlan, Plan, Transfer

IMAGE = -1  # the column of what the network reads


@dataclass(frozen=True, slots=True)
class Stage:
    """One column.

    Attributes:
        layers: the first is drawn; the others only have their names in the picture.
        reads: the columns that the first reads.
        exchanges: what devices fetch from others before the first.
        repeated: paths of equal blocks, if it stands for all of them.
    """

    layers: tuple[LayerPlan, ...]
    reads: tuple[int, ...]
    exchanges: tuple[Transfer, ...] = ()
    repeated: tuple[str, ...] = ()

    @property
    def head(self) -> LayerPlan:
        """The layer that is drawn."""
        return self.layers[0]

    @property
    def names(self) -> set[str]:
        """All layers that it stands for."""
        names = {layer.name for layer in self.layers}
        start = len(self.repeated[0]) if self.repeated else 0
        return names | {p + name[start:] for p in self.repeated for name in names}

    @property
    def devices(self) -> tuple[str, ...]:
        """Where all of its layers run."""
        return self.head.devices

    @property
    def shape(self) -> Shape:
        """What one device computes of the head: an equal share of its channels."""
        whole, *rest = self.head.output_shape
        return whole // len(self.devices), *rest


MOST_COLUMNS = 480


def stages(plan: Plan) -> list[Stage]:
    """Return the columns, in order; of equal blocks in a row, those of the first.

    A layer shares the column of the one before if it is all that reads that, reads
    nothing else, runs on the same devices, and multiplies no matrix. No more than
    MOST_COLUMNS are made: nobody looks at more, and browsers choke on them.
    """
    repeated: dict[str, tuple[str, ...]] = {}
    shown: dict[str, str] = {}  # layers that are not drawn: who stands for them
    for first, *others in repeats(plan):
        paths = (first.path, *(block.path for block in others))
        repeated |= dict.fromkeys(first.names, paths)
        for block in others:
            pairs = zip(block.layers, first.layers, strict=True)
            shown |= {layer.name: drawn.name for layer, drawn in pairs}
    readers = Counter(name for layer in plan.layers for name in {*layer.inputs})
    fetched = exchanges(plan)
    columns = {INPUT: IMAGE}
    found: list[Stage] = []
    for layer in plan.layers:
        if layer.name in shown:
            continue
        before, paths = found[-1] if found else None, repeated.get(layer.name, ())
        if (
            before
            and layer.inputs == (before.layers[-1].name,)
            and readers[before.layers[-1].name] == 1
            and (before.devices, before.repeated) == (layer.devices, paths)
            and not layer.macs
            and layer.name not in fetched
        ):
            found[-1] = replace(before, layers=(*before.layers, layer))
        elif len(found) == MOST_COLUMNS:
            break
        else:
            names = dict.fromkeys(shown.get(name, name) for name in layer.inputs)
            reads = tuple(columns[name] for name in names)
            found.append(Stage((layer,), reads, fetched.get(layer.name, ()), paths))
        columns[layer.name] = len(found) - 1
    return found


def arriving(exchanges: Sequence[Transfer], device: str) -> str:
    """Return the bytes that a device fetches: `86,528 B`, `3 x 9,216 B`."""
    counts = [e.bytes_per_image for e in exchanges if e.target == device]
    if not counts:
        return ""
    if len(set(counts)) > 1:
        return f"{sum(counts):,} B"
    return f"{len(counts)} x {counts[0]:,} B" if counts[1:] else f"{counts[0]:,} B"


def all_to_all(exchanges: Sequence[Transfer]) -> bool:
    """Whether every device that fetches something does so from all others that send."""
    sources = {edge.source for edge in exchanges}
    targets = {edge.target for edge in exchanges}
    pairs = {(a, b) for a in sources for b in targets if a != b}
    return pairs == {(edge.source, edge.target) for edge in exchanges}
