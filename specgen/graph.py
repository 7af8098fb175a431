"""The network between spec and output: first as layers, then as shares on devices.

The logical graph has one node per layer. Placement rewrites it: each layer becomes one
share per device, and what a device must first fetch from others becomes a move. Shapes
leave out the batch.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Set
from dataclasses import dataclass, field
from functools import cached_property

from specgen.diagnostics import Path
from specgen.ops.applied import Applied
from specgen.ops.base import Op, Owned, Shape

INPUT = "input"


@dataclass(frozen=True, slots=True)
class Node:
    """One layer: its op, applied to inputs of known shapes.

    Its name is a path: the layer `conv1` in the scope `layer1.0` is `layer1.0.conv1`.
    In a block, `formulas` say how fields follow from the params of the block.
    """

    name: str
    applied: Applied
    inputs: tuple[str, ...]
    comments: tuple[str, ...] = ()
    formulas: Mapping[str, str] = field(default_factory=dict, hash=False)

    @property
    def op(self) -> Op:
        """Its op; `applied` has what the op says of the layer's inputs."""
        return self.applied.op

    @property
    def input_shapes(self) -> tuple[Shape, ...]:
        """Shapes of the inputs."""
        return self.applied.input_shapes

    @property
    def x(self) -> Shape:
        """Shape of the first input."""
        return self.applied.input_shapes[0]

    @property
    def shape(self) -> Shape:
        """Shape of the output."""
        return self.applied.output

    @property
    def scope(self) -> str:
        """Path of the scope that the layer is in; empty at the top."""
        return self.name.rpartition(".")[0]

    @property
    def leaf(self) -> str:
        """The last part of its name."""
        return self.name.rpartition(".")[2]

    @property
    def tensors(self) -> dict[str, Owned]:
        """Whole tensors by state_dict key, e.g. `conv1.weight`."""
        leaves = self.applied.tensors
        return {tensor_name(self.name, leaf): own for leaf, own in leaves.items()}

    @property
    def parameters(self) -> dict[str, Shape]:
        """Shapes of the tensors that are learned, by state_dict key."""
        return {name: own.shape for name, own in self.tensors.items() if own.learned}


def state_order(names: Iterable[str]) -> list[str]:
    """Return tensor names in the order of torch's state_dict.

    A module's own tensors come first, then those of its parts, in their order.
    """
    parts: dict[str, list[str]] = {}
    found = []
    for name in names:
        first, _, rest = name.partition(".")
        if rest:
            parts.setdefault(first, []).append(rest)
        else:
            found.append(name)
    for first, inner in parts.items():
        found += [f"{first}.{name}" for name in state_order(inner)]
    return found


def tensor_name(layer: str, leaf: str) -> str:
    """Return the state_dict key of a tensor; one without a leaf is the layer itself."""
    return f"{layer}.{leaf}" if leaf else layer


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
        comments: those above the block or the group.
        defaults: what its parameters are unless a use says otherwise.
        formulas: how its parameters follow from those of the block around it.
    """

    path: str
    block: str | None
    inputs: tuple[str, ...]
    arguments: tuple[str, ...]
    output: str
    params: Mapping[str, float] = field(default_factory=dict)
    comments: tuple[str, ...] = ()
    defaults: Mapping[str, float] = field(default_factory=dict)
    formulas: Mapping[str, str] = field(default_factory=dict)

    @property
    def leaf(self) -> str:
        """The last part of its path."""
        return self.path.rpartition(".")[2]


@dataclass(frozen=True, slots=True)
class Graph:
    """A feed-forward network in execution order.

    Each layer reads the image or layers before it. The layers of a scope follow each
    other. Shapes fit: a graph checks itself. Where a spec is wrong, layers between
    others may be missing.
    """

    input_shape: Shape
    nodes: tuple[Node, ...]
    scopes: tuple[Scope, ...] = ()

    def __post_init__(self) -> None:
        names = {node.name for node in self.nodes}
        assert len(names) == len(self.nodes), "two layers have one name"
        shapes = {INPUT: self.input_shape}
        paths = {"", *(scope.path for scope in self.scopes)}
        left: set[str] = set()
        here = ""
        for node in self.nodes:
            for name, shape in zip(node.inputs, node.input_shapes, strict=True):
                assert name in shapes or name not in names, f"{name} comes too late"
                assert shapes.get(name, shape) == shape, f"{name} has another shape"
            if node.scope != here:
                assert node.scope in paths, f"{node.name} is in no scope"
                inside = around(node.scope)
                left |= {path for path in around(here) if path not in inside}
                assert left.isdisjoint(inside), f"{node.scope} is interrupted"
                here = node.scope
            shapes[node.name] = node.shape

    @property
    def has_probabilities(self) -> bool:
        """Whether the last layer turns logits into probabilities."""
        return self.nodes[-1].op.after_logits

    def readers(self) -> dict[str, list[str]]:
        """The layers that read each value, in order."""
        found: dict[str, list[str]] = {INPUT: []}
        for node in self.nodes:
            found[node.name] = []
            for name in dict.fromkeys(node.inputs):
                found.setdefault(name, []).append(node.name)
        return found

    def __str__(self) -> str:
        lines = [f"{INPUT} {self.input_shape}"]
        for node in self.nodes:
            lines.append(
                f"{node.name} = {node.op.op}({', '.join(node.inputs)}) {node.shape}"
            )
        return "\n".join(lines)


def around(path: str) -> list[str]:
    """The scopes that a path is in, itself included, from the inside outward."""
    found = []
    while path:
        found.append(path)
        path = path.rpartition(".")[0]
    return found


@dataclass(frozen=True, slots=True)
class Assignment:
    """Which devices compute each layer: one, or several that share it.

    `devices` has all of them, in order. `origins` has the path of the placement entry
    that asked for a layer's devices, for an error.
    """

    devices: tuple[str, ...]
    layers: Mapping[str, tuple[str, ...]]
    origins: Mapping[str, Path] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Piece:
    """Channels (or features) `span` of a value on a device; called `value` there.

    The images' device is empty: they are wherever the caller of `forward` has them.
    """

    value: str
    device: str
    span: range


@dataclass(frozen=True, slots=True)
class Move:
    """Brings pieces of a value together on one device, joined along channels.

    `reads[i]` is the part of `pieces[i]` that is used, counted in the whole tensor, and
    `shape` that of what comes together.
    """

    name: str
    device: str
    value: str
    pieces: tuple[Piece, ...]
    reads: tuple[range, ...]
    shape: Shape

    @property
    def local(self) -> bool:
        """Whether it only takes a part of what the device has: a view."""
        return len(self.pieces) == 1 and self.pieces[0].device == self.device

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
    applied: Applied
    inputs: tuple[str, ...]
    shape: Shape
    span: range

    @property
    def op(self) -> Op:
        """Its op: the layer's, with fewer channels."""
        return self.applied.op

    @property
    def input_shapes(self) -> tuple[Shape, ...]:
        """Shapes of the inputs."""
        return self.applied.input_shapes

    @property
    def x(self) -> Shape:
        """Shape of the first input."""
        return self.applied.input_shapes[0]

    def __str__(self) -> str:
        read = ", ".join(self.inputs)
        return f"{self.name}@{self.device} = {self.op.op}({read}) {self.shape}"


