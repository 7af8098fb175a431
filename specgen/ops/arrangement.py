"""Ops that put values elsewhere and compute nothing."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Annotated, Literal

from pydantic import BeforeValidator, Field
from pydantic_core import PydanticCustomError

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
    check_division,
    need_maps,
    volume,
)

MOST_AXES = 6


def _numbers(value: object) -> object:
    if isinstance(value, list | tuple):
        return tuple(value)
    raise PydanticCustomError("numbers", "expected a list")


Sizes = Annotated[
    tuple[Annotated[int, Field(ge=-1, le=2**20)], ...],
    Field(min_length=1, max_length=MOST_AXES),
    BeforeValidator(_numbers),
]


class Identity(Op):
    """Gives what it reads: a place in the network with a name of its own."""

    op: Literal["identity"]

    def torch(self, x: Shape) -> TorchForm:
        return TorchForm(Saved(view=True), item=Call("nn.Identity"))

    def onnx(self, x: Shape) -> list[OnnxNode]:
        return [OnnxNode("Identity")]


class Reshape(Op):
    """The same values in another shape, in the same order (`torch.reshape`)."""

    op: Literal["reshape"]
    shape: Annotated[
        Sizes,
        Field(description="the new shape, without the batch; one size can be -1"),
    ]

    def output(self, x: Shape) -> Shape:
        if 0 in self.shape:
            raise Refusal("out-of-range", "a size cannot be 0", "shape")
        if self.shape.count(-1) > 1:
            message = "only one size can be -1, which stands for the rest"
            raise Refusal("out-of-range", message, "shape")
        known = volume(tuple(size for size in self.shape if size > 0))
        rest = volume(x) // known
        shape = tuple(rest if size == -1 else size for size in self.shape)
        if volume(shape) != volume(x):
            raise Refusal(
                "shape-mismatch",
                f"the {volume(x)} values of {x} do not fill {self.shape}",
                "shape",
                help="leave one size to the compiler: write -1",
            )
        return shape

    def part(self, share: range, x: Shape) -> Part:
        row, read = volume(self.output(x)[1:]), volume(x[1:])
        start, stop = share.start * row, share.stop * row
        if start % read or stop % read:
            raise Refusal(
                "cannot-split",
                f"a share of {len(share)} would cut through channels of its input {x}",
                "op",
                help="place it on one device",
            )
        local = self.changed(shape=(len(share), *self.shape[1:]))
        return Part(local, (range(start // read, stop // read),))

    def torch(self, x: Shape) -> TorchForm:
        shape = Call("torch.reshape", (str((-1, *self.output(x))),))
        return TorchForm(Saved(view=True), function=shape)

    def onnx(self, x: Shape) -> list[OnnxNode]:
        # 0: as in x, the batch; -1: the rest, also where a device has a share of it.
        shape = {"shape": (0, -1, *self.output(x)[1:])}
        return [OnnxNode("Reshape", ("x", "shape"), constants=shape)]


class Permute(Op):
    """The axes in another order, as in `torch.permute`: axis 0 is the batch."""

    op: Literal["permute"]
    dims: Annotated[
        Sizes,
        Field(description="the axes in their new order; 0 is the batch"),
    ]

    def check_fields(self) -> Iterator[Diagnostic]:
        axes = list(range(len(self.dims)))
        if sorted(self.dims) != axes:
            yield Diagnostic(
                "bad-value",
                f"dims must have each of {', '.join(map(str, axes))} once",
                ("dims",),
                help="0 is the batch, 1 the channels: [0, 2, 3, 1]",
            )
        elif self.dims[0] != 0:
            yield Diagnostic(
                "bad-value",
                "dims must begin with 0, as the batch stays the first axis",
                ("dims",),
            )
        elif [*self.dims] == axes:
            message = "this order changes nothing"
            yield Diagnostic("no-effect", message, ("dims",), help="leave it out")

    def output(self, x: Shape) -> Shape:
        if len(self.dims) != len(x) + 1 or max(self.dims) > len(x):
            raise Refusal(
                "shape-mismatch",
                f"dims must be the {len(x) + 1} axes of its input and the batch,"
                f" but the input is {x}",
                "dims",
            )
        return tuple(x[axis - 1] for axis in self.dims[1:])

    def part(self, share: range, x: Shape) -> Part:
        if self.dims[1] != 1 and len(share) < x[self.dims[1] - 1]:
            raise Refusal(
                "cannot-split",
                "permute can be split only if the channels stay in their place",
                "op",
                help="place it on one device",
            )
        return Part(self, (share if self.dims[1] == 1 else range(x[0]),))

    def torch(self, x: Shape) -> TorchForm:
        # A copy, in which values that follow each other are neighbors in memory: a view
        # would be copied by most of what reads it.
        return TorchForm(
            Saved(), function=Call("torch.permute_copy", (str(self.dims),))
        )

    def onnx(self, x: Shape) -> list[OnnxNode]:
        return [OnnxNode("Transpose", attributes={"perm": self.dims})]


class ChannelShuffle(Op):
    """Channels of all groups in turn (`torch.nn.ChannelShuffle`).

    Of 6 channels in 2 groups, 0 1 2 and 3 4 5, it makes 0 3 1 4 2 5.
    """

    op: Literal["channel_shuffle"]
    groups: Annotated[
        int, Field(ge=2, le=2**20, description="groups from which channels are taken")
    ]

    def check(self, x: Shape) -> Iterator[Diagnostic]:
        yield from check_division(x[0], self.groups, "groups", field="groups")
        if self.groups == x[0]:
            message = "groups of one channel each stay in their order"
            yield Diagnostic("no-effect", message, ("groups",))

    def output(self, x: Shape) -> Shape:
        need_maps(self.op, x)
        return x

    def part(self, share: range, x: Shape) -> Part:
        reason = "channel_shuffle takes channels from everywhere and cannot be split"
        return self.undivided(share, x, reason)

    def torch(self, x: Shape) -> TorchForm:
        call = Call("nn.ChannelShuffle", (str(self.groups),), ("groups",))
        return TorchForm(Saved(), call)

    def onnx(self, x: Shape) -> list[OnnxNode]:
        grouped = (self.groups, x[0] // self.groups, *x[1:])
        turned = (grouped[1], grouped[0], *x[1:])
        apart, whole = {"apart": (0, *grouped)}, {"whole": (0, *x)}
        return [
            OnnxNode("Reshape", ("x", "apart"), {}, apart, "Reshape", grouped),
            OnnxNode(
                "Transpose",
                ("Reshape",),
                {"perm": (0, 2, 1, 3, 4)},
                name="Transpose",
                shape=turned,
            ),
            OnnxNode("Reshape", ("Transpose", "whole"), {}, whole),
        ]
