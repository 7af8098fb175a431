"""The network between spec and output: first as layers, then as shares on devices.

The logical graph has one node a layer. Placement rewrites it: each layer becomes one
share a device, and what a device must first fetch from others becomes a move. Shapes
are without the batch.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field

from specgen.ops.base import Op, Shape

INPUT = "input"


@dataclass(frozen=True, slots=True)
class Node:
    """One layer: its op, its inputs and their shapes."""

    name: str
    op: Op
    inputs: tuple[str, ...]
    input_shapes: tuple[Shape, ...]
    shape: Shape
    comments: tuple[str, ...] = ()

    @property
    def x(self) -> Shape:
        """Shape of the first input."""
        return self.input_shapes[0]

    def parameters(self) -> dict[str, Shape]:
        """Whole parameter tensors by state_dict key, e.g. `conv1.weight`."""
        leaves = self.op.parameters(self.x)
        return {f"{self.name}.{leaf}": shape for leaf, shape in leaves.items()}


@dataclass(frozen=True, slots=True)
class Scope:
    """One use of a block, or a group of layers: what has paths that begin with its own.

    Attributes:
        path: `layer1.0`.
        block: name of the block; None for a group.
        inputs: the values from outside that its layers read, in the block's order.
        arguments: what the block calls them.
        output: the value that the scope stands for, of one of its layers.
        params: the block's parameters here.
    """

    path: str
    block: str | None
    inputs: tuple[str, ...]
    arguments: tuple[str, ...]
    output: str
    params: Mapping[str, float] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Graph:
    """A feed-forward network in execution order."""

    input_shape: Shape
    nodes: tuple[Node, ...]
    scopes: tuple[Scope, ...] = ()

    @property
    def has_probabilities(self) -> bool:
        """Whether the last layer turns logits into probabilities."""
        return self.nodes[-1].op.after_logits

    def __str__(self) -> str:
        lines = [f"{INPUT} {self.input_shape}"]
        for node in self.nodes:
            lines.append(
                f"{node.name} = {node.op.op}({', '.join(node.inputs)}) {node.shape}"
            )
        return "\n".join(lines)


@dataclass(frozen=True, slots=True)
class Assignment:
    """Which devices compute each layer: one, or several that share it.

    `devices` are all, in order. `origins` say what asks for a layer's devices, for the
    note of an error.
    """

    devices: tuple[str, ...]
    layers: Mapping[str, tuple[str, ...]]
    origins: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Piece:
    """Channels (or features) `span` of a layer's output on a device."""

    value: str
    device: str
    span: range


@dataclass(frozen=True, slots=True)
class Move:
    """Brings pieces together on one device, joined along channels or features.

    `reads[i]` is the part of `pieces[i]` that is used, counted in the whole tensor.
    """

    name: str
    device: str
    pieces: tuple[Piece, ...]
    reads: tuple[range, ...]
    span: range

    def __str__(self) -> str:
        parts = ", ".join(
            f"{piece.value}@{piece.device}[{read.start}:{read.stop}]"
            for piece, read in zip(self.pieces, self.reads, strict=True)
        )
        return f"{self.name}@{self.device} = move({parts})"


@dataclass(frozen=True, slots=True)
class Share:
    """What one device computes of a layer: channels `span` of its output."""

    name: str
    device: str
    op: Op
    input: str
    input_shape: Shape
    shape: Shape
    span: range

    def __str__(self) -> str:
        return f"{self.name}@{self.device} = {self.op.op}({self.input}) {self.shape}"


@dataclass(frozen=True, slots=True)
class Placed:
    """One layer on its devices: the moves that its shares need, then the shares."""

    node: Node
    moves: tuple[Move, ...]
    shares: tuple[Share, ...]


@dataclass(frozen=True, slots=True)
class PlacedGraph:
    """The network as devices run it."""

    graph: Graph
    devices: tuple[str, ...]
    layers: tuple[Placed, ...]

    def shares(self) -> Iterator[Share]:
        """Every share, in execution order."""
        for layer in self.layers:
            yield from layer.shares

    def __str__(self) -> str:
        lines = [f"{INPUT} {self.graph.input_shape}"]
        for layer in self.layers:
            lines += [str(step) for step in (*layer.moves, *layer.shares)]
        return "\n".join(lines)
