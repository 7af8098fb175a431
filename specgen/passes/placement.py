"""Puts every layer on its devices.

A layer on one device computes all of its output there; a split layer computes a share
of it on each. Only what a share reads and its device does not hold is moved there: so
nothing crosses that is not read, and nothing crosses twice.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Iterator
from dataclasses import replace

from specgen.diagnostics import Diagnostic, Path, SpecError, nearest_help
from specgen.graph import INPUT, Graph, Node, Piece, Placed, PlacedGraph
from specgen.names import attribute_problem
from specgen.ops.base import Refusal
from specgen.passes.shares import LETTERS, cut, letters, pieces
from specgen.spec import Placement, Split

Where = dict[str, tuple[tuple[str, ...], Path]]


def resolve(layers: Iterable[str], placement: Placement) -> Where:
    """Devices of each of the layers, and the place in the spec that says so.

    Raises:
        SpecError: a placement that names no such layer or device, leaves a layer out or
            places it twice, and devices that no layer is on.
    """
    devices = placement.devices
    problems: list[Diagnostic] = list(_check_devices(devices))
    where = _where(layers, placement, problems)
    if not problems:
        used = {device for on, _ in where.values() for device in on}
        problems += _unused(device for device in devices if device not in used)
    if problems:
        raise SpecError(problems)
    return where


def place(graph: Graph, placement: Placement) -> PlacedGraph:
    """Rewrite the graph to shares and moves.

    Raises:
        SpecError: what `resolve` refuses, and every layer that cannot be split as
            written.
    """
    where = resolve((node.name for node in graph.nodes), placement)
    devices = tuple(placement.devices)
    letter = letters(devices)
    problems: list[Diagnostic] = []
    layers: list[Placed] = []
    held: tuple[Piece, ...] = (Piece(INPUT, "", range(graph.input_shape[0])),)
    refused: tuple[str, ...] = ()
    for node in graph.nodes:
        on, path = where[node.name]
        try:
            layers.append(cut(node, on, letter, held))
        except Refusal as refusal:
            # What only follows a refused layer would say the same again.
            if node.parameters() or on != refused:
                problems.append(_blame(node, refusal.diagnostic, path))
            refused = on
            held = (Piece(node.name, on[0], range(node.shape[0])),)
        else:
            refused = ()
            held = pieces(layers[-1])
    problems += _check_share_names(layers, graph, devices)
    last = graph.nodes[-1]
    if len(where[last.name][0]) > 1 and not problems:
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


def _check_devices(devices: Collection[str]) -> Iterator[Diagnostic]:
    if not devices or len(devices) > len(LETTERS):
        yield Diagnostic(
            "bad-placement",
            f"a placement has from 1 to {len(LETTERS)} devices, not {len(devices)}",
            ("placement", "devices"),
        )
    if "split" in devices:
        message = "'split' already means all devices"
        place = ("placement", "devices", "split")
        yield Diagnostic("bad-name", message, place, at_key=True)


def _unused(devices: Iterable[str]) -> Iterator[Diagnostic]:
    for device in devices:
        place = ("placement", "devices", device)
        yield Diagnostic("no-effect", f"no layer is on {device}", place, at_key=True)


def _where(
    layers: Iterable[str], placement: Placement, problems: list[Diagnostic]
) -> Where:
    """What `resolve` returns; adds to `problems`."""
    order = {name: index for index, name in enumerate(layers)}
    where: Where = {}
    if not placement.layers and len(placement.devices) == 1:
        return {name: (tuple(placement.devices), ("layers", name)) for name in order}
    for key, value in placement.layers.items():
        path = ("placement", "layers", key)
        on = _devices(value, placement, path, problems)
        names = _layers(key, order, path, problems)
        if twice := [name for name in names if name in where]:
            message = f"already placed above: {_some(twice)}"
            problems.append(Diagnostic("bad-placement", message, path, at_key=True))
        where |= dict.fromkeys(names, (on, path))
    missing = [name for name in order if name not in where]
    if missing and not problems:
        message = f"no device is given for {_some(missing)}"
        place = ("placement", "layers")
        problems.append(Diagnostic("bad-placement", message, place))
    return where


def _some(names: list[str]) -> str:
    return ", ".join(names[:8]) + (", ..." if len(names) > 8 else "")


def _layers(
    key: str, order: dict[str, int], path: Path, problems: list[Diagnostic]
) -> list[str]:
    """The layers that `name` or `first..last` stands for."""
    first, _, last = (part.strip() for part in key.partition(".."))
    ends = (first, last) if ".." in key else (first, first)
    unknown = [name for name in ends if name not in order]
    for name in dict.fromkeys(unknown):
        problems.append(
            Diagnostic(
                "unknown-layer",
                f"there is no layer {name!r}",
                path,
                at_key=True,
                help=nearest_help(name, order),
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
            problems.append(
                Diagnostic(
                    "unknown-device",
                    f"there is no device {name!r}",
                    at,
                    help=nearest_help(name, [*known, "split"]),
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


def _check_share_names(
    layers: list[Placed], graph: Graph, devices: Collection[str]
) -> Iterator[Diagnostic]:
    """A share with parameters is an attribute of the model, as layers and devices."""
    places: dict[str, Path] = {name: ("placement", "devices", name) for name in devices}
    places |= {node.name: ("layers", node.name) for node in graph.nodes}
    for layer in layers:
        name = layer.node.name
        if len(layer.shares) == 1 or not layer.node.parameters():
            continue
        for share in layer.shares:
            also = f"{name} on {share.device}"
            if place := places.get(share.name):
                message = f"{share.name} is also {also}"
                yield Diagnostic("bad-name", message, place, at_key=True)
            elif bad := attribute_problem(share.name):
                yield Diagnostic(
                    "bad-name", f"{also}: {bad}", places[name], at_key=True
                )
