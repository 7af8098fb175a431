"""Fully connected layers, and the flattening that they need."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
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
        Field(description="last: apply to the last axis of an input with several"),
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
            other = "{op: flatten} before it"
            if len(x) == 2:
                other = "{op: select, index: 0} before it, or write axis: last"
            raise Refusal(
                "shape-mismatch",
                f"linear needs features, but its input is {x}",
                "op",
                help=f"insert a layer {other}",
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
        return projection("x", self.shapes(x), self.output(x))


def projection(
    read: str, tensors: Mapping[str, Shape], shape: Shape, name: str = ""
) -> list[OnnxNode]:
    """Multiply the last axis of `read` by a weight, and add a bias if there is one.

    `tensors` are the shapes of these two. The result has `shape`, and `name` within the
    layer.
    """
    weight, *biases = tensors
    turned, product = f"{weight}_turned", f"{weight}_product"
    result = OnnxNode("MatMul", (read, turned), name=name, shape=shape)
    nodes = [
        OnnxNode(
            "Transpose",
            (weight,),
            {"perm": (1, 0)},
            name=turned,
            shape=tensors[weight][::-1],
            per_image=False,
        ),
        replace(result, name=product) if biases else result,
    ]
    for bias in biases:
        nodes.append(OnnxNode("Add", (product, bias), name=name, shape=shape))
    return nodes


class Flatten(Op):
    """Maps to features, channel by channel, row by row (`torch.flatten(x, 1)`)."""

    op: Literal["flatten"]

    def output(self, x: Shape) -> Shape:
        need_maps(
            self.op, x, "{op: reshape, shape: [-1]} also makes features of tokens"
        )
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
