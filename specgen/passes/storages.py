"""Every storage of one forward pass: how large, how long in use, and whether saved.

Replays the schedule: a variable keeps its value until a statement gives it another, and
a value inside an expression is gone once it has been read.

With autocast, layers with parameters compute in bfloat16, and everything after the
first of them keeps that type. What the first one reads is float32, and is cast.
"""

from __future__ import annotations

from dataclasses import dataclass

from specgen.graph import INPUT, Move, Placed, PlacedGraph, Share
from specgen.ops.base import BFLOAT16, FLOAT32, Infix, Saved, volume
from specgen.passes.routine import Apply, Fetch, Pad, Routine, Run


@dataclass(slots=True)
class Storage:
    """Memory of one or several values: bytes per image, first and last step in use."""

    layer: str
    size: int
    first: int
    last: int
    saved: bool = False


@dataclass(frozen=True, slots=True)
class _Operand:
    """A side of an operator: bytes of a number, how many, and if it gets a gradient."""

    storage: Storage
    item: int
    count: int
    learns: bool


def trace(
    placed: PlacedGraph, routine: Routine, *, training: bool, half: bool = False
) -> dict[str, list[Storage]]:
    """Return the storages on each device; `half` if training uses autocast.

    `routine` is the schedule. Some are saved, but only in training.
    """
    run = _Run(placed, training=training, half=half)
    run.routine(routine)
    return run.storages


