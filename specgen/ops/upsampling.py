"""Ops that make maps larger: transposed convolution and interpolation."""

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
    Owned,
    PaddingPair,
    Pair,
    Part,
    Refusal,
    Saved,
    Shape,
    TorchForm,
    Window,
    need_maps,
    py,
    volume,
)
from specgen.ops.conv import DEFAULTS, check_groups
from specgen.ops.weighted import Weighted
from specgen.schema import Count


class ConvTranspose2d(Weighted):
    """The transpose of a convolution (`torch.nn.ConvTranspose2d`).

    It turns the output of a `conv2d` with the same fields into maps of the size of its
    input. A stride of 2 and more has several such sizes: `output_padding` adds rows and
    columns at the bottom and the right.
    """

    op: Literal["conv_transpose2d"]
    out_channels: Annotated[Count, Field(description="number of output maps")]
    kernel_size: Annotated[
        Pair, Field(description="the window: one number, or [height, width]")
    ]
    stride: Annotated[
        Pair,
        Field(description="how far the window moves: one number, or [height, width]"),
    ] = (1, 1)
    padding: Annotated[
        PaddingPair,
        Field(description="pixels cut off each side: one number, or [height, width]"),
    ] = (0, 0)
    output_padding: Annotated[
        PaddingPair,
        Field(description="rows and columns added at the bottom and right"),
    ] = (0, 0)
    dilation: Annotated[
        Pair, Field(description="spacing of the values in a window; 1 means adjacent")
    ] = (1, 1)
    groups: Annotated[
        Count, Field(description="groups of channels that are convolved separately")
    ] = 1

    def check_fields(self) -> Iterator[Diagnostic]:
        yield from super().check_fields()
        for more, stride in zip(self.output_padding, self.stride, strict=True):
            if more >= stride:  # torch allows it with a dilation, onnxruntime does not
                yield Diagnostic(
                    "out-of-range",
                    f"an output padding of {more} is not smaller than the stride of"
                    f" {stride}",
                    ("output_padding",),
                    help=f"output_padding can be at most {stride - 1} here",
                )
                return

    def check(self, x: Shape) -> Iterator[Diagnostic]:
        yield from check_groups(self.groups, x[0], self.out_channels)

    def output(self, x: Shape) -> Shape:
        need_maps(self.op, x)
        size = []
        for axis, length in enumerate(x[1:]):
            whole = (
                (length - 1) * self.stride[axis]
                + self.dilation[axis] * (self.kernel_size[axis] - 1)
                + self.output_padding[axis]
                + 1
            )
            if whole <= 2 * self.padding[axis]:
                raise Refusal(
                    "shape-mismatch",
                    f"a padding of {self.padding[axis]} cuts off all of the"
                    f" {('height', 'width')[axis]} of {whole}",
                    "padding",
                    help=f"padding can be at most {(whole - 1) // 2} here",
                )
            size.append(whole - 2 * self.padding[axis])
        return (self.out_channels, *size)

    def window(self, x: Shape) -> Window:
        (top, left), window = self.padding, (self.kernel_size, self.stride)
        padding = (top, top, left, left)
        return Window(*window, padding, self.dilation, transposed=True)

    def weight(self, x: Shape) -> Shape:
        return (x[0], self.out_channels // self.groups, *self.kernel_size)

    def tensors(self, x: Shape) -> dict[str, Owned]:
        found = super().tensors(x)
        if self.groups == 1:  # the first axis is the inputs, which all shares read
            found["weight"] = replace(found["weight"], cut=1)
        if self.bias:
            found["bias"] = replace(found["bias"], shape=(self.out_channels,))
        return found

    def macs(self, x: Shape) -> int:
        return volume(x) * volume(self.weight(x)[1:])

    def part(self, share: range, x: Shape) -> Part:
        out, read = self.out_channels // self.groups, x[0] // self.groups
        if self.groups == 1:
            part = self.changed(out_channels=len(share))
            return Part(part, (range(x[0]),))
        if share.start % out or share.stop % out:
            # Shares within a group would cut the second axis of the weight, too.
            raise Refusal(
                "cannot-split",
                f"a share of {len(share)} channels cuts through groups of {out}",
                "groups",
                help="place it on one device",
            )
        first, last = share.start // out, share.stop // out
        local = self.changed(out_channels=len(share), groups=last - first)
        return Part(local, (range(first * read, last * read),))

    def torch(self, x: Shape) -> TorchForm:
        args = [str(x[0]), str(self.out_channels), py(self.kernel_size)]
        for name in ("stride", "padding", "output_padding", "groups", "dilation"):
            value = getattr(self, name)
            if value != type(self).model_fields[name].default:
                args.append(f"{name}={py(value)}")
        if not self.bias:
            args.append("bias=False")
        saved = Saved(input=True, weights=("weight",))
        names = ("in_channels", "out_channels", "kernel_size")
        defaults = DEFAULTS | {"output_padding": "0"}
        call = Call("nn.ConvTranspose2d", tuple(args), names, defaults)
        return TorchForm(saved, call)

    def onnx(self, x: Shape) -> list[OnnxNode]:
        attributes = {
            "kernel_shape": self.kernel_size,
            "strides": self.stride,
            "pads": self.padding * 2,
            "output_padding": self.output_padding,
            "dilations": self.dilation,
            "group": self.groups,
        }
        return [OnnxNode("ConvTranspose", ("x", *self.parameters(x)), attributes)]


class Upsample(Op):
    """Maps made larger by interpolation (`torch.nn.Upsample`)."""

    op: Literal["upsample"]
    scale_factor: Annotated[
        Pair,
        Field(description="factor for height and width: one number, or two"),
    ]
    mode: Annotated[
        Literal["nearest", "bilinear"],
        Field(description="nearest repeats values, bilinear interpolates between them"),
    ] = "nearest"
    align_corners: Annotated[
        bool,
        Field(description="whether the outermost values stay in the corners"),
    ] = False

    def check_fields(self) -> Iterator[Diagnostic]:
        if self.scale_factor == (1, 1):
            message = "a factor of 1 changes nothing"
            yield Diagnostic("no-effect", message, ("scale_factor",))
        if self.align_corners and self.mode == "nearest":
            yield Diagnostic(
                "no-effect", "nearest has no corners to align", ("align_corners",)
            )

    def output(self, x: Shape) -> Shape:
        need_maps(self.op, x)
        height, width = self.scale_factor
        return (x[0], x[1] * height, x[2] * width)

    def window(self, x: Shape) -> Window:
        # Bilinear is a transposed convolution with triangles of twice the size.
        height, width = self.scale_factor
        size = (height, width) if self.mode == "nearest" else (2 * height, 2 * width)
        return Window(size, self.scale_factor, (0, 0, 0, 0), transposed=True)

    def torch(self, x: Shape) -> TorchForm:
        args = [f"scale_factor={py(self.scale_factor)}"]
        if self.mode != "nearest":
            args.append(f'mode="{self.mode}"')
        if self.align_corners:
            args.append("align_corners=True")
        return TorchForm(Saved(), Call("nn.Upsample", tuple(args)))

    def onnx(self, x: Shape) -> list[OnnxNode]:
        attributes = {"mode": "linear", "coordinate_transformation_mode": "half_pixel"}
        if self.align_corners:
            attributes["coordinate_transformation_mode"] = "align_corners"
        if self.mode == "nearest":
            attributes = {
                "mode": "nearest",
                "coordinate_transformation_mode": "asymmetric",
                "nearest_mode": "floor",
            }
        scales = (1.0, 1.0, *map(float, self.scale_factor))
        inputs = {"roi": (), "scales": scales}  # the region of interest: none
        return [OnnxNode("Resize", ("x", *inputs), attributes, inputs)]
