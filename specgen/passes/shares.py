"""Cuts one layer into a share for each of its devices.

The shares are equal, consecutive parts of the layer's output channels (or features).
Each says which input channels it reads; what its device does not hold just so becomes
a move.
"""

from __future__ import annotations

from collections.abc import Collection, Sequence

from specgen.graph import Move, Node, Piece, Placed, Share
from specgen.ops.base import Refusal, divisors

# x is the tensor on a single device, l and o look like 1 and 0; with more letters, an
# exchange among all would not fit a line.
LETTERS = "abcdefghijkmnpqrstuvwyz"


def letters(devices: Collection[str]) -> dict[str, str]:
    """A share is named after its layer and the letter of its device: conv1a, conv1b."""
    return dict(zip(devices, LETTERS, strict=False))


def cut(
    node: Node, on: Sequence[str], letter: dict[str, str], held: Sequence[Piece]
) -> Placed:
    """Return the shares on these devices, and the moves that they need.

    `held` are the pieces of the layer's input: equal, consecutive and all of it.

    Raises:
        Refusal: the layer cannot be split so.
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
    moves, shares = [], []
    for index, device in enumerate(on):
        span = range(index * size, (index + 1) * size)
        part = node.op.part(node.x, span)
        name = node.name + (letter[device] if len(on) > 1 else "")
        read = _overlapping(part.reads, held)
        if read[0].device == device and read[0].span == part.reads:
            source = read[0].value
        else:
            source = f"{name}.input"
            moves.append(_move(source, device, read, part.reads))
        x = (len(part.reads), *node.x[1:])
        shape = (size, *node.shape[1:])
        shares.append(Share(name, device, part.op, source, x, shape, span))
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