class _Run:
    """The forward pass, step by step."""

    def __init__(self, placed: PlacedGraph, *, training: bool, half: bool) -> None:
        self.storages: dict[str, list[Storage]] = {name: [] for name in placed.devices}
        self._training = training
        self._learning = placed.learning if training else set()
        self._narrow = placed.narrow if half else set()
        self._step = 0
        self._of = {INPUT: Storage(INPUT, 0, 0, 0)}  # by value
        self._padded: dict[str, Storage] = {}  # inputs, by share
        self._sliced: set[str] = set()  # values that are some channels of others

    def routine(self, routine: Routine) -> None:
        """Run the statements; variables keep their values until they return."""
        frame = {variable: self._of[value] for variable, value in routine.arguments}
        for step in routine.steps:
            match step:
                case Fetch():
                    self._fetch(step, frame)
                case Pad():
                    self._pad(step, frame)
                case Apply():
                    self._apply(step, frame)
                case Run():
                    self._enter(step, frame)
        for storage in frame.values():
            storage.last = self._step

    def _fetch(self, step: Fetch, frame: dict[str, Storage]) -> None:
        """Bring values to where they are read."""
        moves = {move.name: move for move in step.moves}
        for row in step.rows:
            for _, value in row:
                if value in moves:
                    self._move(step.layer, moves[value])
            for variable, value in row:
                self._assign(frame, variable, self._of[value])

    def _pad(self, step: Pad, frame: dict[str, Storage]) -> None:
        """Pad the input of each share."""
        for share, variable in zip(step.layer.shares, step.variables, strict=True):
            self._step += 1
            self._read(share.inputs[0])
            size = self._item(share.inputs[0]) * _padded(share)
            self._padded[share.name] = self._new(step.layer, share.device, size)
            self._assign(frame, variable, self._padded[share.name])

    def _apply(self, step: Apply, frame: dict[str, Storage]) -> None:
        """Run every share of the layers."""
        for layer in step.layers:
            for share in layer.shares:
                self._of[share.name] = self._run(layer, share)
        for share, variable in zip(step.layers[-1].shares, step.variables, strict=True):
            self._assign(frame, variable, self._of[share.name])

    def _enter(self, step: Run, frame: dict[str, Storage]) -> None:
        """Run a routine; the caller holds what it passes until then."""
        self.routine(step.routine)
        for operand in step.operands:
            frame[operand].last = self._step
        results = (value for _, value in step.routine.results)
        for variable, value in zip(step.variables, results, strict=True):
            self._assign(frame, variable, self._of[value])

    def _item(self, value: str) -> int:
        """Bytes of a number in a value."""
        return BFLOAT16 if value in self._narrow else FLOAT32

    def _move(self, layer: Placed, move: Move) -> None:
        """Copy what is on other devices; join several pieces."""
        self._step += 1
        pixels = volume(move.shape[1:])
        parts = []
        for piece, read in zip(move.pieces, move.reads, strict=True):
            part = self._read(piece.value)
            if piece.device != move.device:
                size = self._item(piece.value) * pixels * len(read)
                part = self._new(layer, move.device, size)
            parts.append(part)
        if len(parts) > 1:
            size = self._item(move.name) * volume(move.shape)
            parts = [self._new(layer, move.device, size)]
        if move.local:
            self._sliced.add(move.name)
        self._of[move.name] = parts[0]

    def _run(self, layer: Placed, share: Share) -> Storage:
        """Run one share; return its output."""
        self._step += 1
        form = share.applied.form
        if isinstance(form.function, Infix) and not form.module:
            return self._fold(layer, share, form.saved)
        saved = form.saved
        learns, item = share.name in self._learning, self._item(share.name)
        inputs = []
        for value, shape in zip(share.inputs, share.input_shapes, strict=True):
            x = self._padded.get(share.name) or self._read(value)
            x.last = self._step
            if saved.packed and value in self._sliced:
                x = self._new(layer, share.device, self._item(value) * volume(shape))
            narrow = share.op.autocast == "bfloat16" and item == BFLOAT16
            if narrow and self._item(value) != item:
                size = _padded(share) if share.name in self._padded else volume(shape)
                x = self._new(layer, share.device, item * size)
            inputs.append(x)
        idle = share.op.training_only and not self._training
        output = inputs[0]
        if (saved.view or idle) and not self._sliced.isdisjoint(share.inputs):
            self._sliced.add(share.name)
        if not (saved.view or idle):
            output = self._new(layer, share.device, item * volume(share.shape))
        values = 0 if idle else saved.values
        if other := saved.other + item * values:
            self._new(layer, share.device, other).saved = learns
        if saved.scratch:
            self._new(layer, share.device, saved.scratch)
        for x in inputs:
            x.saved |= learns and saved.input
        output.saved |= learns and saved.output
        return output

    def _fold(self, layer: Placed, share: Share, saved: Saved) -> Storage:
        """Apply an operator from the left to the right: each time, there is a result.

        What a product saves is one factor for the gradient of the other.
        """
        left, *others = [
            _Operand(
                self._read(value),
                self._item(value),
                volume(shape),
                value in self._learning,
            )
            for value, shape in zip(share.inputs, share.input_shapes, strict=True)
        ]
        for right in others:
            self._step += 1
            for one, other in ((left, right), (right, left)):
                one.storage.last = self._step
                one.storage.saved |= saved.input and other.learns
            item, count = max(left.item, right.item), max(left.count, right.count)
            made = self._new(layer, share.device, item * count)
            left = _Operand(made, item, count, left.learns or right.learns)
        return left.storage

    def _new(self, layer: Placed, device: str, size: int) -> Storage:
        storage = Storage(layer.node.name, size, self._step, self._step)
        self.storages[device].append(storage)
        return storage

    def _read(self, value: str) -> Storage:
        storage = self._of[value]
        storage.last = self._step
        return storage

    def _assign(self, frame: dict[str, Storage], variable: str, value: Storage) -> None:
        """Release the variable's old value."""
        if variable in frame:
            frame[variable].last = self._step
        frame[variable] = value


def _padded(share: Share) -> int:
    """Number of values that a share reads, with the zeros that `forward` adds."""
    pad = share.applied.form.pad
    if not pad:
        return volume(share.x)
    left, right, top, bottom = pad
    channels, height, width = share.x
    return channels * (height + top + bottom) * (width + left + right)
