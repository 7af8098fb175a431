"""The memory that each device needs, known before it runs.

Counted for torch on a CPU, and compared with it byte for byte in a test: in float32, or
with autocast to bfloat16, which keeps a copy of each weight in that type. Images count
on each device that reads them, for as long as `forward` or the backward pass holds
them. Not counted: those that the caller keeps longer, buffers that exist only while
gradients are computed, and what libraries take for themselves.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from functools import lru_cache
from itertools import accumulate

from specgen.graph import PlacedGraph
from specgen.ops.base import BFLOAT16, FLOAT32, INT64, volume
from specgen.passes.schedule import schedule
from specgen.passes.storages import Storage, trace

# Weights, their gradients and the momentum: one number per parameter each.
COPIES = 3
MOST_IMAGES = 2**20  # in a batch
# What is not counted, for those who read how much is.
ON_TOP = "CUDA, its libraries and fragmentation come on top"


@dataclass(frozen=True, slots=True)
class Memory:
    """What one device holds: parameters by layer, bytes of the rest.

    `buffers` are not learned. `saved` is what the forward pass keeps for the backward
    pass, in bytes per image, each storage once, by the layer that made it; `once` is
    what it keeps for all images together, such as weights in bfloat16. `live` is the
    most bytes per image that are alive at once in inference, in float32. Methods give
    bytes for this many images in one pass.
    """

    parameters: Counter[str]
    buffers: Counter[str]
    once: Counter[str]
    saved: Counter[str]
    live: int

    @property
    def weights(self) -> int:
        """Bytes of the weights; the gradients and the momentum each take as much."""
        return FLOAT32 * self.parameters.total()

    def activations(self, images: int) -> int:
        """Bytes that training keeps from forward to backward."""
        return self.once.total() + images * self.saved.total()

    def inference(self, images: int) -> int:
        """The most bytes of activations that inference takes."""
        return images * self.live

    def training(self, images: int) -> int:
        """Bytes of weights, gradients, momentum, buffers and saved activations."""
        held = COPIES * self.weights + self.buffers.total()
        return held + self.activations(images)

    def fitting(self, budget: int) -> int:
        """The most images that training can take at once in this many bytes."""
        rest = budget - self.training(0)
        if rest < 0:
            return 0
        each = self.saved.total()
        return min(rest // each, MOST_IMAGES) if each else MOST_IMAGES

    def by_layer(self, images: int) -> Counter[str]:
        """Bytes of training by layer."""
        sizes = {name: COPIES * FLOAT32 * n for name, n in self.parameters.items()}
        saved = Counter({name: images * n for name, n in self.saved.items()})
        return Counter(sizes) + self.buffers + self.once + saved


@lru_cache(maxsize=1)  # budgets and the plan ask for that of the same network
def plan(placed: PlacedGraph, *, half: bool = False) -> Mapping[str, Memory]:
    """Return the memory of each device; `half` if training uses autocast."""
    parameters: dict[str, Counter[str]] = {name: Counter() for name in placed.devices}
    buffers: dict[str, Counter[str]] = {name: Counter() for name in placed.devices}
    once: dict[str, Counter[str]] = {name: Counter() for name in placed.devices}
    learning = placed.learning
    for layer in placed.layers:
        name = layer.node.name
        for share in layer.shares:
            learns = not learning.isdisjoint(share.inputs)
            tensors = share.applied.tensors.items()
            shapes = {leaf: own.shape for leaf, own in tensors if own.learned}
            parameters[share.device][name] += sum(map(volume, shapes.values()))
            saved = share.applied.form.saved
            narrow = half and share.op.autocast == "bfloat16"
            for leaf, shape in shapes.items():
                kept = leaf.endswith("weight") and (learns or leaf in saved.weights)
                if narrow and kept:
                    once[share.device][name] += BFLOAT16 * volume(shape)
            if learns or shapes:
                once[share.device][name] += saved.once
            for own in share.applied.tensors.values():
                if not own.learned:  # a count has 64 bits
                    item = FLOAT32 if own.shape else INT64
                    buffers[share.device][name] += item * volume(own.shape)
    routine = schedule(placed)
    training = trace(placed, routine, training=True, half=half)
    inference = trace(placed, routine, training=False)
    return {
        device: Memory(
            parameters[device],
            buffers[device],
            once[device],
            _saved(training[device]),
            _peak(inference[device]),
        )
        for device in placed.devices
    }


def _saved(storages: Iterable[Storage]) -> Counter[str]:
    """Bytes per image that are saved, by layer."""
    sizes: Counter[str] = Counter()
    for storage in storages:
        if storage.saved:
            sizes[storage.layer] += storage.size
    return sizes


def _peak(storages: Iterable[Storage]) -> int:
    """The most bytes per image that are alive at once."""
    change: Counter[int] = Counter()
    for storage in storages:
        change[storage.first] += storage.size
        change[storage.last + 1] -= storage.size
    return max(accumulate(change[step] for step in sorted(change)), default=0)
