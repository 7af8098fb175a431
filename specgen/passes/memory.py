"""What each device holds in memory, known before it runs.

Counted in float32 and for torch on a CPU, whose saved tensors a test compares byte for
byte. Not counted: the images themselves where they come from, what is only there while
gradients are computed, and what libraries take for themselves.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass
from itertools import accumulate

from specgen.graph import INPUT, Move, Placed, PlacedGraph, Share
from specgen.ops.activation import Softmax
from specgen.ops.base import FLOAT32, volume

# Weights, their gradients and the momentum: one number a parameter each.
COPIES = 3
MOST_IMAGES = 2**20  # in a batch


@dataclass(frozen=True, slots=True)
class Memory:
    """What one device holds: parameters by layer, bytes per image of activations.

    `saved` is what the forward pass keeps for the backward pass, each storage once, by
    the layer that made it. `live` is the most that is alive at once without a backward
    pass. Methods give bytes for so many images in one pass.
    """

    parameters: Counter[str]
    saved: Counter[str]
    live: int

    @property
    def weights(self) -> int:
        """Bytes of the weights; the gradients and the momentum take as much each."""
        return FLOAT32 * self.parameters.total()

    def activations(self, images: int) -> int:
        """Bytes that training keeps from forward to backward."""
        return images * self.saved.total()

    def inference(self, images: int) -> int:
        """Bytes of activations that inference takes at most."""
        return images * self.live

    def training(self, images: int) -> int:
        """Bytes of weights, gradients, momentum and saved activations."""
        return COPIES * self.weights + self.activations(images)

    def fitting(self, budget: int) -> int:
        """The most images that training can take at once in so many bytes."""
        rest = budget - COPIES * self.weights
        if rest < 0:
            return 0
        each = self.saved.total()
        return rest // each if each else MOST_IMAGES

    def by_layer(self, images: int) -> Counter[str]:
        """Bytes of training by layer."""
        sizes = {name: COPIES * FLOAT32 * n for name, n in self.parameters.items()}
        return Counter(sizes) + Counter({k: images * n for k, n in self.saved.items()})


def plan(placed: PlacedGraph) -> dict[str, Memory]:
    """Return what each device holds."""
    parameters: dict[str, Counter[str]] = {name: Counter() for name in placed.devices}
    for layer in placed.layers:
        for share in layer.shares:
            shapes = share.op.parameters(share.input_shape).values()
            parameters[share.device][layer.node.name] += sum(map(volume, shapes))
    storages = _Trace(placed).storages
    return {
        device: Memory(count, _saved(storages[device]), _peak(storages[device]))
        for device, count in parameters.items()
    }


def _saved(storages: Iterable[_Storage]) -> Counter[str]:
    """Bytes per image that are saved, by layer."""
    sizes: Counter[str] = Counter()
    for storage in storages:
        if storage.saved:
            sizes[storage.layer] += storage.size
    return sizes


def _peak(storages: Iterable[_Storage]) -> int:
    """Bytes per image that are alive at once, at most."""
    change: Counter[int] = Counter()
    for storage in storages:
        change[storage.first] += storage.size
        change[storage.last + 1] -= storage.size
    return max(accumulate(change[step] for step in sorted(change)), default=0)


@dataclass(slots=True)
class _Storage:
    """Memory of one or several values: bytes per image, first and last step in use."""

    layer: str
    size: int
    first: int
    last: int
    saved: bool = False


class _Trace:
    """Every storage of one forward pass, by device."""

    def __init__(self, placed: PlacedGraph) -> None:
        self.storages: dict[str, list[_Storage]] = {name: [] for name in placed.devices}
        self._step = 0
        self._of = {INPUT: _Storage(INPUT, 0, 0, 0)}  # value -> its storage
        learns = False  # whether a gradient is wanted of what is read
        for layer in placed.layers:
            for move in layer.moves:
                self._move(layer, move)
            if isinstance(layer.node.op, Softmax):
                return
            weighted = bool(layer.node.parameters())
            learns = learns or weighted
            for share in layer.shares:
                self._compute(layer, share, learns)

    def _move(self, layer: Placed, move: Move) -> None:
        """Copy what is elsewhere; join what are several pieces."""
        self._step += 1
        pixels = volume(layer.node.x[1:])
        parts = []
        for piece, read in zip(move.pieces, move.reads, strict=True):
            part = self._read(piece.value)
            if piece.device != move.device:
                part = self._new(layer, move.device, FLOAT32 * pixels * len(read))
            parts.append(part)
        if len(parts) > 1:
            size = FLOAT32 * pixels * len(move.span)
            parts = [self._new(layer, move.device, size)]
        self._of[move.name] = parts[0]

    def _compute(self, layer: Placed, share: Share, learns: bool) -> None:
        """Run one share of a layer."""
        self._step += 1
        form = share.op.torch(share.input_shape)
        saved = form.saved
        x = self._read(share.input)
        if form.pad:
            left, right, top, bottom = form.pad
            channels, height, width = share.input_shape
            padded = (channels, height + top + bottom, width + left + right)
            x = self._new(layer, share.device, FLOAT32 * volume(padded))
            self._step += 1
            x.last = self._step
        if saved.other:
            self._new(layer, share.device, saved.other).saved = learns
        output = x
        if not saved.view:
            output = self._new(layer, share.device, FLOAT32 * volume(share.shape))
        self._of[share.name] = output
        x.saved |= learns and saved.input
        output.saved |= learns and saved.output

    def _new(self, layer: Placed, device: str, size: int) -> _Storage:
        name = layer.node.name
        storage = _Storage(name, size, self._step, self._step)
        self.storages[device].append(storage)
        return storage

    def _read(self, value: str) -> _Storage:
        storage = self._of[value]
        storage.last = self._step
        return storage
