"""Equal blocks in a row, of which a picture draws the first: `x 3`.

A block is what the paths of its layers say: `layer1.0.conv1` is in `layer1.0`.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from itertools import groupby

from specgen.plan import LayerPlan, Plan, Transfer

Exchanges = Mapping[str, tuple[Transfer, ...]]  # by the layer that they are before


@dataclass(frozen=True, slots=True)
class Block:
    """Layers whose paths begin with that of the block."""

    path: str
    layers: tuple[LayerPlan, ...]

    @property
    def names(self) -> set[str]:
        """Paths of its layers."""
        return {layer.name for layer in self.layers}

    @property
    def reads(self) -> set[str]:
        """Names of what it reads that is not its own."""
        return {name for layer in self.layers for name in layer.inputs} - self.names


def exchanges(plan: Plan) -> Exchanges:
    """Return what devices fetch from others before a layer, by that layer."""
    edges = groupby(plan.traffic, lambda edge: edge.before)
    return {name: tuple(group) for name, group in edges}


def repeats(plan: Plan) -> list[tuple[Block, ...]]:
    """Return runs of two blocks or more that are equal, each reading the one before.

    Nobody but the next one reads anything of a block, save of the last. Runs inside
    a block that is itself repeated are not looked for.
    """
    readers: dict[str, set[str]] = {}
    for layer in plan.layers:
        for name in layer.inputs:
            readers.setdefault(name, set()).add(layer.name)
    return list(_repeats(plan.layers, 0, exchanges(plan), readers))


def _repeats(
    layers: Sequence[LayerPlan],
    depth: int,
    fetched: Exchanges,
    readers: Mapping[str, set[str]],
) -> Iterator[tuple[Block, ...]]:
    """Yield the runs among blocks whose paths have `depth` dots, else inside them."""

    def path(layer: LayerPlan) -> str:
        names = layer.name.split(".")
        return ".".join(names[: depth + 1]) if len(names) > depth + 1 else ""

    run: list[Block] = []
    for key, group in groupby(layers, path):
        block = Block(key, tuple(group))
        if run and not (
            key
            and _same(run[-1], block, fetched)
            and block.reads <= run[-1].names
            and all(
                readers.get(name, set()) <= run[-1].names | block.names
                for name in run[-1].names
            )
        ):
            yield from _found(run, depth, fetched, readers)
            run = []
        run += [block] if key else []
    yield from _found(run, depth, fetched, readers)


def _found(
    run: Sequence[Block],
    depth: int,
    fetched: Exchanges,
    readers: Mapping[str, set[str]],
) -> Iterator[tuple[Block, ...]]:
    if run[1:]:
        yield tuple(run)
    for block in run[:1] if not run[1:] else ():
        yield from _repeats(block.layers, depth + 1, fetched, readers)


def _same(a: Block, b: Block, fetched: Exchanges) -> bool:
    """Whether blocks differ in nothing but their paths, and read one tensor each."""
    return len(a.reads) == len(b.reads) == 1 and _within(a, fetched) == _within(
        b, fetched
    )


def _within(block: Block, fetched: Exchanges) -> list[object]:
    """What a block is, in names that count from its path."""
    start, own = len(block.path), block.names
    return [
        (
            replace(
                layer,
                name=layer.name[start:],
                inputs=tuple(
                    name[start:] if name in own else "" for name in layer.inputs
                ),
                tensors={},  # their shapes follow from the rest
                receptive_field=None,  # which grows from block to block
            ),
            [replace(edge, before="") for edge in fetched.get(layer.name, ())],
        )
        for layer in block.layers
    ]
