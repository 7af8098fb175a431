"""Costs known before the network runs: multiply-accumulates, parameters, traffic."""

from __future__ import annotations

from collections import Counter

from specgen.graph import Graph, PlacedGraph
from specgen.ops.base import FLOAT32, volume

# The layer that reads, the source device, the target device.
Edge = tuple[str, str, str]


def parameters(graph: Graph) -> int:
    """Number of parameters of the whole network."""
    return sum(volume(s) for node in graph.nodes for s in node.parameters().values())


def macs(graph: Graph) -> int:
    """Multiply-accumulates per image, forward."""
    return sum(node.op.macs(node.x) for node in graph.nodes)


def device_parameters(placed: PlacedGraph) -> dict[str, int]:
    """Number of parameters on each device; each is on exactly one."""
    held = dict.fromkeys(placed.devices, 0)
    for share in placed.shares():
        held[share.device] += sum(
            map(volume, share.op.parameters(share.input_shape).values())
        )
    return held


def traffic(placed: PlacedGraph) -> Counter[Edge]:
    """Bytes per image, float32, over each edge, forward.

    Copying the input image is not traffic.
    """
    edges: Counter[Edge] = Counter()
    for layer in placed.layers:
        pixels = volume(layer.node.x[1:])
        for move in layer.moves:
            for piece, read in zip(move.pieces, move.reads, strict=True):
                if piece.device not in ("", move.device):
                    edge = (layer.node.name, piece.device, move.device)
                    edges[edge] += FLOAT32 * pixels * len(read)
    return edges


def step_traffic(placed: PlacedGraph, *, half: bool = False) -> Counter[Edge]:
    """Bytes per image over each edge in a training step, forward and backward.

    Only layers after the first one with parameters send a gradient back. There, with
    autocast, values are half the size.
    """
    weighted = [bool(layer.node.parameters()) for layer in placed.layers]
    first = weighted.index(True) if any(weighted) else len(weighted)
    back = {layer.node.name for layer in placed.layers[first + 1 :]}
    edges = traffic(placed)
    both = 1 if half else 2
    return Counter({e: both * n if e[0] in back else n for e, n in edges.items()})
