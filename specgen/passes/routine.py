"""The steps of `forward`, with the variables that they read and assign."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass

from specgen.graph import Move, Placed, Scope


@dataclass(frozen=True, slots=True)
class Fetch:
    """Brings values to where a layer reads them, row by row.

    A row has variables and the values they get, all at once: those of `moves`, or ones
    that other variables have. No row takes a variable that a later one reads. `held` is
    the variable of each value that is read.
    """

    layer: Placed
    moves: tuple[Move, ...]
    rows: tuple[tuple[tuple[str, str], ...], ...]
    held: Mapping[str, str]


@dataclass(frozen=True, slots=True)
class Pad:
    """Adds zeros to the input of each share of a layer."""

    layer: Placed
    operands: tuple[str, ...]
    variables: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Apply:
    """Applies layers, one to the output of the other: a statement for each variable.

    `operands` are the variables that the first layer reads, for each of its shares.
    """

    layers: tuple[Placed, ...]
    operands: tuple[tuple[str, ...], ...]
    variables: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Run:
    """Runs the routine of a scope; `variables` are what it returns."""

    routine: Routine
    operands: tuple[str, ...]
    variables: tuple[str, ...]


Step = Fetch | Pad | Apply | Run


@dataclass(frozen=True, slots=True)
class Routine:
    """What a scope does, or the whole network where `scope` is None.

    `arguments` and `results` are variables and their values. A group in which each
    reads only the one before is a `sequence`: nn.Sequential can run it.
    """

    scope: Scope | None
    arguments: tuple[tuple[str, str], ...]
    steps: tuple[Step, ...]
    results: tuple[tuple[str, str], ...]
    sequence: bool = False


def walk(routine: Routine) -> Iterator[tuple[Routine, Step]]:
    """Yield every step in the order in which it runs, with the routine it is in."""
    for step in routine.steps:
        yield routine, step
        if isinstance(step, Run):
            yield from walk(step.routine)
