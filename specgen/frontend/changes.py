"""Changes of single instances: `layers.layer1.0.conv1.stride=2`.

They are written in the entry that the instance comes from, under the names inside of
it: `layer1: {block: basic, repeat: 2, "0": {conv1: {stride: 2}}}`. A change is all that
several places say of one thing, each with its path.
"""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping
from typing import Any

from specgen.diagnostics import Diagnostic, Path, Problems, short
from specgen.frontend.definitions import Entry
from specgen.frontend.entries import USE_KEYS, WIRING
from specgen.frontend.validate import said
from specgen.spec.entries import OP

Change = tuple[tuple[Any, Path], ...]


def own(entry: Entry) -> Change:
    """Return the changes that an entry has for what is inside of it."""
    return ((entry.changes, entry.path),) if entry.changes else ()


def inside(change: Change, name: str) -> Change:
    """Return what a change says of something inside."""
    return tuple((data[name], (*path, name)) for data, path in change if name in data)


def removes(change: Change) -> bool:
    """Tell whether it is `null`: this instance is left out."""
    return any(data is None for data, _ in change)


def mappings(change: Change, problems: Problems) -> Change:
    """Return the change as far as it is of things inside."""
    for data, path in change:
        if not isinstance(data, dict):
            message = f"expected a mapping, got {said(data)}"
            problems.add(Diagnostic("wrong-type", message, path))
    return tuple((data, path) for data, path in change if isinstance(data, dict))


def merged(fields: Mapping[str, Any], change: Change) -> dict[str, Any]:
    """Return fields as they are changed; None removes one, another op all of them."""
    result = dict(fields)
    for data, _ in change:
        if data.get(OP, result.get(OP)) != result.get(OP):
            result.clear()
        _merge(result, data)
    return result


def _merge(fields: dict[str, Any], over: Mapping[str, Any]) -> None:
    for key, value in over.items():
        old = fields.get(key)
        if value is None:
            fields.pop(key, None)
        elif isinstance(old, dict) and isinstance(value, dict):
            fields[key] = dict(old)
            _merge(fields[key], value)
        else:
            fields[key] = value


def places(change: Change, at: Path = ()) -> dict[Path, Path]:
    """Return where each changed field is written, by its path in the layer."""
    return {(*at, key): (*path, key) for data, path in change for key in data}


def left(
    change: Change, taken: Collection[str], valid: Collection[str], problems: Problems
) -> Iterator[Diagnostic]:
    """Yield an error for each name in a change that nothing has."""
    for data, path in change:
        for key in data:
            if key not in taken:
                names = [*valid, *USE_KEYS]
                help = None if key in USE_KEYS else problems.nearest(key, names)
                yield _unknown(key, path, "nothing inside has this name", help)


def fields(change: Change, problems: Problems) -> Change:
    """Return what a change says of a layer's fields: it can have no other keys."""
    found = mappings(change, problems)
    for data, path in found:
        for key in data.keys() & WIRING:
            problems.add(_unknown(key, path, "a single layer has only its fields"))
    return tuple(
        ({key: v for key, v in data.items() if key not in WIRING}, path)
        for data, path in found
    )


def _unknown(key: str, path: Path, why: str, help: str | None = None) -> Diagnostic:
    if key == "when":
        help = f"to leave out {path[-1]}, write null: {path[-1]}: null"
    message = f"unknown key {short(key)}: {why}"
    return Diagnostic("unknown-key", message, (*path, key), at_key=True, help=help)
