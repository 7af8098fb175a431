"""A plan as columns: each a layer that learns, with those that follow it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from itertools import groupby

from specgen.ops.base import Shape
from specgen.plan import LayerPlan, Plan, Transfer


@dataclass(frozen=True, slots=True)
class Stage:
    """One column.

    Attributes:
        layers: the first is drawn; of the others, the picture has only the names.
        exchanges: what devices fetch from others before the first.
    """

    layers: tuple[LayerPlan, ...]
    exchanges: tuple[Transfer, ...]

    @property
    def head(self) -> LayerPlan:
        """The layer that is drawn."""
        return self.layers[0]

    @property
    def devices(self) -> tuple[str, ...]:
        """Where all of its layers run."""
        return self.head.devices

    @property
    def shape(self) -> Shape:
        """What one device computes of the head: an equal share of its channels."""
        whole, *rest = self.head.output_shape
        return whole // len(self.devices), *rest


def stages(plan: Plan) -> list[Stage]:
    """Return the columns, in order.

    A layer has one of its own if it learns, if it fetches something, or if it runs
    somewhere else than the one before.
    """
    exchanges = {
        name: tuple(edges)
        for name, edges in groupby(plan.traffic, lambda edge: edge.before)
    }
    found: list[Stage] = []
    for layer in plan.layers:
        fetched = exchanges.get(layer.name, ())
        here = found and found[-1].devices == layer.devices
        if here and not layer.parameters and not fetched:
            found[-1] = replace(found[-1], layers=(*found[-1].layers, layer))
        else:
            found.append(Stage((layer,), fetched))
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
