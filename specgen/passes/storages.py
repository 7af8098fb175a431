"""Every storage of one forward pass: how large, how long in use, and whether saved.

Follows the generated `forward`: a variable keeps its value until a statement gives it
another, and what is inside an expression is gone when it has been read. A statement is
taken to go on to the next layer with parameters, as it does unless its line is full.

With autocast, layers with parameters compute in bfloat16, and all that follows the
first of them keeps that type; what this one reads is float32, and is cast.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from specgen.graph import INPUT, Move, Placed, PlacedGraph, Share
from specgen.ops.base import BFLOAT16, FLOAT32, volume


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
    """Return the storages on each device, `half` with autocast.

    Only in training are some saved.
    """
    run = _Run(placed, training=training, half=half)
    for layer in placed.layers:
        run.fetch(layer)
        if not layer.node.op.after_logits:
            run.compute(layer)
    run.end()
    return run.storages


class _Run:
    """The forward pass, step by step."""

    def __init__(self, placed: PlacedGraph, *, training: bool, half: bool) -> None:
        self.storages: dict[str, list[Storage]] = {name: [] for name in placed.devices}
        self._training = training
        self._learns = False  # whether a gradient is wanted of what is read
        self._item = FLOAT32  # bytes of a value
        self._computed = BFLOAT16 if half else FLOAT32  # of one that a weight gives
        self._step = 0
        image = Storage(INPUT, 0, 0, 0)
        self._of = {INPUT: image}  # by value
        self._variables = {"": image}  # by device; one for whichever has all
        self._growing: dict[str, Storage] = {}  # what these will be given

    def fetch(self, layer: Placed) -> None:
        """Give each share its input, in a new statement where something moves."""
        if layer.moves or layer.node.parameters():
            self._assign(self._growing)
            self._growing = {}
        for move in layer.moves:
            self._move(layer, move)
        if layer.moves:
            self._assign({_variable(layer, s): self._of[s.input] for s in layer.shares})

    def compute(self, layer: Placed) -> None:
        """Run every share."""
        weighted, read = bool(layer.node.parameters()), self._item
        self._learns |= self._training and weighted
        self._item = self._computed if weighted else read
        for share in layer.shares:
            self._growing[_variable(layer, share)] = self._run(layer, share, read)

    def end(self) -> None:
        """Return: until then variables hold what they hold."""
        self._assign(self._growing)
        for storage in self._variables.values():
            storage.last = self._step

    def _move(self, layer: Placed, move: Move) -> None:
        """Copy what is elsewhere; join what are several pieces."""
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
        form = share.op.torch(share.input_shape)
        saved, size = form.saved, volume(share.input_shape)
        x = self._read(share.input)
        if form.pad:
            left, right, top, bottom = form.pad
            channels, height, width = share.input_shape
            size = channels * (height + top + bottom) * (width + left + right)
            x = self._new(layer, share.device, read * size)
            self._assign({_variable(layer, share): x})
            self._step += 1
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
        x.saved |= self._learns and saved.input
        output.saved |= self._learns and saved.output
        self._of[share.name] = output
        return output

    def _new(self, layer: Placed, device: str, size: int) -> Storage:
        storage = Storage(layer.node.name, size, self._step, self._step)
        self.storages[device].append(storage)
        return storage

    def _read(self, value: str) -> Storage:
        storage = self._of[value]
        storage.last = self._step
        return storage

    def _assign(self, values: Mapping[str, Storage]) -> None:
        """Let go of what the variables held until now."""
        for name, storage in values.items():
            if name in self._variables:
                self._variables[name].last = self._step
            self._variables[name] = storage


def _variable(layer: Placed, share: Share) -> str:
    return share.device if len(layer.shares) > 1 else ""
