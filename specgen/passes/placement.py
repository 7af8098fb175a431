"""Puts every layer on its devices.

A layer on one device computes all of its output there. A split layer computes equal,
consecutive shares of its output channels (or features), one a device. Each share says
which input channels it reads; what its device does not already hold becomes a move. So
nothing crosses that is not read, and nothing crosses twice.
"""

from __future__ import annotations

from collections.abc import Collection, Iterator
from dataclasses import replace

from specgen.diagnostics import Diagnostic, Path, SpecError, nearest
from specgen.graph import INPUT, Graph, Move, Node, Piece, Placed, PlacedGraph, Share
from specgen.ops.base import Refusal
from specgen.spec import Placement, Split

# x is the tensor on a single device, l and o look like 1 and 0; with more letters, an
# exchange among all would not fit a line.
LETTERS = "abcdefghijkmnpqrstuvwyz"

Where = dict[str, tuple[tuple[str, ...], Path]]


def resolve(graph: Graph, placement: Placement) -> Where:
    """Devices of each layer, and the place in the spec that says so; needs no shapes.

    Raises:
        SpecError: a placement that names no such layer or device, leaves a layer out or
            places it twice, and devices that no layer is on.
    """
    devices = placement.devices
    problems: list[Diagnostic] = list(_check_devices(devices))
    where = _where(graph, placement, problems)
    used = {device for on, _ in where.values() for device in on}
    problems += (
        Diagnostic(
            "no-effect",
            f"no layer is on {device}",
            ("placement", "devices", device),
            at_key=True,
        )
        for device in devices
        if device not in used and not problems
    )
    if problems:
        raise SpecError(problems)
    return where


def place(graph: Graph, placement: Placement) -> PlacedGraph:
    """Rewrite the graph to shares and moves.

    Raises:
        SpecError: what `resolve` refuses, and every layer that cannot be split as
            written.
    """
    where = resolve(graph, placement)
    devices = tuple(placement.devices)
    problems: list[Diagnostic] = []
    layers: list[Placed] = []
    held: tuple[Piece, ...] = (Piece(INPUT, "", range(graph.input_shape[0])),)
    for node in graph.nodes:
        on, path = where[node.name]
        try:
            placed = _place(node, on, letters(devices), held)
        except Refusal as refusal:
            problems.append(_blame(node, refusal.diagnostic, path))
            continue
        layers.append(placed)
        held = tuple(Piece(s.name, s.device, s.span) for s in placed.shares)
    problems += _check_share_names(layers, graph)
    if len(where[graph.nodes[-1].name][0]) > 1 and not problems:
        last = graph.nodes[-1]
        problems.append(
            Diagnostic(
                "cannot-split",
                f"{last.name} ends the network, and the loss reads it whole",
                ("layers", last.name),
                help="place it on one device",
            )
        )
    if problems:
        raise SpecError(problems)
    return PlacedGraph(graph, devices, tuple(layers))


def letters(devices: Collection[str]) -> dict[str, str]:
    """A share is named after its layer and the letter of its device: conv1a, conv1b."""
    return dict(zip(devices, LETTERS, strict=False))


def _place(
    node: Node, on: tuple[str, ...], letter: dict[str, str], held: tuple[Piece, ...]
) -> Placed:
    """Cut a layer into one share a device and fetch what each reads."""
    channels = node.shape[0]
    if channels % len(on):
        what = "channels" if len(node.shape) == 3 else "features"
        raise Refusal(
            "cannot-split",
            f"{channels} {what} cannot be shared equally by {len(on)} devices",
            help="change the number, or place the layer on fewer devices",
        )
    size = channels // len(on)
    moves, shares = [], []
    for index, device in enumerate(on):
        span = range(index * size, (index + 1) * size)
        part = node.op.part(node.x, span)
        name = node.name + (letter[device] if len(on) > 1 else "")
        source = _held_on(device, part.reads, held)
        if source is None:
            move = _fetch(f"{name}.input", device, part.reads, held)
            moves.append(move)
            source = move.name
        x = (len(part.reads), *node.x[1:])
        shares.append(
            Share(name, device, part.op, source, x, (size, *node.shape[1:]), span)
        )
    return Placed(node, tuple(moves), tuple(shares))


def _held_on(device: str, reads: range, held: tuple[Piece, ...]) -> str | None:
    """The value on this device that is just what is read, if there is one."""
    for piece in held:
        if piece.device == device and piece.span == reads:
            return piece.value
    return None


