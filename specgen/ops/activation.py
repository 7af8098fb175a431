"""Activations and dropout: ops on each value separately."""

from __future__ import annotations

from typing import Annotated, ClassVar, Literal

from pydantic import Field

from specgen.ops.base import (
    Call,
    OnnxNode,
    Op,
    Part,
    Refusal,
    Saved,
    Shape,
    TorchForm,
    volume,
)


class Relu(Op):
    """max(x, 0)."""

    op: Literal["relu"]
    elementwise: ClassVar[bool] = True

    def torch(self, x: Shape) -> TorchForm:
        return TorchForm(
            Saved(output=True), function=Call("F.relu"), item=Call("nn.ReLU")
        )

    def onnx(self, x: Shape) -> list[OnnxNode]:
        return [OnnxNode("Relu")]


class Dropout(Op):
    """In training, zeroes values with probability p and scales the others by 1/(1-p).

    The paper halves the outputs at test time instead: the same in expectation.
    """

    op: Literal["dropout"]
    p: Annotated[
        float, Field(ge=0, lt=1, description="fraction of the values that is zeroed")
    ] = 0.5
    elementwise: ClassVar[bool] = True
    training_only: ClassVar[bool] = True

    def torch(self, x: Shape) -> TorchForm:
        # The mask: like x on a CPU, one byte per value on CUDA. Without a mask, x.
        saved = Saved(values=volume(x) if self.p else 0, view=not self.p)
        return TorchForm(saved, Call("nn.Dropout", (repr(self.p),)))

    def onnx(self, x: Shape) -> list[OnnxNode]:
        return [OnnxNode("Dropout", ("x", "ratio"), constants={"ratio": self.p})]


class Softmax(Op):
    """Class probabilities; ends a network, outside `forward`: the loss needs logits."""

    op: Literal["softmax"]
    after_logits: ClassVar[bool] = True

    def output(self, x: Shape) -> Shape:
        if len(x) != 1:
            raise Refusal(
                "shape-mismatch",
                f"softmax needs features, but its input is {x}",
                "op",
                help="insert a layer {op: flatten} before it",
            )
        return x

    def part(self, share: range, x: Shape) -> Part:
        if len(share) < x[0]:
            raise Refusal(
                "cannot-split",
                "softmax needs all classes at once and cannot be split",
                "op",
                help="place it on one device",
            )
        return Part(self, (share,))

    def torch(self, x: Shape) -> TorchForm:
        return TorchForm(Saved(output=True), function=Call("F.softmax", ("dim=1",)))

    def onnx(self, x: Shape) -> list[OnnxNode]:
        return [OnnxNode("Softmax", attributes={"axis": 1})]
