"""What a spec defines, not yet expanded: the entries of `layers`, and blocks."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from specgen.diagnostics import Path
from specgen.ops.base import Op

BLOCKS, PARAMS = "blocks", "params"


@dataclass(frozen=True, slots=True)
class Fields:
    """An op as it is written; `op` is what it is if no field is computed.

    It is None where it is wrong.
    """

    fields: Mapping[str, Any]
    op: Op | None
    computed: bool


@dataclass(frozen=True, slots=True)
class Inner:
    """The entries of a group."""

    entries: tuple[Entry, ...]


@dataclass(frozen=True, slots=True)
class Used:
    """A use of a block: values of its params; `first` are those of the first."""

    block: str
    values: Mapping[str, Any]
    first: Mapping[str, Any]


@dataclass(frozen=True, slots=True)
class Entry:
    """One entry of `layers`.

    `key` is its name; a list numbers those without one. `sources` has each name that it
    reads by its place: None for the entry before, empty where it is wrong. `body` is
    None where that is wrong. `changes` are for single instances of what is inside.
    """

    path: Path
    key: str | None
    sources: Mapping[Path, str] | None
    body: Fields | Inner | Used | None
    when: bool | str = True
    repeat: int | str | None = None
    names: str | None = None
    changes: Mapping[str, Any] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Definition:
    """A block: its params with their defaults, its inputs and its entries."""

    name: str
    params: Mapping[str, Any]
    inputs: tuple[str, ...]
    entries: tuple[Entry, ...]

    @property
    def path(self) -> Path:
        """Its place in the spec."""
        return (BLOCKS, self.name)
