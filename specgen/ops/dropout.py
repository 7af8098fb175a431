"""Dropout: what training leaves out at random, and inference does not."""

from __future__ import annotations

from typing import Annotated, ClassVar, Literal

from pydantic import Field

from specgen.ops.base import (
    Call,
    OnnxNode,
    Op,
    Part,
    Saved,
    Shape,
    TorchForm,
    need_maps,
    volume,
)


class Dropout(Op):
    """In training, zeroes values with probability p and scales the others by 1/(1-p).

    The paper halves the outputs at test time instead: the same in expectation.
    """

    op: Literal["dropout"]
    p: Annotated[
        float, Field(ge=0, lt=1, description="fraction of the values that is zeroed")
    ] = 0.5
    training_only: ClassVar[bool] = True

    def torch(self, x: Shape) -> TorchForm:
        # The mask: like x on a CPU, one byte per value on CUDA. Without a mask, x.
        saved = Saved(values=volume(x) if self.p else 0, view=not self.p)
        return TorchForm(saved, Call("nn.Dropout", (repr(self.p),), ("p",)))

    def onnx(self, x: Shape) -> list[OnnxNode]:
        return [OnnxNode("Dropout", ("x", "ratio"), constants={"ratio": self.p})]


class Dropout2d(Op):
    """Dropout of whole maps: each is kept, or zeroed with probability p."""

    op: Literal["dropout2d"]
    p: Annotated[
        float, Field(ge=0, lt=1, description="fraction of the maps that is zeroed")
    ] = 0.5
    training_only: ClassVar[bool] = True

    def output(self, x: Shape) -> Shape:
        need_maps(self.op, x)
        return x

    def torch(self, x: Shape) -> TorchForm:
        # A factor for each map.
        saved = Saved(values=x[0] if self.p else 0, view=not self.p)
        return TorchForm(saved, Call("nn.Dropout2d", (repr(self.p),), ("p",)))

    def onnx(self, x: Shape) -> list[OnnxNode]:
        return [OnnxNode("Identity")]


class StochasticDepth(Op):
    """Dropout of whole images: for the branch of a residual block.

    Huang et al., "Deep Networks with Stochastic Depth", 2016; torchvision's with
    `mode="row"`.
    """

    op: Literal["stochastic_depth"]
    p: Annotated[
        float, Field(ge=0, lt=1, description="fraction of the images that is zeroed")
    ]
    training_only: ClassVar[bool] = True

    def part(self, share: range, x: Shape) -> Part:
        if not self.p:
            return Part(self, (share,))
        reason = "stochastic_depth drops all channels of an image or none, and devices"
        return self.undivided(share, x, f"{reason} draw separately")

    def torch(self, x: Shape) -> TorchForm:
        # A factor for each image.
        saved = Saved(values=1 if self.p else 0, view=not self.p)
        return TorchForm(saved, Call("StochasticDepth", (repr(self.p),), ("p",)))

    def onnx(self, x: Shape) -> list[OnnxNode]:
        return [OnnxNode("Identity")]
