"""Each key and value of a spec with blocks counts: a change is seen, or is an error."""

from __future__ import annotations

from collections.abc import Iterator
from copy import deepcopy
from dataclasses import replace
from pathlib import Path
from typing import Any

from specgen.compiler import compile_read
from specgen.diagnostics import SpecError
from specgen.source import parse

SOURCE = parse((Path(__file__).parent / "blocks.yaml").read_bytes(), "blocks.yaml")
Keys = tuple[Any, ...]


def leaves(value: Any, path: Keys = ()) -> Iterator[tuple[Keys, Any]]:
    """Yield all that is in a value, from the outside inward."""
    pairs: Any = ()
    if isinstance(value, dict | list):
        pairs = value.items() if isinstance(value, dict) else enumerate(value)
    for key, item in pairs:
        yield (*path, key), item
        yield from leaves(item, (*path, key))


def inside(data: Any, path: Keys) -> Any:
    for key in path:
        data = data[key]
    return data


def mutants() -> Iterator[tuple[Keys, Any, dict[str, Any]]]:
    """Yield the spec without each of its keys, and with another value for each."""
    for path, value in leaves(SOURCE.data):
        data = deepcopy(SOURCE.data)
        del inside(data, path[:-1])[path[-1]]
        yield path, "nothing", data
        other: Any = None
        match value:
            case bool():
                other = not value
            case int() | float():
                other = value + 1
            case str():
                other = f"{value}x"
        if other is not None:
            data = deepcopy(SOURCE.data)
            inside(data, path[:-1])[path[-1]] = other
            yield path, other, data


def outcome(data: dict[str, Any]) -> object:
    """Return all that a spec defines, or which errors it has."""
    try:
        program = compile_read(replace(SOURCE, data=data), "net")
    except SpecError as error:
        return error.diagnostics
    written = {"params", "blocks", "layers", "placement"}
    others = {
        name: value for name, value in program.spec if name not in written
    }  # of the written ones, the graph is what counts
    return program.graph, program.placed, others


def test_each_change_is_seen_or_refused() -> None:
    before = outcome(SOURCE.data)
    found = {(path, str(new)): outcome(data) for path, new, data in mutants()}
    print(f"tried {len(found)} mutants")
    assert len(found) > 150
    inert = [where for where, after in found.items() if after == before]
    assert inert == []
    refused = [after for after in found.values() if not isinstance(after[-1], dict)]  # type: ignore[index]
    assert 30 < len(refused) < len(found) - 15
