"""Edits of a spec: every field changed, every layer removed, added and renamed."""

from __future__ import annotations

from collections.abc import Iterator
from copy import deepcopy
from typing import Any, NamedTuple

from pydantic import BaseModel

from specgen.compiler import Program

Data = dict[str, Any]

# Values for fields that have none, or that take one of a few words.
OTHERS: dict[str, list[Any]] = {
    "clip_grad_norm": [1.0],
    "color_noise": [0.2],
    "std": [50.0],
    "stride": [2],
    "memory": ["5GiB"],
    "bias": [0.5],
    "weight": ["kaiming_normal", {"normal": {"std": 0.02}}],
    "precision": ["bfloat16"],
    "schedule": [
        {"kind": "cosine"},
        {"kind": "step", "epochs": [2]},
        {"kind": "plateau", "patience": 2, "drops": 1},
        None,
    ],
    "epochs": [[3], 77],
}
FIXED = {"specgen", "op", "kind"}


class Edit(NamedTuple):
    """A path of the spec, and the whole data with another value there."""

    path: tuple[str, ...]
    data: Data


def edits(program: Program) -> Iterator[Edit]:
    """Yield every field of the schema with other values; many do not compile."""
    data = plain(program)
    for path, value in _fields(program.spec, ()):
        for other in _others(path[-1], value):
            yield Edit(path, edited(data, path, other))
    for name in program.spec.layers:
        yield Edit(("layers", name), edited(data, ("layers", name), None))
    for name in program.spec.placement.layers:
        devices = list(program.spec.placement.devices)
        for device in (*devices, *(["split"] if len(devices) > 1 else [])):
            path = ("placement", "layers", name)
            yield Edit(path, edited(data, path, device))


def plain(program: Program) -> Data:
    """Return what a spec says, with every short form written out."""
    return program.spec.model_dump(exclude_unset=True)


def edited(data: Data, path: tuple[str, ...], value: Any) -> Data:
    """Return a copy with another value at a path; None removes the key."""
    changed = deepcopy(data)
    here = changed
    for key in path[:-1]:
        here = here.setdefault(key, {})
    if value is None:
        here.pop(path[-1], None)
    else:
        here[path[-1]] = value
    return changed


def insert(data: Data, after: str, name: str, layer: Data) -> Data:
    """Return a copy with a layer after another, placed on the same devices."""
    changed = deepcopy(data)
    layers = {}
    for key, value in changed["layers"].items():
        layers[key] = value
        if key == after:
            layers[name] = layer
    return changed | {"layers": layers}


def rename(data: Data, old: str, new: str) -> Data:
    """Return a copy where a layer has another name, in the placement, too."""
    changed = deepcopy(data)
    layers = changed["layers"].items()
    changed["layers"] = {new if key == old else key: value for key, value in layers}
    placed = changed.get("placement", {}).get("layers", {})
    for key in list(placed):
        ends = [new if end == old else end for end in key.split("..")]
        placed["..".join(ends)] = placed.pop(key)
    return changed


def _fields(value: Any, path: tuple[str, ...]) -> Iterator[tuple[tuple[str, ...], Any]]:
    """Yield the fields of a model, and of the models in it."""
    items: Any = ()
    if isinstance(value, BaseModel):
        names = type(value).model_fields
        items = [(name, getattr(value, name)) for name in names if name not in FIXED]
    elif isinstance(value, dict):
        items = value.items()
    for key, item in items:
        here = (*path, key)
        yield here, item
        yield from _fields(item, here)


def _others(name: str, value: Any) -> Iterator[Any]:
    """Yield other values than this one, of the same kind."""
    yield from (other for other in OTHERS.get(name, ()) if other != value)
    match value:
        case bool():
            yield not value
        case int():
            yield from (value + 1, 2 * value, value // 2)
        case float():
            yield from (value * 1.5, value / 2 if value else 0.25)
        case str():
            yield value + "x"
        case (int(a), int(b)):
            yield from (a + 1, 2 * a, [a, b + 1], [a + 1, b])