@dataclass(frozen=True, slots=True)
class Placed:
    """One layer on its devices: the moves that its shares need, then the shares."""

    node: Node
    moves: tuple[Move, ...]
    shares: tuple[Share, ...]


@dataclass(frozen=True)
class PlacedGraph:
    """The network as devices run it. What is known of all of it is computed once."""

    # A cached function hashes its argument at every call, and thousands of layers take
    # long to hash.
    graph: Graph = field(hash=False)
    devices: tuple[str, ...]
    layers: tuple[Placed, ...] = field(hash=False)

    def source(self, piece: Piece) -> str:
        """The device that a piece comes from.

        Images may come from anywhere. The generated scripts prepare them on the first
        device, and so they are counted from there.
        """
        return piece.device or self.devices[0]

    def shares(self) -> Iterator[Share]:
        """Every share, in execution order."""
        for layer in self.layers:
            yield from layer.shares

    @cached_property
    def shapes(self) -> Mapping[str, Shape]:
        """The shape of each share, and of what each move brings."""
        found: dict[str, Shape] = {}
        for layer in self.layers:
            found.update((move.name, move.shape) for move in layer.moves)
            found.update((share.name, share.shape) for share in layer.shares)
        return found

    @cached_property
    def wholes(self) -> Mapping[str, str]:
        """The value that each share and each move is a part or a copy of."""
        found = {INPUT: INPUT}
        for layer in self.layers:
            found.update((move.name, move.value) for move in layer.moves)
            found.update((share.name, layer.node.name) for share in layer.shares)
        return found

    @cached_property
    def learning(self) -> Set[str]:
        """The shares and moves that depend on parameters: gradients come back to them.

        One share of a concat may read only the image while another does not.
        """
        found: set[str] = set()
        for layer in self.layers:
            for move in layer.moves:
                if not found.isdisjoint(piece.value for piece in move.pieces):
                    found.add(move.name)
            for share in layer.shares:
                if layer.node.applied.parameters or not found.isdisjoint(share.inputs):
                    found.add(share.name)
        return found

    @cached_property
    def narrow(self) -> Set[str]:
        """The shares and moves that autocast computes in half precision.

        Matrix products compute in it; what reads only such values keeps it.
        """
        found: set[str] = set()
        for layer in self.layers:
            for move in layer.moves:
                if found.issuperset(piece.value for piece in move.pieces):
                    found.add(move.name)
            for share in layer.shares:
                kept = share.op.autocast == "input" and found.issuperset(share.inputs)
                if kept or share.op.autocast == "bfloat16":
                    found.add(share.name)
        return found

    def __str__(self) -> str:
        lines = [f"{INPUT} {self.graph.input_shape}"]
        for layer in self.layers:
            lines += [str(step) for step in (*layer.moves, *layer.shares)]
        return "\n".join(lines)
