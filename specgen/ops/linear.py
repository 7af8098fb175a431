"""Fully connected layers, and the flattening that they need."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from typing import Annotated, Literal

from pydantic import Field

from specgen.diagnostics import Diagnostic
from specgen.ops.base import (
    Call,
    OnnxNode,
    Op,
    Part,
    Refusal,
    Saved,
    Shape,
    TorchForm,
    divisors,
    need_maps,
    volume,
)
from specgen.ops.weighted import Weighted
from specgen.schema import Count


class Linear(Weighted):
    """A fully connected layer (`torch.nn.Linear`); input features are inferred."""

    op: Literal["linear"]
    out_features: Annotated[
        Count, Field(description="number of outputs: in the last layer, one per class")
    ]

    axis: Annotated[
        Literal["last"] | None,
        Field(description="last, if the input has several: over the last one only"),
    ] = None

    def check(self, x: Shape) -> Iterator[Diagnostic]:
        if self.axis and len(x) == 1:
            yield Diagnostic(
                "no-effect",
                f"its input {x} has only one axis",
                ("axis",),
                help="leave it out",
            )

    def output(self, x: Shape) -> Shape:
        if len(x) != 1 and self.axis is None:
            raise Refusal(
                "shape-mismatch",
                f"linear needs features, but its input is {x}",
                "op",
                help="insert a layer {op: flatten} before it",
            )
        return (*x[:-1], self.out_features)

    def weight(self, x: Shape) -> Shape:
        return (self.out_features, x[-1])

    def macs(self, x: Shape) -> int:
        return self.out_features * volume(x)

    def part(self, share: range, x: Shape) -> Part:
        if len(x) == 1:
            local = self.changed(out_features=len(share))
            return Part(local, (range(x[0]),))
        reason = "linear on the last axis cannot be split"
        return self.undivided(share, x, reason, "axis")

    def torch(self, x: Shape) -> TorchForm:
        args = (
            str(x[-1]),
            str(self.out_features),
            *(() if self.bias else ("bias=False",)),
        )
        names = ("in_features", "out_features")
        call = Call("nn.Linear", args, names, {"bias": "True"})
        return TorchForm(Saved(input=True), call)

    def onnx(self, x: Shape) -> list[OnnxNode]:
        if len(x) == 1:
            return [OnnxNode("Gemm", ("x", *self.parameters(x)), {"transB": 1})]
        product = OnnxNode("MatMul", ("x", "turned"))
        if self.bias:
            product = replace(product, name="product", shape=self.output(x))
        return [
            OnnxNode(
                "Transpose",
                ("weight",),
                {"perm": (1, 0)},
                name="turned",
                shape=self.weight(x)[::-1],
                per_image=False,
            ),
            product,
            *([OnnxNode("Add", ("product", "bias"))] if self.bias else []),
        ]


class Flatten(Op):
    """Maps to features, channel by channel, row by row (`torch.flatten(x, 1)`)."""

    op: Literal["flatten"]

    def output(self, x: Shape) -> Shape:
        need_maps(self.op, x)
        return (volume(x),)

    def part(self, share: range, x: Shape) -> Part:
        pixels = volume(x[1:])
        if share.start % pixels or share.stop % pixels:
            raise Refusal(
                "cannot-split",
                f"a share of {len(share)} features cuts through maps of {pixels}",
                "op",
                help=f"its {x[0]} maps can be shared by {divisors(x[0])} devices",
            )
        return Part(self, (range(share.start // pixels, share.stop // pixels),))

    def torch(self, x: Shape) -> TorchForm:
        flatten, item = Call("torch.flatten", ("1",)), Call("nn.Flatten")
        return TorchForm(Saved(view=True), function=flatten, item=item)

    def onnx(self, x: Shape) -> list[OnnxNode]:
        return [OnnxNode("Flatten", attributes={"axis": 1})]
