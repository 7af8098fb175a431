"""Ops that join several values, or take a part of one."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from itertools import accumulate, pairwise
from typing import Annotated, ClassVar, Literal

from pydantic import Field

from specgen.diagnostics import Diagnostic
from specgen.ops.base import (
    SQUEEZE,
    Call,
    Infix,
    OnnxNode,
    Op,
    Part,
    Refusal,
    Saved,
    Shape,
    TorchForm,
    check_division,
    need_tokens,
    volume,
)
from specgen.schema import Count


class Join(Op):
    """An op that reads two values or more."""

    inputs: ClassVar[tuple[int, int | None]] = (2, None)


class Add(Join):
    """The sum of values of one shape."""

    commutes: ClassVar[bool] = True

    op: Literal["add"]

    def output(self, *xs: Shape) -> Shape:
        for x in xs:
            if x != xs[0]:
                raise Refusal("shape-mismatch", "add needs equal shapes", "op")
        return xs[0]

    def torch(self, *xs: Shape) -> TorchForm:
        return TorchForm(Saved(), function=Infix("+"))

    def onnx(self, *xs: Shape) -> list[OnnxNode]:
        return _pairwise("Add", xs, xs[0])


class Multiply(Join):
    """The product of values: of one shape, or maps and a factor (C, 1, 1) for each."""

    commutes: ClassVar[bool] = True

    op: Literal["multiply"]

    def output(self, *xs: Shape) -> Shape:
        largest = max(xs, key=volume)
        for x in xs:
            if x not in (largest, (largest[0], 1, 1)) or len(x) != len(largest):
                what = "multiply needs equal shapes, or factors (C, 1, 1) for maps"
                raise Refusal("shape-mismatch", what, "op")
        return largest

    def torch(self, *xs: Shape) -> TorchForm:
        return TorchForm(Saved(input=True), function=Infix("*"))

    def onnx(self, *xs: Shape) -> list[OnnxNode]:
        return _pairwise("Mul", xs, self.output(*xs))


class Concat(Join):
    """Values one after another along channels (or features) (`torch.cat`, dim=1)."""

    op: Literal["concat"]

    def output(self, *xs: Shape) -> Shape:
        for x in xs:
            if x[1:] != xs[0][1:]:
                what = "concat needs maps of the same height and width"
                raise Refusal("shape-mismatch", what, "op")
        return (sum(x[0] for x in xs), *xs[0][1:])

    def part(self, share: range, *xs: Shape) -> Part:
        ends = [0, *accumulate(x[0] for x in xs)]
        reads = []
        for first, end in pairwise(ends):
            read = range(max(share.start, first) - first, min(share.stop, end) - first)
            reads.append(read if read else None)
        return Part(self, tuple(reads))

    def torch(self, *xs: Shape) -> TorchForm:
        if len(xs) == 1:  # the share of a device that needs no other input
            return TorchForm(Saved(view=True))
        return TorchForm(Saved(), function=Call("torch.cat", ("dim=1",)))

    def onnx(self, *xs: Shape) -> list[OnnxNode]:
        names = tuple(f"x{index}" for index in range(len(xs)))
        return [OnnxNode("Concat", names, {"axis": 1})]


class Chunk(Op):
    """One of equal parts of the channels or features (`torch.chunk`, dim=1)."""

    op: Literal["chunk"]
    chunks: Annotated[Count, Field(description="number of equal parts")]
    index: Annotated[
        int, Field(ge=0, le=2**20, description="which part, counted from 0")
    ]

    def check_fields(self) -> Iterator[Diagnostic]:
        if self.index >= self.chunks:
            yield Diagnostic(
                "out-of-range",
                f"there is no part {self.index}: the last one is {self.chunks - 1}",
                ("index",),
            )

    def check(self, x: Shape) -> Iterator[Diagnostic]:
        yield from check_division(x[0], self.chunks, "equal parts", field="chunks")

    def output(self, x: Shape) -> Shape:
        return (x[0] // self.chunks, *x[1:])

    def part(self, share: range, x: Shape) -> Part:
        first = self.index * (x[0] // self.chunks)
        return Part(self, (range(first + share.start, first + share.stop),))

    def torch(self, x: Shape) -> TorchForm:
        # A share reads no more of x than the part itself.
        return TorchForm(Saved(view=True))

    def onnx(self, x: Shape) -> list[OnnxNode]:
        size = x[0] // self.chunks
        ends = {
            "starts": (self.index * size,),
            "ends": ((self.index + 1) * size,),
            "axes": (1,),
        }
        return [OnnxNode("Slice", ("x", *ends), constants=ends)]


class Select(Op):
    """One of the tokens, or rows: its features (`torch.select`, dim=1)."""

    op: Literal["select"]
    index: Annotated[
        int, Field(ge=0, le=2**20, description="which one, counted from 0")
    ]

    def check(self, x: Shape) -> Iterator[Diagnostic]:
        if self.index >= x[0]:
            yield Diagnostic(
                "out-of-range",
                f"there is no token {self.index}: the last one is {x[0] - 1}",
                ("index",),
            )

    def output(self, x: Shape) -> Shape:
        need_tokens(self.op, x)
        return x[1:]

    def part(self, share: range, x: Shape) -> Part:
        whole = self.undivided(share, x, "select takes one token and cannot be split")
        return Part(whole.op, (range(self.index, self.index + 1),))

    def torch(self, x: Shape) -> TorchForm:
        # It reads no other token.
        return TorchForm(Saved(view=True), function=SQUEEZE)

    def onnx(self, x: Shape) -> list[OnnxNode]:
        ends = {"starts": (self.index,), "ends": (self.index + 1,), "axes": (1,)}
        return [
            OnnxNode("Slice", ("x", *ends), {}, ends, "token", (1, *x[1:])),
            OnnxNode("Squeeze", ("token", "axis"), constants={"axis": (1,)}),
        ]


def _pairwise(op_type: str, xs: Sequence[Shape], shape: Shape) -> list[OnnxNode]:
    """Apply an ONNX op of two inputs to all, from the left to the right."""
    nodes, left = [], "x0"
    for index in range(1, len(xs)):
        name = "" if index == len(xs) - 1 else f"{op_type}_{index}"
        nodes.append(OnnxNode(op_type, (left, f"x{index}"), name=name, shape=shape))
        left = name
    return nodes
