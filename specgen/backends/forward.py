"""Prints the schedule of a placed graph as the statements of `forward`."""

from __future__ import annotations

from collections.abc import Sequence

from specgen.backends import moves
from specgen.backends.layout import bracketed, comments, enumeration, fits
from specgen.graph import INPUT, Placed, PlacedGraph, Share
from specgen.ops.base import Call, Shape
from specgen.passes.schedule import Apply, Fetch, Pad, X, schedule

INDENT = 8


class Forward:
    """The body of `forward`: `lines`, and the names of the functions they call."""

    def __init__(self, placed: PlacedGraph) -> None:
        self.helpers: set[str] = set()
        self.functional = False  # whether some call is of torch.nn.functional
        self._devices = placed.devices
        self._paragraphs: list[list[str]] = [[]]
        previous: Placed | None = None
        for step in schedule(placed):
            first = step.layers[0] if isinstance(step, Apply) else step.layer
            begins = len(first.shares) > 1 and bool(first.node.parameters())
            if begins and first is not previous and not isinstance(step, Fetch):
                self._paragraph()
            match step:
                case Fetch():
                    self._fetch(step)
                case Pad():
                    self._pad(step)
                case Apply():
                    self._apply(step)
            previous = first
        self._paragraphs[-1].append(f"{' ' * INDENT}return {X}")

    @property
    def lines(self) -> list[str]:
        """The statements, with blank lines between paragraphs."""
        return "\n\n".join(map("\n".join, self._paragraphs)).split("\n")

    def _fetch(self, step: Fetch) -> None:
        """Give each share its input, and say why."""
        found = moves.fetches(step)
        self._explain(step.layer)
        shape = _shape(step.layer.shares[0].input_shape)
        self._paragraphs[-1] += moves.statements(found, shape)
        self.helpers |= moves.helpers(found)

    def _pad(self, step: Pad) -> None:
        """Add zeros to the input of each share."""
        share = step.layer.shares[0]
        pad = share.op.torch(share.input_shape).pad
        assert pad, "it has been scheduled"
        call = Call("F.pad", (str(pad),))
        shape = _padded(share.input_shape, pad)
        self._write(step.variables, [[call]] * len(step.variables), shape)

    def _apply(self, step: Apply) -> None:
        """Apply the layers to what their shares have fetched."""
        chains = zip(*(layer.shares for layer in step.layers), strict=True)
        calls = [
            [
                _call(layer, share)
                for layer, share in zip(step.layers, chain, strict=True)
            ]
            for chain in chains
        ]
        self._write(step.variables, calls, step.layers[-1].shares[0].shape)

    def _explain(self, layer: Placed) -> None:
        """Begin a paragraph by saying why something moves, except for the input."""
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
        """Name the devices, or say "all" if there are many."""
        if len(devices) > 2 and set(devices) == set(self._devices):
            return f"all {len(devices)} devices"
        return enumeration(devices)

    def _write(
        self, variables: Sequence[str], calls: Sequence[Sequence[Call]], shape: Shape
    ) -> None:
        """Write a statement for each variable; the shape is shown once."""
        self.functional |= any(call.name.startswith("F.") for call in calls[0])
        comment = _shape(shape)
        for variable, nested in zip(variables, calls, strict=True):
            self._paragraphs[-1] += _statement(variable, nested, comment)
            comment = ""

    def _paragraph(self) -> None:
        if self._paragraphs[-1]:
            self._paragraphs.append([])


def _call(layer: Placed, share: Share) -> Call:
    form = share.op.torch(share.input_shape)
    if form.function:
        return form.function
    own = bool(layer.node.parameters())
    return Call(f"self.{share.name if own else layer.node.name}")


def _statement(variable: str, calls: Sequence[Call], comment: str) -> list[str]:
    """Return `variable = outer(inner(variable))`, as the formatter breaks it."""
    start = f"{variable} = "
    line = start + _expression(calls, variable)
    if fits(line, INDENT, comment) or len(calls) == 1:
        return bracketed(line, [], "", INDENT, comment)
    above = [f"{' ' * INDENT}# {comment}"] if comment else []
    return above + _broken(start, calls, variable, "", INDENT)


def _broken(
    before: str, calls: Sequence[Call], x: str, after: str, indent: int
) -> list[str]:
    pad, inner = " " * indent, indent + 4
    line = before + _expression(calls, x) + after
    if fits(line, indent) or len(calls) == 1:
        return [pad + line]
    *others, outer = calls
    lines = [f"{pad}{before}{outer.name}("]
    body = ", ".join((_expression(others, x), *outer.args))
    if fits(body, inner):
        lines.append(" " * inner + body)
    elif outer.args:
        lines += _broken("", others, x, ",", inner)
        lines += [f"{' ' * inner}{argument}," for argument in outer.args]
    else:
        lines += _broken("", others, x, "", inner)
    return [*lines, f"{pad}){after}"]


def _expression(calls: Sequence[Call], x: str) -> str:
    """Return calls around a variable, with the first innermost."""
    for call in calls:
        x = f"{call.name}({', '.join((x, *call.args))})"
    return x


def _shape(shape: Shape) -> str:
    return f"(N, {', '.join(map(str, shape))})"


def _padded(x: Shape, pad: tuple[int, int, int, int]) -> Shape:
    left, right, top, bottom = pad
    return (x[0], x[1] + top + bottom, x[2] + left + right)
