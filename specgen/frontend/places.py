"""What is where in a spec, for those that merge it."""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping
from dataclasses import replace
from typing import Any, TypeGuard, TypeVar

from specgen.diagnostics import Path
from specgen.frontend.entries import GROUP_KEYS, USE_KEYS
from specgen.source import Source
from specgen.spec.entries import KINDS, OP, USE

T = TypeVar("T")

LAYERS = ("layers",)
BLOCKS = ("blocks",)
PLACED = ("placement", "layers")
TRAINING = ("training",)
NOT_INSIDE = USE_KEYS | GROUP_KEYS  # keys of an entry that name nothing inside of it


def paths(value: Any, path: Path) -> Iterator[Path]:
    """Yield the path of a value and of all that is inside."""
    yield path
    if isinstance(value, dict):
        for key, item in value.items():
            yield from paths(item, (*path, key))
    elif isinstance(value, list):
        for index, item in enumerate(value):
            yield from paths(item, (*path, index))


def without_after(layer: dict[str, Any]) -> dict[str, Any]:
    """Return a new layer without what says where it goes."""
    return {key: value for key, value in layer.items() if key != "after"}


def is_layers(path: Path) -> bool:
    """Tell whether layers are at a path: of the network, a block or a group."""
    start = {"layers": 0, "blocks": 2}.get(str(path[0])) if path else None
    if start is None or len(path) % 2 == 0:
        return False
    return {*path[start::2]} == {*LAYERS}


def of_instance(base: dict[str, Any], key: str, path: Path) -> bool:
    """Tell whether a key in an entry can name something inside of it."""
    is_entry = bool(path) and is_layers(path[:-1])
    return is_entry and key not in NOT_INSIDE and "op" not in base


def numbered(top: Source, path: Path) -> Source:
    """Return a source in which a path ends with a number."""
    end = len(path)
    number = int(str(path[-1]))

    def renamed(places: Mapping[Path, T]) -> dict[Path, T]:
        return {
            (*path[:-1], number, *place[end:]): value
            for place, value in places.items()
            if place[:end] == path
        }

    return replace(
        top,
        keys=renamed(top.keys),
        values=renamed(top.values),
        comments=renamed(top.comments),
    )


def is_block(value: Any) -> bool:
    """Tell whether a value has all layers of a block: each says what it is."""
    layers = value.get("layers") if isinstance(value, dict) else None
    each = layers.values() if isinstance(layers, dict) else layers
    return isinstance(each, Collection) and all(
        isinstance(layer, dict) and layer.keys() & set(KINDS) for layer in each
    )


def same_kind(old: Any, new: Any, path: Path) -> TypeGuard[dict[str, Any]]:
    """Tell whether two values at a path are mappings that can be merged."""
    if not (isinstance(old, dict) and isinstance(new, dict)):
        return False
    if path[:-1] == TRAINING:  # a schedule or an optimizer
        tags: tuple[str, ...] = ("kind",)
    elif is_layers(path[:-1]):
        kinds = [value.keys() & set(KINDS) for value in (old, new)]
        if all(kinds) and kinds[0] != kinds[1]:
            return False
        tags = (OP, USE)
    else:
        tags = (OP,) if _is_inside(path) and isinstance(new.get(OP), str) else ()
    return all(tag not in old or new.get(tag, old[tag]) == old[tag] for tag in tags)


def _is_inside(path: Path) -> bool:
    """Tell whether a path is that of something inside of an entry."""
    ends = (end for end in range(2, len(path)) if is_layers(path[: end - 1]))
    return any(not NOT_INSIDE & {*path[end:]} for end in ends)


def is_whole(value: dict[str, Any], path: Path) -> bool:
    """Tell whether a mapping has every key that is possible in its place.

    A placement with devices and layers is a new one; with only one of them, a change.
    """
    return path == PLACED[:1] and value.keys() >= {"devices", "layers"}
