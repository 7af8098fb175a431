"""Two sections of a spec, field by field, with values as written in a spec."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, NamedTuple

from pydantic import BaseModel

from specgen.diagnostics import Path
from specgen.ops.conv import Sides
from specgen.ops.start import BiasDistribution
from specgen.schema import UNITS


class Pair(NamedTuple):
    """What differs at a path; values are plain data, None if missing."""

    path: Path
    before: Any
    after: Any


def differing(before: Any, after: Any, path: Path) -> Iterator[Pair]:
    """Yield the fields that differ; for two kinds of models, the whole models."""
    whole = not isinstance(before, BaseModel) or isinstance(before, Sides)
    if whole or type(before) is not type(after) or _other_names(before, after):
        if before != after:
            yield Pair(path, plain(before), plain(after))
        return
    for name in type(before).model_fields:
        here = (*path, name)
        yield from differing(getattr(before, name), getattr(after, name), here)


def _other_names(before: BaseModel, after: BaseModel) -> bool:
    """Whether these are two distributions of different kinds."""
    names = before.model_fields_set, after.model_fields_set
    return isinstance(before, BiasDistribution) and names[0] != names[1]


def size(count: int) -> str:
    """Return a number of bytes as written in a spec: 3GiB, if it is a whole number."""
    unit = max((u for u, n in UNITS.items() if count % n == 0), key=UNITS.__getitem__)
    return f"{count // UNITS[unit]}{unit}"


def plain(value: Any) -> Any:
    """Return a value as it is written in a spec: without what is left to defaults."""
    if isinstance(value, Sides):
        rows, columns = (value.top, value.bottom), (value.left, value.right)
        if len({*rows}) == len({*columns}) == 1:
            return plain((value.top, value.left))
        return value.model_dump(exclude_defaults=True)
    if isinstance(value, BaseModel):
        fields = type(value).model_fields
        return {
            name: plain(getattr(value, name))
            for name, field in fields.items()
            if name in value.model_fields_set or getattr(value, name) != field.default
        }
    if isinstance(value, tuple):
        same = len(value) == 2 and value[0] == value[1]
        return value[0] if same else list(value)
    return value
