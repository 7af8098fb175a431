"""Convolution."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Annotated, Any, Literal

from pydantic import Field, GetJsonSchemaHandler, model_validator
from pydantic_core import CoreSchema, PydanticCustomError

from specgen.diagnostics import Diagnostic
from specgen.ops.base import (
    Call,
    OnnxNode,
    Padding,
    Pair,
    Part,
    Refusal,
    Saved,
    Shape,
    TorchForm,
    Window,
    divisible,
    divisors,
    need_maps,
    pair_schema,
    py,
    volume,
)
from specgen.ops.weighted import Weighted
from specgen.schema import Count, Strict

# Of torch.nn.Conv2d.
DEFAULTS = {
    "stride": "1",
    "padding": "0",
    "dilation": "1",
    "groups": "1",
    "bias": "True",
}


class Sides(Strict):
    """Zeros added at each side of the maps, in pixels.

    One number pads all sides; [height, width] pads both sides in each direction.
    """

    top: Annotated[Padding, Field(description="rows of zeros above the maps")] = 0
    bottom: Annotated[Padding, Field(description="rows of zeros below the maps")] = 0
    left: Annotated[Padding, Field(description="columns of zeros left of the maps")] = 0
    right: Annotated[
        Padding, Field(description="columns of zeros right of the maps")
    ] = 0

    @model_validator(mode="before")
    @classmethod
    def _expand(cls, value: Any) -> Any:
        if isinstance(value, int) and not isinstance(value, bool):
            value = [value, value]
        if isinstance(value, list | tuple) and len(value) == 2:
            height, width = value
            return {"top": height, "bottom": height, "left": width, "right": width}
        if isinstance(value, dict | Sides):
            return value
        raise PydanticCustomError(
            "sides", "expected a whole number, [height, width], {top: ..., ...}"
        )

    @classmethod
    def __get_pydantic_json_schema__(
        cls, core: CoreSchema, handler: GetJsonSchemaHandler
    ) -> dict[str, Any]:
        by_side = handler.resolve_ref_schema(handler(core))
        return {"anyOf": [pair_schema(0), by_side]}


def check_groups(groups: int, read: int, out: int) -> Iterator[Diagnostic]:
    """Yield the numbers of channels that cannot be divided into groups."""
    for what, channels in (("output", out), ("input", read)):
        if channels % groups:
            yield Diagnostic(
                "shape-mismatch",
                f"{channels} {what} channels cannot be divided into {groups} groups",
                ("groups",),
                help=divisible(channels),
            )


class Conv2d(Weighted):
    """A 2-D convolution (`torch.nn.Conv2d`); input channels are inferred.

    Padding may differ by side. torch's module cannot do that, so the generated code
    then pads in a separate step.
    """

    op: Literal["conv2d"]
    out_channels: Annotated[Count, Field(description="number of output maps")]
    kernel_size: Annotated[
        Pair, Field(description="the window: one number, or [height, width]")
    ]
    stride: Annotated[
        Pair,
        Field(description="how far the window moves: one number, or [height, width]"),
    ] = (1, 1)
    padding: Sides | Literal["same"] = Sides()
    dilation: Annotated[
        Pair, Field(description="spacing of the values in a window; 1 means adjacent")
    ] = (1, 1)
    groups: Annotated[
        Count, Field(description="groups of channels that are convolved separately")
    ] = 1

    def check_fields(self) -> Iterator[Diagnostic]:
        yield from super().check_fields()
        if self.padding == "same" and self.stride != (1, 1):
            yield Diagnostic(
                "bad-value",
                "padding can be `same` only with a stride of 1",
                ("padding",),
                help="give it as numbers",
            )

    @property
    def sides(self) -> Sides:
        """The padding, with `same` as numbers."""
        if isinstance(self.padding, Sides):
            return self.padding
        height, width = (
            dilation * (size - 1)
            for dilation, size in zip(self.dilation, self.kernel_size, strict=True)
        )
        return Sides(
            top=height // 2,
            bottom=height - height // 2,
            left=width // 2,
            right=width - width // 2,
        )

    def check(self, x: Shape) -> Iterator[Diagnostic]:
        yield from check_groups(self.groups, x[0], self.out_channels)

    def output(self, x: Shape) -> Shape:
        need_maps(self.op, x)
        pad = self.sides
        padded = (x[1] + pad.top + pad.bottom, x[2] + pad.left + pad.right)
        size = []
        for axis, length in enumerate(padded):
            reach = self.dilation[axis] * (self.kernel_size[axis] - 1) + 1
            if reach > length:
                most = (length - 1) // self.dilation[axis] + 1
                raise Refusal(
                    "shape-mismatch",
                    f"a window of {reach} does not fit the padded"
                    f" {('height', 'width')[axis]} of {length}",
                    "kernel_size",
                    help=f"kernel_size can be at most {most} here, or add padding",
                )
            size.append((length - reach) // self.stride[axis] + 1)
        return (self.out_channels, *size)

    def window(self, x: Shape) -> Window:
        pad = self.sides
        sides = (pad.top, pad.bottom, pad.left, pad.right)
        return Window(self.kernel_size, self.stride, sides, self.dilation)

    def weight(self, x: Shape) -> Shape:
        return (self.out_channels, x[0] // self.groups, *self.kernel_size)

    def macs(self, x: Shape) -> int:
        return volume(self.output(x)) * volume(self.weight(x)[1:])

    def part(self, share: range, x: Shape) -> Part:
        out, read = self.out_channels // self.groups, x[0] // self.groups
        first, last = share.start // out, (share.stop - 1) // out
        whole_groups = share.start % out == 0 and share.stop % out == 0
        if first != last and not whole_groups:
            devices = self.out_channels // len(share)
            raise Refusal(
                "cannot-split",
                f"a share of {len(share)} channels cuts through groups of {out}",
                "groups",
                help=f"{devices} devices can share {divisors(devices)} groups,"
                f" or a multiple of {devices}",
            )
        groups = last - first + 1 if self.groups > 1 else 1
        local = self.changed(out_channels=len(share), groups=groups)
        return Part(local, (range(first * read, (last + 1) * read),))

    def torch(self, x: Shape) -> TorchForm:
        pad = self.sides
        args = [py(x[0]), py(self.out_channels), py(self.kernel_size)]
        if self.stride != (1, 1):
            args.append(f"stride={py(self.stride)}")
        symmetric = pad.top == pad.bottom and pad.left == pad.right
        if symmetric and (pad.top or pad.left):
            args.append(f"padding={py((pad.top, pad.left))}")
        if self.dilation != (1, 1):
            args.append(f"dilation={py(self.dilation)}")
        if self.groups > 1:
            args.append(f"groups={self.groups}")
        if not self.bias:
            args.append("bias=False")
        zeros = None if symmetric else (pad.left, pad.right, pad.top, pad.bottom)
        saved = Saved(input=True, weights=("weight",))
        names = ("in_channels", "out_channels", "kernel_size")
        return TorchForm(
            saved, Call("nn.Conv2d", tuple(args), names, DEFAULTS), pad=zeros
        )

    def onnx(self, x: Shape) -> list[OnnxNode]:
        pad = self.sides
        attributes = {
            "kernel_shape": self.kernel_size,
            "strides": self.stride,
            "pads": (pad.top, pad.left, pad.bottom, pad.right),
            "dilations": self.dilation,
            "group": self.groups,
        }
        return [OnnxNode("Conv", ("x", *self.parameters(x)), attributes)]
