"""Writes down the placed graph as the statements of `forward`.

A tensor on one device is called `x`; shares on several devices are called by their
device's letter: a, b, ... A layer with parameters begins a statement, and the layers
without that follow it are wrapped around it as long as the line holds.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

from specgen.backends.layout import WIDTH, bracketed
from specgen.graph import INPUT, Move, Placed, Share
from specgen.ops.base import Call, Shape

INDENT = 8


@dataclass
class Forward:
    """The statements so far, and the expressions that still grow."""

    letters: dict[str, str]
    lines: list[str] = field(default_factory=list)
    helpers: set[str] = field(default_factory=set)
    variables: dict[str, str] = field(default_factory=lambda: {INPUT: "x"})
    _targets: list[str] = field(default_factory=list)
    _growing: list[str] = field(default_factory=list)
    _shape: Shape = ()
    _several: bool = False

    def layer(self, placed: Placed) -> None:
        """Add one layer."""
        shares = placed.shares
        several = len(shares) > 1
        targets = [self.letters[s.device] for s in shares] if several else ["x"]
        form = placed.node.op.torch(placed.node.x)
        fetched = self._fetches(placed, targets)
        if fetched or form.pad or placed.node.parameters():
            self._flush()
            if placed.node.parameters() and (several or self._several):
                self._blank()
            self._several = several
        if fetched:
            self._fetch(placed, targets)
        if form.pad:
            top_left = f"{form.pad}"
            padded = _padded(shares[0].input_shape, form.pad)
            pads = [f"F.pad({target}, {top_left})" for target in targets]
            self._assign(targets, pads, _shape(padded))
        calls = [self._call(placed, share) for share in shares]
        self._grow(targets, calls, shares[0].shape)
        for share, target in zip(shares, targets, strict=True):
            self.variables[share.name] = target

    def finish(self, softmax: Placed | None) -> str:
        """Return the expression of the logits, whole on one device.

        The softmax stays out of `forward`; what it reads is fetched all the same.
        """
        if softmax and self._fetches(softmax, ["x"]):
            self._flush()
            self._fetch(softmax, ["x"])
            return "x"
        (result,) = self._growing
        return result

    def _fetches(self, placed: Placed, targets: list[str]) -> bool:
        """Whether some share's input is not yet in its variable."""
        held = [self.variables.get(share.input) for share in placed.shares]
        return held != targets

    def _fetch(self, placed: Placed, targets: list[str]) -> None:
        """Write the statement that gives every share its input."""
        name, shares = placed.node.name, placed.shares
        moves = {move.name: move for move in placed.moves}
        sources = {p.device: p.value for move in placed.moves for p in move.pieces}
        shape = _shape(shares[0].input_shape)
        several = len(sources) > 1
        if several:
            self._comment(f"{name} reads what {_and(list(sources))} computed.")
        everyone = list(sources) == [share.device for share in shares]
        if several and everyone and all(_whole(move) for move in placed.moves):
            self.helpers |= {"exchange", "gather"}
            call = [self.variables[value] for value in sources.values()]
            start = f"{', '.join(targets)} = exchange("
            self.lines += bracketed(start, call, ")", INDENT, shape)
            return
        values = []
        for share in shares:
            move = moves.get(share.input)
            values.append(self._moved(move) if move else self.variables[share.input])
        self._assign(targets, values, shape)

    def _moved(self, move: Move) -> str:
        """Expression that brings the pieces to the move's device."""
        parts = []
        for piece, read in zip(move.pieces, move.reads, strict=True):
            start, stop = (end - piece.span.start for end in (read.start, read.stop))
            variable = self.variables[piece.value]
            if len(read) < len(piece.span):
                first = "" if start == 0 else start
                last = "" if stop == len(piece.span) else stop
                variable = f"{variable}[:, {first}:{last}]"
            parts.append(variable)
        if len(parts) > 1:
            self.helpers.add("gather")
            return f"gather({', '.join(parts)}, to=self.{move.device})"
        here = move.pieces[0].device == move.device
        return parts[0] if here else f"{parts[0]}.to(self.{move.device})"

    def _call(self, placed: Placed, share: Share) -> Call:
        form = share.op.torch(share.input_shape)
        if form.function:
            return form.function
        own = bool(placed.node.parameters())
        return Call(f"self.{share.name if own else placed.node.name}")

    def _grow(self, targets: list[str], calls: Sequence[Call], shape: Shape) -> None:
        """Wrap the calls around the growing expressions, or begin new ones."""
        grown = self._growing if self._targets == targets else []
        if grown and any(
            len(_line(target, _apply(call, inner), shape)) > WIDTH
            for target, call, inner in zip(targets, calls, grown, strict=True)
        ):
            self._flush()
            grown = []
        inside = grown or targets
        self._growing = [_apply(c, x) for c, x in zip(calls, inside, strict=True)]
        self._targets, self._shape = targets, shape

    def _flush(self) -> None:
        """Write the growing statements; the shares' shape stands once."""
        comment = _shape(self._shape)
        for target, value in zip(self._targets, self._growing, strict=True):
            self.lines += bracketed(f"{target} = {value}", [], "", INDENT, comment)
            comment = ""
        self._targets, self._growing = [], []

    def _assign(self, targets: list[str], values: list[str], comment: str) -> None:
        start = f"{', '.join(targets)} = "
        line = f"{' ' * INDENT}{start}{', '.join(values)}"
        if len(targets) > 1 and len(line) + len(comment) + 4 > WIDTH:
            self.lines += bracketed(f"{start}(", values, f")  # {comment}", INDENT)
        else:
            self.lines += bracketed(
                f"{start}{', '.join(values)}", [], "", INDENT, comment
            )

    def _comment(self, text: str) -> None:
        self.lines.append(f"{' ' * INDENT}# {text}")

    def _blank(self) -> None:
        if self.lines:
            self.lines.append("")


def _apply(call: Call, x: str) -> str:
    return f"{call.name}({', '.join((x, *call.args))})"


def _line(target: str, value: str, shape: Shape) -> str:
    return f"{' ' * INDENT}{target} = {value}  # {_shape(shape)}"


def _shape(shape: Shape) -> str:
    return f"(N, {', '.join(map(str, shape))})"


def _padded(x: Shape, pad: tuple[int, int, int, int]) -> Shape:
    left, right, top, bottom = pad
    return (x[0], x[1] + top + bottom, x[2] + left + right)


def _whole(move: Move) -> bool:
    return all(p.span == read for p, read in zip(move.pieces, move.reads, strict=True))


def _and(names: list[str]) -> str:
    return f"{', '.join(names[:-1])} and {names[-1]}"
