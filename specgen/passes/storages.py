"""Every storage of one forward pass: how large, how long in use, and whether saved.

Replays the schedule: a variable keeps its value until a statement gives it another, and
a value inside an expression is gone once it has been read.

With autocast, layers with parameters compute in bfloat16, and everything after the
first of them keeps that type. What the first one reads is float32, and is cast.
"""

from __future__ import annotations

from dataclasses import dataclass

from specgen.graph import INPUT, Move, Placed, PlacedGraph, Share
from specgen.ops.base import BFLOAT16, FLOAT32, volume
from specgen.passes.schedule import Apply, Fetch, Pad, X, schedule


@dataclass(slots=True)
class Storage:
    """Memory of one or several values: bytes per image, first and last step in use."""

    layer: str
    size: int
    first: int
    last: int
    saved: bool = False


def trace(
    placed: PlacedGraph, *, training: bool, half: bool = False
) -> dict[str, list[Storage]]:
    """Return the storages on each device; `half` if training uses autocast.

    Some are saved, but only in training.
    """
    run = _Run(placed, training=training, half=half)
    for step in schedule(placed):
        match step:
            case Fetch():
                run.fetch(step)
            case Pad():
                run.pad(step)
            case Apply():
                run.apply(step)
    run.end()
    return run.storages


class _Run:
    """The forward pass, step by step."""

    def __init__(self, placed: PlacedGraph, *, training: bool, half: bool) -> None:
        self.storages: dict[str, list[Storage]] = {name: [] for name in placed.devices}
        self._training = training
        self._learns = False  # whether what is read needs a gradient
        self._item = FLOAT32  # bytes of a value
        self._computed = BFLOAT16 if half else FLOAT32  # of one computed with a weight
        self._step = 0
        image = Storage(INPUT, 0, 0, 0)
        self._of = {INPUT: image}  # by value
        self._variables = {X: image}
        self._padded: dict[str, Storage] = {}  # inputs, by share

    def fetch(self, step: Fetch) -> None:
        """Bring each share its input."""
        for move in step.layer.moves:
            self._move(step.layer, move)
        for share, variable in zip(step.layer.shares, step.variables, strict=True):
            self._assign(variable, self._of[share.input])

    def pad(self, step: Pad) -> None:
        """Pad the input of each share."""
        for share, variable in zip(step.layer.shares, step.variables, strict=True):
            self._step += 1
            self._read(share.input)
            size = self._item * _padded(share)
            self._padded[share.name] = self._new(step.layer, share.device, size)
            self._assign(variable, self._padded[share.name])

    def apply(self, step: Apply) -> None:
        """Run every share of the layers."""
        for layer in step.layers:
            weighted, read = bool(layer.node.parameters()), self._item
            self._learns |= self._training and weighted
            self._item = self._computed if weighted else read
            for share in layer.shares:
                self._of[share.name] = self._run(layer, share, read)
        for share, variable in zip(step.layers[-1].shares, step.variables, strict=True):
            self._assign(variable, self._of[share.name])

    def end(self) -> None:
        """Return: variables keep their values until then."""
        for storage in self._variables.values():
            storage.last = self._step

    def _move(self, layer: Placed, move: Move) -> None:
        """Copy what is on other devices; join several pieces."""
        self._step += 1
        pixels = volume(layer.node.x[1:])
        parts = []
        for piece, read in zip(move.pieces, move.reads, strict=True):
            part = self._read(piece.value)
            if piece.device != move.device:
                part = self._new(layer, move.device, self._item * pixels * len(read))
            parts.append(part)
        if len(parts) > 1:
            size = self._item * pixels * len(move.span)
            parts = [self._new(layer, move.device, size)]
        self._of[move.name] = parts[0]

    def _run(self, layer: Placed, share: Share, read: int) -> Storage:
        """Run one share, whose input has values of `read` bytes; return its output."""
        self._step += 1
        saved, size = share.op.torch(share.input_shape).saved, _padded(share)
        x = self._padded.get(share.name) or self._read(share.input)
        x.last = self._step
        if read != self._item:
            x = self._new(layer, share.device, self._item * size)
        idle = share.op.training_only and not self._training
        output = x
        if not (saved.view or idle):
            output = self._new(layer, share.device, self._item * volume(share.shape))
        values = 0 if idle else saved.values
        if other := saved.other + self._item * values:
            self._new(layer, share.device, other).saved = self._learns
        if saved.scratch:
            self._new(layer, share.device, saved.scratch)
        x.saved |= self._learns and saved.input
        output.saved |= self._learns and saved.output
        return output

    def _new(self, layer: Placed, device: str, size: int) -> Storage:
        storage = Storage(layer.node.name, size, self._step, self._step)
        self.storages[device].append(storage)
        return storage

    def _read(self, value: str) -> Storage:
        storage = self._of[value]
        storage.last = self._step
        return storage

    def _assign(self, variable: str, value: Storage) -> None:
        """Release the variable's old value."""
        if variable in self._variables:
            self._variables[variable].last = self._step
        self._variables[variable] = value


def _padded(share: Share) -> int:
    """Number of values that a share reads, with the zeros that `forward` adds."""
    left, right, top, bottom = share.op.torch(share.input_shape).pad or (0, 0, 0, 0)
    if not (left or right or top or bottom):
        return volume(share.input_shape)
    channels, height, width = share.input_shape
    return channels * (height + top + bottom) * (width + left + right)
