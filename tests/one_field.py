"""Specs with one field changed: each that is written, and each that has a default.

The new values are of the right type, but many do not fit.
"""

from __future__ import annotations

from collections.abc import Collection, Iterator
from copy import deepcopy
from dataclasses import replace
from typing import Any, Literal, NamedTuple, get_args, get_origin

from pydantic import BaseModel

from specgen.diagnostics import Path
from specgen.frontend.annotations import fields, plain, tagged
from specgen.ops import AnyOp
from specgen.source import Source
from specgen.spec import Device, Spec
from specgen.spec.entries import Wiring

# Other values of fields that take words, or nothing.
WORDS: dict[str, list[Any]] = {
    "bias": ["uniform", 0.5],
    "clip_grad_norm": [1.0],
    "color_noise": [0.2],
    "from": ["input"],  # of the first entry, it is what it reads anyway
    "memory": ["9GiB"],
    "name": ["Other"],
    "names": ["other$(index + 1)"],
    "op": ["tanh", "identity", "batch_norm2d"],
    "output_size": [2],
    "padding": [{"top": 1}, 1],
    "repeat": [3],
    "schedule": [{"kind": "cosine"}, {"kind": "step", "epochs": [2]}],
    "size": [999],
    "std": [50.0],
    "stride": [[1, 2]],
    "weight": ["xavier_uniform", {"normal": {"std": 0.03}}],
    "when": [False],
}


class Change(NamedTuple):
    """Another value at a path; `written` if the spec has one there."""

    path: Path
    value: Any
    written: bool

    def apply(self, source: Source) -> Source:
        """Return a source with this value."""
        data = deepcopy(source.data)
        here: Any = data
        for key in self.path[:-1]:
            here = here.setdefault(key, {}) if isinstance(here, dict) else here[key]
        here[self.path[-1]] = self.value
        return replace(source, data=data)


def changes(source: Source) -> Iterator[Change]:
    """Yield every change of one field."""
    data = source.data
    yield from _written(data, ())
    for name in ("summary", "reference"):
        if name not in data:
            yield Change((name,), "Other", False)
    for name in ("init", "data", "training"):
        yield from _defaults(Spec.model_fields[name].annotation, data, (name,))
    devices = data.get("placement", {}).get("devices", {})
    for name in devices:
        yield from _defaults(Device, devices, ("placement", "devices", name))
    for path, layers in _lists(data):
        for key, entry in _items(layers):
            first = key == next(iter(_items(layers)))[0]
            skip = {"from"} if first else set()
            yield from _entry(entry, (*path, key), data, skip)


def _lists(data: Any, path: Path = ()) -> Iterator[tuple[Path, Any]]:
    """Yield the path and the entries of all `layers`, but not of the placement's."""
    for key, value in _items(data):
        here = (*path, key)
        if here[0] in ("layers", "blocks"):
            if key == "layers" and path[-1:] != ("layers",):  # else an entry's name
                yield here, value
            yield from _lists(value, here)


def _items(data: Any) -> Iterator[tuple[str | int, Any]]:
    if isinstance(data, dict):
        yield from data.items()
    elif isinstance(data, list):
        yield from enumerate(data)


def _written(value: Any, path: Path) -> Iterator[Change]:
    for key, item in _items(value):
        yield from _written(item, (*path, key))
    if not isinstance(value, dict) and path:
        name = next(str(key) for key in reversed(path) if isinstance(key, str))
        for other in _others(name, value):
            yield Change(path, other, True)


def _entry(
    entry: Any, path: Path, data: Any, skip: Collection[str]
) -> Iterator[Change]:
    """Yield what an entry of `layers` leaves at its default."""
    for name in fields(Wiring):
        if name not in entry and name not in skip:
            for other in WORDS[name]:
                yield Change((*path, name), other, False)
    if block := data.get("blocks", {}).get(entry.get("block")):
        for name, default in block.get("params", {}).items():
            for other in _others(name, default):
                for section in ("with", "first"):
                    if name not in entry.get(section, {}):
                        yield Change((*path, section, name), other, False)
    elif "op" in entry:
        op = tagged(plain(AnyOp)[0], "op", entry["op"])
        yield from _defaults(op, {path[-1]: entry}, path, {"op"})


def _defaults(
    annotation: Any, data: Any, path: Path, skip: Collection[str] = ()
) -> Iterator[Change]:
    """Yield other values of the fields that a model has and the spec does not give."""
    given = data.get(path[-1], {})
    model = plain(annotation)[0]
    for name, kind in fields(model).items():
        inner, here = plain(kind)[0], (*path, name)
        if name in skip or not isinstance(given, dict):
            continue
        if isinstance(inner, type) and issubclass(inner, BaseModel):
            yield from _defaults(inner, given, here)
        elif name not in given:
            default = model.model_fields[name].default
            words = get_args(inner) if get_origin(inner) is Literal else ()
            for other in words or _others(name, default):
                if other != default:
                    yield Change(here, other, False)


def _others(name: str, value: Any) -> Iterator[Any]:
    """Yield other values of the same type, and other words."""
    yield from (word for word in WORDS.get(name, ()) if word != value)
    match value:
        case bool():
            yield not value
        case int():
            yield from {value + 1, 2 * value} - {value}
        case float():
            yield value * 1.5 if value else 0.25
        case str() if value.startswith("$("):
            yield from (f"$({value[1:]} + 1)", f"$(not {value[1:]})")
        case str() if value.startswith("$"):
            yield f"$({value[1:]} + 1)"
        case str():
            yield f"{value}x"
        case tuple():
            yield value[0] + 1
        case [first, *rest]:
            yield from (rest, [first, *value])
