"""An op applied to inputs of known shapes."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property

from specgen.ops.base import OnnxNode, Op, Owned, Shape, TorchForm, Window, volume

Reads = tuple[range | None, ...]


@dataclass(frozen=True)
class Applied:
    """What an op says of these inputs, each computed once.

    Layers that are equal but for their names share one: a large network repeats itself.
    """

    op: Op
    input_shapes: tuple[Shape, ...]

    @cached_property
    def output(self) -> Shape:
        """Shape of the output.

        Raises:
            Refusal: the inputs have no valid output.
        """
        return self.op.output(*self.input_shapes)

    @cached_property
    def window(self) -> Window | None:
        """The window that slides over the maps, if there is one."""
        return self.op.window(*self.input_shapes)

    @cached_property
    def tensors(self) -> Mapping[str, Owned]:
        """Whole tensors by leaf name, in the order of torch's state_dict."""
        return self.op.tensors(*self.input_shapes)

    @cached_property
    def parameters(self) -> int:
        """How many numbers it learns."""
        return sum(volume(own.shape) for own in self.tensors.values() if own.learned)

    @cached_property
    def least_images(self) -> int:
        """The fewest images of which it can take statistics; 0 if it takes none."""
        return self.op.least_images(*self.input_shapes)

    @cached_property
    def macs(self) -> int:
        """Multiply-accumulates per image in matrix products."""
        return self.op.macs(*self.input_shapes)

    @cached_property
    def form(self) -> TorchForm:
        """How it appears in `model.py`."""
        return self.op.torch(*self.input_shapes)

    @cached_property
    def onnx(self) -> tuple[OnnxNode, ...]:
        """The ONNX nodes that it becomes."""
        return tuple(self.op.onnx(*self.input_shapes))

    @cached_property
    def _parts(self) -> dict[range, tuple[Applied | None, Reads]]:
        return {}  # None is this one, which does not hold itself

    def part(self, share: range) -> tuple[Applied, Reads]:
        """What computes a share of the output, and what that reads of each input.

        Raises:
            Refusal: that share cannot be computed separately.
        """
        if share not in self._parts:
            self._parts[share] = self._part(share)
        part, reads = self._parts[share]
        return part or self, reads

    def _part(self, share: range) -> tuple[Applied | None, Reads]:
        part = self.op.part(share, *self.input_shapes)
        shapes = tuple(
            (len(read), *x[1:])
            for read, x in zip(part.reads, self.input_shapes, strict=True)
            if read is not None
        )
        whole = part.op is self.op and shapes == self.input_shapes
        return None if whole else Applied(part.op, shapes), part.reads
