"""Cuts one layer into a share for each of its devices.

The shares are equal, consecutive parts of the layer's output channels (or features).
Each says which input channels it reads. Unless its device holds exactly those, they
become a move.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass

from specgen.graph import Move, Node, Piece, Placed, Share
from specgen.ops.applied import Applied, Reads
from specgen.ops.base import ON_ONE, Refusal, Undivided, divisors

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
    applied: Applied
    reads: Reads
    span: range


def cut(node: Node, on: Sequence[str], letter: Mapping[str, str]) -> list[Cut]:
    """Return equal shares of a layer for these devices.

    Raises:
        Refusal: the layer cannot be split this way.
    """
    channels = node.shape[0]
    if channels % len(on):
        raise _indivisible(node, len(on))
    size = channels // len(on)
    cuts = []
    for index, device in enumerate(on):
        span = range(index * size, (index + 1) * size)
        name = node.name + (letter[device] if len(on) > 1 else "")
        cuts.append(Cut(name, device, *node.applied.part(span), span))
    return cuts


def _indivisible(node: Node, count: int) -> Refusal:
    """Say why so many devices cannot share a layer; first, if it cannot be split."""
    try:
        node.applied.part(range(1))
    except Undivided as refusal:
        return refusal
    except Refusal:  # of this one share
        pass
    channels = node.shape[0]
    what = ("features", "tokens", "channels")[min(len(node.shape), 3) - 1]
    listed = divisors(channels)
    prime = listed == f"1, {channels}"
    return Refusal(
        "cannot-split",
        f"{channels} {what} cannot be shared equally by {count} devices",
        help=ON_ONE if prime else f"{channels} can be shared by {listed} devices",
    )


# By value, all pieces of it that devices hold: first where it was made, then copies.
Layouts = dict[str, list[Piece]]


def connect(node: Node, cuts: Sequence[Cut], layouts: Layouts) -> Placed:
    """Return the shares with their inputs, and the moves that these need.

    What it moves, and what it makes, joins the layouts.
    """
    moves: list[Move] = []
    shares = []
    for it in cuts:
        sources = []
        views: dict[tuple[str, range], Piece] = {}
        for index, (value, reads) in enumerate(zip(node.inputs, it.reads, strict=True)):
            if reads is None:
                continue
            found = _cover(reads, layouts[value], it.device)
            piece = views.get((value, reads), found[0][0])
            if piece.device != it.device or piece.span != reads:
                name = f"{it.name}.input" + (str(index) if node.inputs[1:] else "")
                pieces, parts = zip(*found, strict=True)
                shape = (len(reads), *node.input_shapes[index][1:])
                moves.append(Move(name, it.device, value, pieces, parts, shape))
                piece = Piece(name, it.device, reads)
                if moves[-1].local:  # that costs nothing; another layer has its own
                    views[value, reads] = piece
                else:
                    layouts[value].append(piece)
            sources.append(piece.value)
        shape = (len(it.span), *node.shape[1:])
        share = Share(it.name, it.device, it.applied, tuple(sources), shape, it.span)
        shares.append(share)
    layouts[node.name] = [Piece(s.name, s.device, s.span) for s in shares]
    return Placed(node, tuple(moves), tuple(shares))


def _cover(
    reads: range, pieces: Sequence[Piece], device: str
) -> list[tuple[Piece, range]]:
    """Return pieces and the part of each that make up `reads`, as few as can be.

    What the device holds is not taken from others.
    """
    local = [piece for piece in pieces if piece.device == device]
    if same := [piece for piece in local if piece.span == reads]:
        return [(same[0], reads)]
    found = []
    start = reads.start
    while start < reads.stop:
        here = [piece for piece in local if start in piece.span]
        if here:
            piece = max(here, key=lambda piece: piece.span.stop)
            stop = piece.span.stop
        else:
            piece = next(piece for piece in pieces if start in piece.span)
            ahead = [p.span.start for p in local if p.span.start > start]
            stop = min([piece.span.stop, *ahead])
        found.append((piece, range(start, min(stop, reads.stop))))
        start = found[-1][1].stop
    return found
