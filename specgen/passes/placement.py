"""Puts every layer on its devices.

A layer on one device computes all of its output there; a split layer computes a share
of it on each. Only what a share reads and its device does not hold is moved there, so
nothing crosses unless it is read, and nothing crosses twice.
"""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import replace

from specgen.diagnostics import LIMIT_HELP, Diagnostic, Path, Problems
from specgen.graph import INPUT, Assignment, Graph, Node, Piece, Placed, PlacedGraph
from specgen.names import attribute_problem
from specgen.ops.base import Refusal
from specgen.passes.shares import Cut, Layouts, connect, cut, letters

# Everything written for a network: layers on each of their devices, pieces that move,
# ONNX nodes. A build of this many takes a few seconds.
MOST_STEPS = 40_000
TOO_LARGE = Diagnostic(
    "too-large",
    f"the network has more than {MOST_STEPS} steps: layers on each device, pieces of"
    " tensors that move, nodes of the ONNX graph",
    ("layers",),
    help=LIMIT_HELP,
)


def place(graph: Graph, where: Assignment, problems: Problems) -> PlacedGraph | None:
    """Rewrite the graph into shares and moves, if all of it can be placed.

    Reports every layer that cannot be split as asked.
    """
    letter = letters(where.devices)
    names = _Names(graph, where.devices)
    names.check_scopes(problems)
    layers: list[Placed] = []
    layouts: Layouts = {INPUT: [Piece(INPUT, "", range(graph.input_shape[0]))]}
    refused: Sequence[str] = ()
    steps = 0
    for node in graph.nodes:
        on = where.layers.get(node.name, ())
        if not on:
            refused = ()
            continue
        try:
            parts = cut(node, on, letter)
        except Refusal as refusal:
            # Layers after a refused one would repeat its error.
            if node.applied.parameters or on != refused:
                problems.add(_blame(node, refusal.diagnostic, where.origins))
            refused = on
            continue
        refused = ()
        names.check(node, parts, problems)
        if layouts.keys() >= {*node.inputs}:  # else it is unknown where they are
            layers.append(connect(node, parts, layouts))
            steps += sum(len(move.pieces) for move in layers[-1].moves)
        steps += len(parts)
        if steps > MOST_STEPS:
            problems.add(TOO_LARGE)
            return None
    if len(layers) < len(graph.nodes):
        return None
    placed = PlacedGraph(graph, where.devices, tuple(layers))
    problems.add(*_check_read(placed, where.origins))
    return placed


def _check_read(
    placed: PlacedGraph, origins: Mapping[str, Path]
) -> Iterator[Diagnostic]:
    """A share that nothing reads has no effect, and gets no gradient."""
    read = {name for share in placed.shares() for name in share.inputs}
    for layer in placed.layers:
        read.update(piece.value for move in layer.moves for piece in move.pieces)
    for layer in placed.layers[:-1]:
        for share in layer.shares if len(layer.shares) > 1 else ():
            if share.name not in read:
                message = f"no layer reads what {share.device} would compute of it"
                help = "place it on one device"
                found = Diagnostic("cannot-split", message, help=help)
                yield _blame(layer.node, found, origins)


def on_one_device(graph: Graph, device: str = "gpu0") -> PlacedGraph:
    """Place the whole graph on one device, which always works."""
    where = Assignment((device,), {node.name: (device,) for node in graph.nodes})
    placed = place(graph, where, Problems())
    assert placed, "nothing is split"
    return placed


def _blame(node: Node, found: Diagnostic, origins: Mapping[str, Path]) -> Diagnostic:
    """Point at the layer's field, and name the placement entry that asks for it."""
    origin = origins.get(node.name)
    asked = [f"{'.'.join(map(str, origin))} asks for this"] if origin else []
    return replace(
        found,
        message=f"{node.name}: {found.message}",
        path=("layers", node.name, *(found.path or ())),
        notes=(*found.notes, *asked),
        causes=(origin,) if origin else (),
    )


class _Names:
    """Attributes of the model: layers, devices, and shares with parameters."""

    def __init__(self, graph: Graph, devices: Collection[str]) -> None:
        self._places: dict[str, Path] = {
            name: ("placement", "devices", name) for name in devices
        }
        paths = [each.path for each in graph.scopes]
        paths += [node.name for node in graph.nodes]
        self._places |= {path: ("layers", path) for path in paths}
        # On one device, the class of a block does not keep it.
        self._devices = devices if len(devices) > 1 else ()

    def check_scopes(self, problems: Problems) -> None:
        """Report layers in scopes with names of devices, which classes may keep."""
        for name, place in self._places.items():
            _, inside, leaf = name.rpartition(".")
            if inside and leaf in self._devices:  # the front end checks the others
                message = f"{leaf!r} is both a layer and a device"
                problems.add(Diagnostic("bad-name", message, place, at_key=True))

    def check(self, node: Node, parts: Sequence[Cut], problems: Problems) -> None:
        """Report the names of a layer's shares that the model cannot have."""
        if len(parts) < 2 or not node.applied.tensors:
            return  # nothing has the name of a share
        if attribute_problem(node.name.rpartition(".")[2]):
            return  # that is reported, and its shares would only repeat it
        for part in parts:
            also = f"{node.name} on {part.device}"
            leaf, own = part.name.rpartition(".")[2], self._places[node.name]
            if place := self._places.get(part.name):
                message = f"{part.name} is also {also}"
            elif leaf in self._devices:
                message, place = f"{leaf} is also {also}", own
            elif bad := attribute_problem(leaf):
                message, place = f"{also}: {bad}", own
            else:
                continue
            problems.add(Diagnostic("bad-name", message, place, at_key=True))
