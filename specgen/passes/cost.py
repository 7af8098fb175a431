"""Costs known before the network runs: multiply-accumulates, parameters, traffic."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator

from specgen.graph import Graph, PlacedGraph
from specgen.ops.base import BFLOAT16, FLOAT32, volume

# The layer that reads, the source device, the target device.
Edge = tuple[str, str, str]


def parameters(graph: Graph) -> int:
    """Number of parameters of the whole network."""
    return sum(node.applied.parameters for node in graph.nodes)


def macs(graph: Graph) -> int:
    """Multiply-accumulates per image, forward."""
    return sum(node.applied.macs for node in graph.nodes)


def device_parameters(placed: PlacedGraph) -> dict[str, int]:
    """Number of parameters on each device; each is on exactly one."""
    held = dict.fromkeys(placed.devices, 0)
    for share in placed.shares():
        held[share.device] += share.applied.parameters
    return held


def traffic(placed: PlacedGraph) -> Counter[Edge]:
    """Bytes per image, float32, over each edge, forward."""
    edges: Counter[Edge] = Counter()
    for edge, _, numbers in _copies(placed):
        edges[edge] += FLOAT32 * numbers
    return edges


def crossing(placed: PlacedGraph) -> dict[Edge, tuple[str, ...]]:
    """The values that are copied over each edge, of all or some channels."""
    wholes = placed.wholes
    found: dict[Edge, dict[str, None]] = {}
    for edge, value, _ in _copies(placed):
        found.setdefault(edge, {})[wholes[value]] = None
    return {edge: tuple(values) for edge, values in found.items()}


def step_traffic(placed: PlacedGraph, *, half: bool = False) -> Counter[Edge]:
    """Bytes per image over each edge in a training step, forward and backward.

    A gradient comes back only to what depends on parameters, and so never to images;
    with autocast, that has half the size unless something in float32 has joined it.
    """
    learning = placed.learning
    narrow = placed.narrow if half else set()
    edges: Counter[Edge] = Counter()
    for edge, value, numbers in _copies(placed):
        item = BFLOAT16 if value in narrow else FLOAT32
        ways = 2 if value in learning else 1
        edges[edge] += ways * item * numbers
    return edges


def gradients(placed: PlacedGraph) -> Counter[tuple[str, str]]:
    """Bytes per image, float32, that the backward pass sends from device to device."""
    learning = placed.learning
    found: Counter[tuple[str, str]] = Counter()
    for (_, source, target), value, numbers in _copies(placed):
        if value in learning:
            found[target, source] += FLOAT32 * numbers
    return found


def _copies(placed: PlacedGraph) -> Iterator[tuple[Edge, str, int]]:
    """Every copy: its edge, what is copied, and how many numbers that is."""
    for layer in placed.layers:
        for move in layer.moves:
            pixels = volume(move.shape[1:])
            for piece, read in zip(move.pieces, move.reads, strict=True):
                edge = layer.node.name, placed.source(piece), move.device
                if edge[1] != move.device:
                    yield edge, piece.value, pixels * len(read)
