"""Cuts one layer into a share for each of its devices.

The shares are equal, consecutive parts of the layer's output channels (or features).
Each says which input channels it reads. Unless its device holds exactly those, they
become a move.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass

from specgen.graph import Move, Node, Piece, Placed, Share
from specgen.ops.base import Part, Refusal, divisors

# x is the tensor on a single device, l and o look like 1 and 0. With more letters, an
# exchange among all devices would not fit on a line.
LETTERS = "abcdefghijkmnpqrstuvwyz"


def letters(devices: Collection[str]) -> dict[str, str]:
    """A share is named after its layer and the letter of its device: conv1a, conv1b."""
    return dict(zip(devices, LETTERS, strict=False))


@dataclass(frozen=True, slots=True)
class Cut:
    """The part of a layer that one device computes, wherever its input is."""

    name: str
    device: str
    part: Part
    span: range


def cut(node: Node, on: Sequence[str], letter: Mapping[str, str]) -> list[Cut]:
    """Return equal shares of a layer for these devices.

    Raises:
        Refusal: the layer cannot be split this way.
    """
    channels = node.shape[0]
    if channels % len(on):
        what = "channels" if len(node.shape) == 3 else "features"
        raise Refusal(
            "cannot-split",
            f"{channels} {what} cannot be shared equally by {len(on)} devices",
            help=f"{channels} can be shared by {divisors(channels)} devices",
        )
    size = channels // len(on)
    cuts = []
    for index, device in enumerate(on):
        span = range(index * size, (index + 1) * size)
        name = node.name + (letter[device] if len(on) > 1 else "")
        cuts.append(Cut(name, device, node.op.part(node.x, span), span))
    return cuts


def connect(node: Node, cuts: Sequence[Cut], held: Sequence[Piece]) -> Placed:
    """Return the shares with their inputs, and the moves that these need.

    `held` has the pieces of the layer's input: equal, consecutive, together all of it.
    """
    moves, shares = [], []
    for it in cuts:
        reads = it.part.reads
        read = _overlapping(reads, held)
        if read[0].device == it.device and read[0].span == reads:
            source = read[0].value
        else:
            source = f"{it.name}.input"
            moves.append(_move(source, it.device, read, reads))
        x = (len(reads), *node.x[1:])
        shape = (len(it.span), *node.shape[1:])
        shares.append(Share(it.name, it.device, it.part.op, source, x, shape, it.span))
    return Placed(node, tuple(moves), tuple(shares))


def pieces(layer: Placed) -> tuple[Piece, ...]:
    """The output of a layer, where its shares leave it."""
    return tuple(Piece(s.name, s.device, s.span) for s in layer.shares)


def _overlapping(reads: range, held: Sequence[Piece]) -> tuple[Piece, ...]:
    size = len(held[0].span)
    return tuple(held[reads.start // size : (reads.stop - 1) // size + 1])


def _move(name: str, device: str, read: tuple[Piece, ...], reads: range) -> Move:
    parts = tuple(
        range(max(reads.start, piece.span.start), min(reads.stop, piece.span.stop))
        for piece in read
    )
    return Move(name, device, read, parts, reads)
