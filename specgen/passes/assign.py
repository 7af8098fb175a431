"""Reads the placement of a spec: names and ranges become the devices of each layer."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence

from specgen.diagnostics import Diagnostic, Path, Problems, short
from specgen.graph import Assignment
from specgen.passes.shares import LETTERS
from specgen.spec import Placement, Split


def assign(
    placement: Placement,
    layers: Collection[str],
    unplaced: Collection[str],
    problems: Problems,
) -> Assignment:
    """Return the devices of each of the layers, in order; some may have none.

    Layers that are `unplaced` in the network need no device. Reports names that no
    layer or device has, layers that are left out or placed twice, and devices without
    layers.
    """
    before = len(problems)
    devices = tuple(placement.devices)
    _check_devices(devices, problems)
    if not placement.layers and len(devices) == 1:
        return Assignment(devices, dict.fromkeys(layers, devices))
    ordered = tuple(layers)
    order = {name: index for index, name in enumerate(layers)}
    known = dict.fromkeys(devices)
    where: dict[str, tuple[str, ...]] = {}
    origins: dict[str, str] = {}
    for key, value in placement.layers.items():
        path = ("placement", "layers", key)
        on = tuple(_devices(value, known, path, problems))
        names = _layers(key, ordered, order, path, problems)
        if twice := [name for name in names if name in where]:
            message = f"already placed above: {_some(twice)}"
            problems.add(Diagnostic("bad-placement", message, path, at_key=True))
            names = [name for name in names if name not in where]
        where |= dict.fromkeys(names, on)
        origins |= dict.fromkeys(names, ".".join(path))
    if len(problems) == before:  # a mistyped name leaves its layer out
        needed = [name for name in layers if name not in unplaced]
        _check_all_used(needed, where, devices, problems)
    if len(devices) > len(LETTERS):
        where = {}  # there are no names for the shares
    placed = {name: on for name, on in where.items() if on}
    return Assignment(devices, placed, origins)


def _check_devices(devices: Collection[str], problems: Problems) -> None:
    if not devices or len(devices) > len(LETTERS):
        message = (
            f"a placement has from 1 to {len(LETTERS)} devices, not {len(devices)}"
        )
        problems.add(Diagnostic("bad-placement", message, ("placement", "devices")))
    if "split" in devices:
        message = "'split' already means all devices"
        place = ("placement", "devices", "split")
        problems.add(Diagnostic("bad-name", message, place, at_key=True))


def _check_all_used(
    layers: Iterable[str],
    where: dict[str, tuple[str, ...]],
    devices: Collection[str],
    problems: Problems,
) -> None:
    if missing := [name for name in layers if name not in where]:
        message = f"no device is given for {_some(missing)}"
        problems.add(Diagnostic("bad-placement", message, ("placement", "layers")))
        return
    used = {device for on in where.values() for device in on}
    for device in devices:
        if device not in used:
            message = f"no layer is on {device}"
            place = ("placement", "devices", device)
            problems.add(Diagnostic("no-effect", message, place, at_key=True))


def _some(names: list[str]) -> str:
    return ", ".join(map(short, names[:8])) + (", ..." if len(names) > 8 else "")


def _layers(
    key: str,
    layers: Sequence[str],
    order: dict[str, int],
    path: Path,
    problems: Problems,
) -> Sequence[str]:
    """The layers that `name` or `first..last` refers to."""
    first, _, last = (part.strip() for part in key.partition(".."))
    ends = (first, last) if ".." in key else (first, first)
    unknown = [name for name in dict.fromkeys(ends) if name not in order]
    for name in unknown:
        message, help = (
            f"there is no layer {short(name)!r}",
            problems.nearest(name, order),
        )
        problems.add(Diagnostic("unknown-layer", message, path, at_key=True, help=help))
    if unknown:
        return ()
    start, stop = order[ends[0]], order[ends[1]]
    if start > stop:
        message = f"{ends[0]} comes after {ends[1]}"
        help = f"write {ends[1]}..{ends[0]}"
        problems.add(Diagnostic("bad-placement", message, path, at_key=True, help=help))
    return layers[start : stop + 1]


def _devices(
    value: str | Split, known: Mapping[str, None], path: Path, problems: Problems
) -> Iterator[str]:
    """The devices that a placement's value names."""
    if value == "split":
        yield from known
        return
    names = [value] if isinstance(value, str) else value.split
    seen: set[str] = set()
    for index, name in enumerate(names):
        at = path if isinstance(value, str) else (*path, "split", index)
        if name not in known:
            message = f"there is no device {short(name)!r}"
            help = problems.nearest(name, [*known, "split"])
            problems.add(Diagnostic("unknown-device", message, at, help=help))
        elif name in seen:
            problems.add(
                Diagnostic("bad-placement", f"{short(name)} is listed twice", at)
            )
        else:
            seen.add(name)
            yield name
    if not names:
        problems.add(Diagnostic("bad-placement", "a split needs devices", path))