def _fetch(name: str, device: str, reads: range, held: tuple[Piece, ...]) -> Move:
    """Collect what is read from the pieces that hold it."""
    pieces, parts = [], []
    for piece in held:
        start, stop = (
            max(reads.start, piece.span.start),
            min(reads.stop, piece.span.stop),
        )
        if start < stop:
            pieces.append(piece)
            parts.append(range(start, stop))
    return Move(name, device, tuple(pieces), tuple(parts), reads)


def _check_devices(devices: Collection[str]) -> Iterator[Diagnostic]:
    if not devices or len(devices) > len(LETTERS):
        yield Diagnostic(
            "bad-placement",
            f"a placement has from 1 to {len(LETTERS)} devices, not {len(devices)}",
            ("placement", "devices"),
        )


def _where(graph: Graph, placement: Placement, problems: list[Diagnostic]) -> Where:
    """What `resolve` returns; adds to `problems`."""
    order = {node.name: index for index, node in enumerate(graph.nodes)}
    where: Where = {}
    if not placement.layers and len(placement.devices) == 1:
        return {name: (tuple(placement.devices), ("layers", name)) for name in order}
    for key, value in placement.layers.items():
        path = ("placement", "layers", key)
        on = _devices(value, placement, path, problems)
        for name in _layers(key, order, path, problems):
            if name in where:
                problems.append(
                    Diagnostic(
                        "bad-placement", f"{name} is placed twice", path, at_key=True
                    )
                )
            where[name] = (on, path)
    if missing := [name for name in order if name not in where]:
        problems.append(
            Diagnostic(
                "bad-placement",
                f"no device is given for {', '.join(missing[:8])}"
                + (", ..." if len(missing) > 8 else ""),
                ("placement", "layers"),
            )
        )
    return where


def _layers(
    key: str, order: dict[str, int], path: Path, problems: list[Diagnostic]
) -> list[str]:
    """The layers that `name` or `first..last` stands for."""
    first, _, last = (part.strip() for part in key.partition(".."))
    ends = (first, last) if ".." in key else (first, first)
    unknown = [name for name in ends if name not in order]
    for name in dict.fromkeys(unknown):
        guess = nearest(name, order)
        problems.append(
            Diagnostic(
                "unknown-layer",
                f"there is no layer {name!r}",
                path,
                at_key=True,
                help=f"did you mean {guess}?" if guess else None,
            )
        )
    if unknown:
        return []
    start, stop = order[ends[0]], order[ends[1]]
    if start > stop:
        problems.append(
            Diagnostic(
                "bad-placement",
                f"{ends[0]} comes after {ends[1]}",
                path,
                at_key=True,
                help=f"write {ends[1]}..{ends[0]}",
            )
        )
    return list(order)[start : stop + 1]


def _devices(
    value: str | Split, placement: Placement, path: Path, problems: list[Diagnostic]
) -> tuple[str, ...]:
    """The devices that a placement's value names, in the order of `devices`."""
    known = placement.devices
    if value == "split":
        return tuple(known)
    names = [value] if isinstance(value, str) else value.split
    for index, name in enumerate(names):
        at = path if isinstance(value, str) else (*path, "split", index)
        if name not in known:
            guess = nearest(name, [*known, "split"])
            problems.append(
                Diagnostic(
                    "unknown-device",
                    f"there is no device {name!r}",
                    at,
                    help=f"did you mean {guess}?" if guess else None,
                )
            )
        elif name in names[:index]:
            problems.append(Diagnostic("bad-placement", f"{name} stands twice", at))
    if not names:
        problems.append(Diagnostic("bad-placement", "a split needs devices", path))
    return tuple(dict.fromkeys(name for name in names if name in known))


def _blame(node: Node, found: Diagnostic, placed_at: Path) -> Diagnostic:
    """Point at the layer's field, and say which line of the placement asks for it."""
    asked = ".".join(map(str, placed_at))
    return replace(
        found,
        message=f"{node.name}: {found.message}",
        path=("layers", node.name, *(found.path or ())),
        notes=(*found.notes, f"{asked} asks for it"),
    )


def _check_share_names(layers: list[Placed], graph: Graph) -> Iterator[Diagnostic]:
    names = {node.name for node in graph.nodes}
    for layer in layers:
        for share in layer.shares:
            if share.name != layer.node.name and share.name in names:
                yield Diagnostic(
                    "bad-name",
                    f"{share.name} is also {layer.node.name} on {share.device}",
                    ("layers", share.name),
                    at_key=True,
                )
