"""Writes down the placed graph as the statements of `forward`.

A tensor on one device is called `x`; shares on several devices are called by their
device's letter: a, b, ... A layer with parameters begins a statement, and the layers
without that follow it are wrapped around it as long as the line holds.
"""

from __future__ import annotations

from collections.abc import Sequence

from specgen.backends import moves
from specgen.backends.layout import bracketed, comments, enumeration, fits
from specgen.graph import INPUT, Placed, PlacedGraph, Share
from specgen.ops.base import Call, Shape
from specgen.passes.shares import letters

INDENT = 8


class Forward:
    """The body of `forward`: `lines`, and the names of the functions they call.

    A final softmax stays out of it; what that reads is fetched all the same.
    """

    def __init__(self, placed: PlacedGraph) -> None:
        self.helpers: set[str] = set()
        self.functional = False  # whether some call is of torch.nn.functional
        self._letters = letters(placed.devices)
        self._held = {INPUT: "x"}  # the variable of each value
        self._paragraphs: list[list[str]] = [[]]
        self._growing: dict[str, str] = {}  # expressions, by their variable
        self._shape: Shape = ()  # of what grows
        for layer in placed.layers:
            self._fetch(layer)
            if not layer.node.op.after_logits:
                self._compute(layer)
        self._flush()
        self._write("return x", "")

    @property
    def lines(self) -> list[str]:
        """The statements, with blank lines between paragraphs."""
        return "\n\n".join(map("\n".join, self._paragraphs)).split("\n")

    def _fetch(self, layer: Placed) -> None:
        """Give each share its input, and begin a new statement where that is due."""
        found = moves.fetches(layer, self._targets(layer), self._held)
        begins = bool(layer.node.parameters())
        if found or begins:
            self._flush()
        if found:
            self._explain(layer)
            shape = _shape(layer.shares[0].input_shape)
            self._paragraphs[-1] += moves.statements(found, shape)
            self.helpers |= moves.helpers(found)
        elif begins and len(layer.shares) > 1:
            self._paragraph()

    def _compute(self, layer: Placed) -> None:
        """Apply the layer to what its shares have fetched."""
        targets, shares = self._targets(layer), layer.shares
        x = shares[0].input_shape
        if pad := shares[0].op.torch(x).pad:
            call = Call("F.pad", (str(pad),))
            self._grow(targets, [call] * len(targets), _padded(x, pad))
            self._flush()
        calls = [self._call(layer, share) for share in shares]
        self._grow(targets, calls, shares[0].shape)
        self._held |= {s.name: to for s, to in zip(shares, targets, strict=True)}

    def _targets(self, layer: Placed) -> list[str]:
        """The variable of each share."""
        if len(layer.shares) == 1:
            return ["x"]
        return [self._letters[share.device] for share in layer.shares]

    def _explain(self, layer: Placed) -> None:
        """Begin a paragraph with why something moves; the input needs no words."""
        name = layer.node.name
        joined = dict.fromkeys(
            tuple(piece.device for piece in move.pieces)
            for move in layer.moves
            if len(move.pieces) > 1
        )
        sources = [self._several(devices) for devices in joined]
        if len(sources) == 1:
            reason = f"{name} reads what {sources[0]} computed."
        elif sources:
            reason = f"{name} reads across {'; '.join(sources)}."
        elif layer.node.inputs[0] == INPUT:
            return
        else:
            on = tuple(share.device for share in layer.shares)
            run = "are split over" if len(on) > 1 else "run on"
            reason = f"From {name} on, layers {run} {self._several(on)}."
        self._paragraph()
        self._paragraphs[-1] += comments([reason], INDENT)

    def _several(self, devices: tuple[str, ...]) -> str:
        """Name devices, or say that it is all of many."""
        if len(devices) > 2 and set(devices) == set(self._letters):
            return f"all {len(devices)} devices"
        return enumeration(devices)

    def _call(self, layer: Placed, share: Share) -> Call:
        form = share.op.torch(share.input_shape)
        if form.function:
            return form.function
        own = bool(layer.node.parameters())
        return Call(f"self.{share.name if own else layer.node.name}")

    def _grow(self, targets: list[str], calls: Sequence[Call], shape: Shape) -> None:
        """Wrap the calls around the growing expressions, or begin new ones."""
        pairs = list(zip(targets, calls, strict=True))
        self.functional |= any(call.name.startswith("F.") for call in calls)
        grown = {to: _apply(call, self._growing.get(to, to)) for to, call in pairs}
        lines = (f"{to} = {value}" for to, value in grown.items())
        if not all(fits(line, INDENT, _shape(shape)) for line in lines):
            self._flush()
            grown = {to: _apply(call, to) for to, call in pairs}
        self._growing, self._shape = grown, shape

    def _flush(self) -> None:
        """Write the growing statements; the shares' shape stands once."""
        comment = _shape(self._shape)
        for to, value in self._growing.items():
            self._write(f"{to} = {value}", comment)
            comment = ""
        self._growing = {}

    def _write(self, line: str, comment: str) -> None:
        self._paragraphs[-1] += bracketed(line, [], "", INDENT, comment)

    def _paragraph(self) -> None:
        if self._paragraphs[-1]:
            self._paragraphs.append([])


def _apply(call: Call, x: str) -> str:
    return f"{call.name}({', '.join((x, *call.args))})"


def _shape(shape: Shape) -> str:
    return f"(N, {', '.join(map(str, shape))})"


def _padded(x: Shape, pad: tuple[int, int, int, int]) -> Shape:
    left, right, top, bottom = pad
    return (x[0], x[1] + top + bottom, x[2] + left + right)
