"""Writes the code that brings the shares of one layer their inputs.

A share has a variable. A statement must not overwrite one that a later statement reads:
shares that need each other's variables are assigned together.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import chain

from specgen.backends.layout import bracketed, fits
from specgen.graph import Move, Placed
from specgen.ops.base import SQUEEZE
from specgen.passes import routine

INDENT = 8


@dataclass(frozen=True, slots=True)
class Fetched:
    """What a variable gets: `parts`, expressions of the variables `sources`, joined.

    `to` is the device, or None if the only part is already on it. `origins` are the
    devices of the parts.
    """

    target: str
    parts: tuple[str, ...]
    sources: tuple[str, ...]
    to: str | None
    origins: tuple[str, ...] = ()

    @property
    def call(self) -> tuple[str, tuple[str, ...], str]:
        """The text before the arguments, the arguments, and the text after them."""
        if self.joins:
            return "gather(", (*self.parts, f"to=self.{self.to}"), ")"
        return self.parts[0] + (f".to(self.{self.to})" if self.to else ""), (), ""

    @property
    def joins(self) -> bool:
        """Whether it needs a call to `gather`."""
        return len(self.parts) > 1


def fetches(step: routine.Fetch, row: Sequence[tuple[str, str]]) -> list[Fetched]:
    """What is needed to give each variable of a row its value."""
    moves = {move.name: move for move in step.moves}
    found = []
    for target, value in row:
        if value in moves:
            alone = len(step.layer.shares) == 1
            picked = picks(step.layer)
            move = moves[value]
            found.append(_fetch(target, move, step.held, alone=alone, picked=picked))
        else:
            source = step.held[value]
            found.append(Fetched(target, (source,), (source,), None))
    return found


def picks(layer: Placed) -> bool:
    """Whether it only takes one of what its device has: `x[:, 0]`, without its axis."""
    here = [move for move in layer.moves if move.local]
    return bool(here) and layer.node.applied.form.function == SQUEEZE


def _fetch(
    target: str, move: Move, held: Mapping[str, str], *, alone: bool, picked: bool
) -> Fetched:
    """What brings a move to the target; `alone` if its layer is on one device."""
    sources = tuple(held[piece.value] for piece in move.pieces)
    parts = []
    for source, piece, read in zip(sources, move.pieces, move.reads, strict=True):
        start, stop = (end - piece.span.start for end in (read.start, read.stop))
        part = source
        if picked:
            part = f"{source}[:, {start}]"
        elif len(read) < len(piece.span):
            equal = alone and move.local
            part = _cut(source, start, stop, len(piece.span), equal=equal)
        parts.append(part)
    to = None if move.local else move.device
    origins = tuple(piece.device for piece in move.pieces)
    return Fetched(target, tuple(parts), sources, to, origins)


def _cut(source: str, start: int, stop: int, width: int, *, equal: bool) -> str:
    """What takes some channels of a tensor: one of `equal` parts, if they are that.

    Parts are the same text in all uses of a block, however wide they are. A single
    channel does not grow with the width, so it is a slice. `chunk` would do for parts,
    but where devices are simulated, its backward pass fills the others with zeros on
    the wrong device.
    """
    size = stop - start
    if equal and size > 1 and width % size == start % size == 0:
        count, index = width // size, start // size
        return f"torch.unflatten({source}, 1, ({count}, -1))[:, {index}]"
    return f"{source}[:, {start or ''}:{'' if stop == width else stop}]"


def statements(found: Sequence[Fetched], shape: str) -> list[str]:
    """Return the lines; the common shape of all targets is shown once."""
    groups = _groups(found)
    if not any(map(_is_exchange, groups)) and fits(_line(found), INDENT, shape):
        groups = [list(found)]
    lines = []
    for group in groups:
        lines += _statement(group, shape)
        shape = ""
    return lines


def helpers(found: Sequence[Fetched]) -> set[str]:
    """Names of the functions that `statements` calls."""
    exchange = {"exchange"} if any(map(_is_exchange, _groups(found))) else set()
    gather = {"gather"} if any(fetch.joins for fetch in found) else set()
    return exchange | gather


def _groups(found: Sequence[Fetched]) -> list[list[Fetched]]:
    """Split where nothing later reads a target of anything earlier."""
    if _is_exchange(found):
        return [list(found)]
    groups: list[list[Fetched]] = []
    for fetch in found:
        first = 0
        while first < len(groups) and not any(
            earlier.target in fetch.sources for earlier in groups[first]
        ):
            first += 1
        groups[first:] = [[*chain.from_iterable(groups[first:]), fetch]]
    return groups


def _is_exchange(group: Sequence[Fetched]) -> bool:
    """Whether several devices exchange everything they have."""
    first, everyone = group[0], tuple(fetch.to for fetch in group)
    return all(
        fetch.joins
        and fetch.parts == fetch.sources == first.parts
        and fetch.origins == everyone
        for fetch in group
    )


def _statement(group: Sequence[Fetched], shape: str) -> list[str]:
    targets = [fetch.target for fetch in group]
    start = f"{', '.join(targets)} = "
    if _is_exchange(group):
        return bracketed(f"{start}exchange(", group[0].parts, ")", INDENT, shape)
    if len(group) == 1:
        before, items, after = group[0].call
        return bracketed(start + before, items, after, INDENT, shape)
    if fits(_line(group), INDENT):
        return bracketed(_line(group), [], "", INDENT, shape)
    lines = [f"{' ' * INDENT}{start}("]
    for fetch in group:
        before, items, after = fetch.call
        lines += bracketed(before, items, f"{after},", INDENT + 4)
    return [*lines, f"{' ' * INDENT})" + (f"  # {shape}" if shape else "")]


def _line(group: Sequence[Fetched]) -> str:
    targets = ", ".join(fetch.target for fetch in group)
    calls = (fetch.call for fetch in group)
    values = (before + ", ".join(items) + after for before, items, after in calls)
    return f"{targets} = {', '.join(values)}"
