"""Costs known before the network runs: multiply-accumulates, parameters, traffic."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator

from specgen.graph import Graph, Piece, PlacedGraph
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
    """Bytes per image, float32, over each edge, forward.

    Copying the input image is not traffic.
    """
    edges: Counter[Edge] = Counter()
    for reader, piece, target, numbers in _copies(placed):
        edges[reader, piece.device, target] += FLOAT32 * numbers
    return edges


def step_traffic(placed: PlacedGraph, *, half: bool = False) -> Counter[Edge]:
    """Bytes per image over each edge in a training step, forward and backward.

    A gradient comes back only to what depends on parameters; with autocast, that has
    half the size unless something in float32 has joined it.
    """
    learning = placed.learning
    narrow = placed.narrow if half else set()
    edges: Counter[Edge] = Counter()
    for reader, piece, target, numbers in _copies(placed):
        item = BFLOAT16 if piece.value in narrow else FLOAT32
        ways = 2 if piece.value in learning else 1
        edges[reader, piece.device, target] += ways * item * numbers
    return edges


def gradients(placed: PlacedGraph) -> Counter[tuple[str, str]]:
    """Bytes per image, float32, that the backward pass sends from device to device."""
    learning = placed.learning
    found: Counter[tuple[str, str]] = Counter()
    for _, piece, target, numbers in _copies(placed):
        if piece.value in learning:
            found[target, piece.device] += FLOAT32 * numbers
    return found


def _copies(placed: PlacedGraph) -> Iterator[tuple[str, Piece, str, int]]:
    """Every copy: the layer that reads it, what is copied, where, how many numbers."""
    for layer in placed.layers:
        for move in layer.moves:
            pixels = volume(move.shape[1:])
            for piece, read in zip(move.pieces, move.reads, strict=True):
                if piece.device not in ("", move.device):
                    yield layer.node.name, piece, move.device, pixels * len(read)
