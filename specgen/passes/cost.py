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


def traffic(placed: PlacedGraph, *, half: bool = False) -> Counter[Edge]:
    """Bytes per image over each edge, forward; `half` if autocast computes that.

    With autocast, all is in bfloat16 but the images, and what has only been computed
    of these without a matrix product, or has been joined by such values.
    """
    edges: Counter[Edge] = Counter()
    for edge, _, count in _copies(placed, half=half):
        edges[edge] += count
    return edges


def crossing(placed: PlacedGraph) -> dict[Edge, tuple[str, ...]]:
    """The values that are copied over each edge, of all or some channels."""
    wholes = placed.wholes
    found: dict[Edge, dict[str, None]] = {}
    for edge, value, _ in _copies(placed, half=False):
        found.setdefault(edge, {})[wholes[value]] = None
    return {edge: tuple(values) for edge, values in found.items()}


def step_traffic(placed: PlacedGraph, *, half: bool = False) -> Counter[Edge]:
    """Bytes per image over each edge in a training step, forward and backward.

    A gradient comes back only to what depends on parameters, and so never to images;
    it has the type of its value.
    """
    learning = placed.learning
    edges: Counter[Edge] = Counter()
    for edge, value, count in _copies(placed, half=half):
        edges[edge] += (2 if value in learning else 1) * count
    return edges


def gradients(placed: PlacedGraph, *, half: bool = False) -> Counter[tuple[str, str]]:
    """Bytes per image that the backward pass sends from device to device."""
    learning = placed.learning
    found: Counter[tuple[str, str]] = Counter()
    for (_, source, target), value, count in _copies(placed, half=half):
        if value in learning:
            found[target, source] += count
    return found


def _copies(placed: PlacedGraph, *, half: bool) -> Iterator[tuple[Edge, str, int]]:
    """Every copy: its edge, what is copied, and how many bytes per image that is."""
    narrow = placed.narrow if half else set()
    for layer in placed.layers:
        for move in layer.moves:
            pixels = volume(move.shape[1:])
            for piece, read in zip(move.pieces, move.reads, strict=True):
                edge = layer.node.name, placed.source(piece), move.device
                if edge[1] != move.device:
                    item = BFLOAT16 if piece.value in narrow else FLOAT32
                    yield edge, piece.value, item * pixels * len(read)
