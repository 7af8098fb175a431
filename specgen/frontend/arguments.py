"""The values that a use of a block gives to the block's params."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import replace
from typing import Any

from specgen.diagnostics import Diagnostic, Path, Place, Problems, short
from specgen.frontend.advice import listing
from specgen.frontend.changes import Change
from specgen.frontend.computing import Names, Unknown, compute, typed
from specgen.frontend.definitions import BLOCKS, PARAMS, Definition, Used
from specgen.frontend.expressions import Value, is_expression
from specgen.spec.entries import FIRST, WITH


def given(
    body: Used, path: Path, change: Change, *, first: bool
) -> Iterator[tuple[Path, Mapping[str, Any]]]:
    """Yield the values that are written for an instance, each with its place.

    `path` is that of the use, which the instance comes from.
    """
    yield (*path, WITH), body.values
    if first:
        yield (*path, FIRST), body.first
    for data, changed in change:
        if isinstance(data.get(WITH), dict):
            yield (*changed, WITH), data[WITH]


def arguments(
    block: Definition,
    written: Iterable[tuple[Path, Mapping[str, Any]]],
    path: Path,
    outside: Names,
    inside: Callable[[Mapping[str, Value]], Names],
    params: Mapping[str, Value],
    problems: Problems,
) -> dict[str, Value]:
    """Return the value of each param of a block that is used at a path.

    Values are computed by the names `outside`, defaults by those `inside`: the params
    of the spec, and those of the block so far.

    Raises:
        Unknown: one is wrong, or missing.
    """
    values: dict[str, tuple[Value, Path]] = {}
    places: dict[str, Path] = {}
    for place, more in written:
        for name, value in more.items():
            here = (*path, place[-1], name)
            if name in block.params:
                values[name] = compute(value, here, outside), here
                places[name] = (*place, name)
            else:
                help = problems.nearest(name, block.params) or listing(block.params)
                message = f"the block {block.name} has no param {short(name)}"
                found = Diagnostic("unknown-param", message, here, True, help=help)
                raise Unknown(found)
    use = problems.places.get(str(path[1]), Place(path))
    problems.places[str(path[1])] = replace(use, given=places)
    known: dict[str, Value] = {}
    for name, default in block.params.items():
        if name in values:
            known[name] = typed(*values[name], default)
        elif default is None:
            message = f"{name} is missing: the block {block.name} needs it"
            raise Unknown(Diagnostic("missing-key", message, path, at_key=True))
        else:
            here = (BLOCKS, block.name, PARAMS, name)
            known[name] = compute(default, here, inside({**params, **known}))
            if not is_expression(default):
                typed(default, here, default)  # a list or mapping is no value
    return known
