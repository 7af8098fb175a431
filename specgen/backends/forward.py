"""Prints the schedule of a placed graph as the statements of `forward`."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

from specgen.backends import moves
from specgen.backends.expression import (
    Called,
    Expression,
    Joined,
    Several,
    assign,
    give_back,
)
from specgen.backends.layout import comments, enumeration
from specgen.backends.parts import attribute
from specgen.graph import INPUT, Placed, PlacedGraph
from specgen.ops.base import Call, Infix, Shape
from specgen.passes.routine import Apply, Fetch, Pad, Routine, Run

INDENT = 8


class Forward:
    """The body of `forward`: `lines`, and the names of the functions they call.

    Without `shown`, comments with shapes are left out: they differ between the uses of
    a class.
    """

    def __init__(
        self, placed: PlacedGraph, routine: Routine, *, shown: bool = True
    ) -> None:
        self.helpers: set[str] = set()
        self.functional = False  # whether some call is of torch.nn.functional
        self._devices, self._shown = placed.devices, shown
        self._prefix = f"{routine.scope.path}." if routine.scope else ""
        self._shapes = placed.shapes
        known = {variable for variable, _ in routine.arguments}
        results = [variable for variable, _ in routine.results]
        # mypy must be told the type of a single result.
        self._untyped = set(results) - known if len(results) == 1 else set()
        self._returned = False
        self._paragraphs: list[list[str]] = [[]]
        self._on: tuple[str, ...] = ()  # the devices of the layer before
        # The network's own ends with a statement of its own; mypy knows its type.
        self._last = routine.steps[-1] if routine.scope and len(results) == 1 else None
        if loop := self._loop(routine):
            self._paragraphs[-1] += loop
        else:
            self._steps(routine)
        if not self._returned:
            self._paragraphs[-1].append(f"{' ' * INDENT}return {', '.join(results)}")

    def _steps(self, routine: Routine) -> None:
        previous: Placed | None = None
        for step in routine.steps:
            if isinstance(step, Run):
                self._run(step)
                previous = None
                continue
            first = step.layers[0] if isinstance(step, Apply) else step.layer
            begins = len(first.shares) > 1 and bool(first.node.applied.parameters)
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
            self._on = tuple(share.device for share in first.shares)

    def _loop(self, routine: Routine) -> list[str]:
        """Return a loop if all that a routine does is to run blocks one by one."""
        names = [variable for variable, _ in routine.arguments]
        runs = [step for step in routine.steps if isinstance(step, Run)]
        same = all([*run.operands] == [*run.variables] == names for run in runs)
        if len(runs) < max(2, len(routine.steps)) or not same:
            return []
        body = f"{', '.join(names)} = block({', '.join(names)})"
        pad = " " * INDENT
        return [f"{pad}for block in self.children():", f"{pad}    {body}"]

    def _run(self, step: Run) -> None:
        """Call the module of a scope."""
        scope = step.routine.scope
        assert scope, "the network runs no other"
        value = Called(attribute(scope.leaf), step.operands)
        shape = ""
        if self._shown:
            shape = _shape(self._shapes[step.routine.results[0][1]])
        self._paragraphs[-1] += assign(
            self._target(step.variables), value, INDENT, shape
        )

    @property
    def lines(self) -> list[str]:
        """The statements, with blank lines between paragraphs."""
        return "\n\n".join(map("\n".join, self._paragraphs)).split("\n")

    def _fetch(self, step: Fetch) -> None:
        """Give each share its input, and say why."""
        self._explain(step)
        shapes = {
            name: shape
            for share in step.layer.shares
            for name, shape in zip(share.inputs, share.input_shapes, strict=True)
        }
        for row in step.rows:
            found = moves.fetches(step, row)
            self.helpers |= moves.helpers(found)
            if len(row) == 1:
                found = [replace(found[0], target=self._target([found[0].target]))]
            else:
                for variable in [v for v, _ in row if v in self._untyped]:
                    declared = f"{' ' * INDENT}{self._target([variable])}"
                    self._paragraphs[-1].append(declared)
            read = shapes[row[0][1]]
            read = read[1:] if moves.picks(step.layer) else read
            shape = _shape(read) if self._shown else ""
            self._paragraphs[-1] += moves.statements(found, shape)

    def _pad(self, step: Pad) -> None:
        """Add zeros to the input of each share."""
        share = step.layer.shares[0]
        pad = share.applied.form.pad
        assert pad, "it has been scheduled"
        self.functional = True
        values = [Called("F.pad", (x, str(pad))) for x in step.operands]
        self._write(step.variables, values, _padded(share.x, pad))

    def _apply(self, step: Apply) -> None:
        """Apply the layers to what their shares have fetched."""
        values = [
            _chain(step.layers, number, operands)
            for number, operands in enumerate(step.operands)
        ]
        self.functional |= any(map(_is_functional, step.layers))
        shape = step.layers[-1].shares[0].shape
        if step is self._last and _is_typed(values[0]):
            self._returned = True
            comment = _shape(shape) if self._shown else ""
            self._paragraphs[-1] += give_back(values[0], INDENT, comment)
        else:
            self._write(step.variables, values, shape)

    def _explain(self, step: Fetch) -> None:
        """Begin a paragraph by saying why something moves, except for the input."""
        layer, name = step.layer, step.layer.node.name.removeprefix(self._prefix)
        joined = dict.fromkeys(
            tuple(piece.device for piece in move.pieces)
            for move in step.moves
            if len(move.pieces) > 1
        )
        sources = [self._several(devices) for devices in joined]
        if len(sources) == 1:
            reason = f"{name} reads what {sources[0]} computed."
        elif sources:
            reason = f"{name} reads across {'; '.join(sources)}."
        elif all(move.value == INPUT or move.local for move in step.moves):
            return
        elif self._on == (on := tuple(share.device for share in layer.shares)):
            pieces = [(m.device, p) for m in step.moves for p in m.pieces]
            far = dict.fromkeys(
                p.device for to, p in pieces if p.device not in ("", to)
            )
            reason = f"{name} reads what {self._several(tuple(far))} computed."
        else:
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
        self, variables: Sequence[str], values: Sequence[Expression], shape: Shape
    ) -> None:
        """Write a statement for each variable; the shape is shown once."""
        comment = _shape(shape) if self._shown else ""
        for variable, value in zip(variables, values, strict=True):
            if variable != value:
                target = self._target([variable])
                self._paragraphs[-1] += assign(target, value, INDENT, comment)
                comment = ""

    def _target(self, variables: Sequence[str]) -> str:
        """Return what a statement assigns; at first, with its type if it needs one."""
        if len(variables) == 1 and variables[0] in self._untyped:
            self._untyped.remove(variables[0])
            return f"{variables[0]}: Tensor"
        return ", ".join(variables)

    def _paragraph(self) -> None:
        if self._paragraphs[-1]:
            self._paragraphs.append([])


def _chain(
    layers: Sequence[Placed], number: int, operands: Sequence[str]
) -> Expression:
    """The layers' shares of this number, one around the other."""
    value: Expression = operands[0]
    inputs: Sequence[str] = operands
    for layer in layers:
        share = layer.shares[number]
        form = share.applied.form
        leaf = share.name.rpartition(".")[2]
        own = [attribute(leaf, parameter=True)] if form.module else []
        match form.function:
            case Call() if moves.picks(layer):
                pass  # an index has done it
            case Infix(sign):
                value = Joined(sign, (*inputs, *own))
            case Call(name, args):
                joined = Several(tuple(inputs)) if len(inputs) > 1 else value
                value = Called(name, (joined, *own, *args))
            case None if form.module:
                name = leaf if layer.node.applied.tensors else layer.node.leaf
                value = Called(attribute(name), (value,))
        inputs = ()
    return value


def _is_functional(layer: Placed) -> bool:
    function = layer.node.applied.form.function
    return isinstance(function, Call) and function.name.startswith("F.")


def _is_typed(value: Expression) -> bool:
    """Whether mypy knows that it is a tensor: a call of a function of torch.

    A module's output may be anything, and so may be a sum with it.
    """
    return isinstance(value, Called) and value.name.startswith(("F.", "torch."))


def _shape(shape: Shape) -> str:
    return f"(N, {', '.join(map(str, shape))})"


def _padded(x: Shape, pad: tuple[int, int, int, int]) -> Shape:
    left, right, top, bottom = pad
    return (x[0], x[1] + top + bottom, x[2] + left + right)
