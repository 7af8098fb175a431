"""Reads the placement of a spec: names and ranges become the devices of each layer."""

from __future__ import annotations

import re
from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence

from specgen.diagnostics import Diagnostic, Path, Problems, short
from specgen.graph import Assignment, around
from specgen.passes.shares import LETTERS
from specgen.spec import Placement, Split

# A range that is written in another way.
RANGE = re.compile(
    r"\s*([\w.]+?)\s*(?:-|\u2013|:|,|\.{3,}|\u2026| to )\s*(\w[\w.]*)\s*"
)


def assign(
    placement: Placement,
    layers: Collection[str],
    left_out: Mapping[str, int],
    unplaced: Collection[str],
    problems: Problems,
) -> Assignment:
    """Return the devices of each of the layers, in order; some may have none.

    `left_out` has what `when` leaves out, with the index of the next layer: a placement
    can name it, to no effect. Layers that are `unplaced` in the network need no device.
    Reports names that no layer or device has, layers that are left out or placed twice,
    and devices without layers.
    """
    before = len(problems)
    devices = tuple(placement.devices)
    _check_devices(devices, problems)
    if not placement.layers and len(devices) == 1:
        return Assignment(devices, dict.fromkeys(layers, devices))
    ordered = tuple(layers)
    spans = _spans(layers, left_out)
    known = dict.fromkeys(devices)
    where: dict[str, tuple[str, ...]] = {}
    origins: dict[str, Path] = {}
    for key, value in placement.layers.items():
        path = ("placement", "layers", key)
        on = tuple(_devices(value, known, path, problems))
        names = _layers(key, ordered, spans, path, problems)
        if twice := [name for name in names if name in where]:
            message = f"already placed above: {_some(twice)}"
            problems.add(Diagnostic("bad-placement", message, path, at_key=True))
            names = [name for name in names if name not in where]
        where |= dict.fromkeys(names, on)
        origins |= dict.fromkeys(names, path)
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
        cure = f"add it, as in {missing[0]}: {next(iter(devices))}"
        if len(missing) > 1:
            cure = "add them; a range, FIRST..LAST, includes all layers between"
        above = ("placement", "layers")
        problems.add(Diagnostic("bad-placement", message, above, help=cure))
        return
    used = {device for on in where.values() for device in on}
    for device in devices:
        if device not in used:
            message = f"no layer is on {device}"
            place = ("placement", "devices", device)
            problems.add(Diagnostic("no-effect", message, place, at_key=True))


def _some(names: list[str]) -> str:
    return ", ".join(map(short, names[:8])) + (", ..." if len(names) > 8 else "")


def _spans(layers: Iterable[str], left_out: Mapping[str, int]) -> dict[str, range]:
    """Return the indices of the layers that a path stands for: all those below it."""
    spans = {path: range(index, index) for path, index in left_out.items()}
    for index, name in enumerate(layers):
        for path in around(name):
            start = spans[path].start if spans.get(path) else index
            spans[path] = range(start, index + 1)
    return spans


def _span(name: str, spans: Mapping[str, range]) -> range | None:
    """Return what a path stands for: in one that is left out, nothing."""
    for path in around(name):
        if path in spans:
            return spans[path] if path == name or not spans[path] else None
    return None


def _layers(
    key: str,
    layers: Sequence[str],
    spans: Mapping[str, range],
    path: Path,
    problems: Problems,
) -> Sequence[str]:
    """Return the layers that `path` or `first..last` refers to."""
    first, _, last = (part.strip() for part in key.partition(".."))
    ends = (first, last) if ".." in key else (first, first)
    found = {name: _span(name, spans) for name in ends}
    for name, span in found.items():
        if span is None:
            message = f"there is no layer {short(name)!r}"
            help = problems.nearest(name, spans)
            if (meant := RANGE.fullmatch(key)) and spans.keys() >= {*meant.groups()}:
                help = f"write {meant[1]}..{meant[2]}"
            problem = Diagnostic("unknown-layer", message, path, True, help=help)
            problems.add(problem)
    start, stop = found[ends[0]], found[ends[1]]
    if start is None or stop is None:
        return ()
    if start and stop and start[0] > stop[-1]:
        message = f"{ends[0]} comes after {ends[1]}"
        help = f"write {ends[1]}..{ends[0]}"
        problems.add(Diagnostic("bad-placement", message, path, at_key=True, help=help))
    return layers[start.start : stop.stop]


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
