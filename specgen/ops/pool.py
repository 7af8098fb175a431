"""Pooling."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Annotated, Any, Literal

from pydantic import Field

from specgen.diagnostics import Diagnostic
from specgen.ops.base import (
    INT64,
    Call,
    OnnxNode,
    Op,
    PaddingPair,
    Pair,
    Refusal,
    Saved,
    Shape,
    TorchForm,
    Window,
    need_maps,
    py,
    volume,
)


class Pool2d(Op):
    """A window that slides over each map separately, rounding down like torch.

    `ceil_mode` rounds up: windows may then extend past the bottom and right edges, and
    nothing out there counts.
    """

    kernel_size: Annotated[
        Pair, Field(description="the window: one number, or [height, width]")
    ]
    stride: Annotated[
        Pair | None,
        Field(description="how far the window moves; by default, its own size"),
    ] = None
    padding: Annotated[
        PaddingPair,
        Field(description="pixels around the maps: one number, or [height, width]"),
    ] = (0, 0)
    ceil_mode: Annotated[
        bool, Field(description="whether the last window may extend past the edge")
    ] = False

    @property
    def _step(self) -> tuple[int, int]:
        """The stride; as in PyTorch, the window's own size by default."""
        return self.stride or self.kernel_size

    def check_fields(self) -> Iterator[Diagnostic]:
        for pad, kernel in zip(self.padding, self.kernel_size, strict=True):
            if 2 * pad > kernel:
                yield Diagnostic(
                    "shape-mismatch",
                    f"a padding of {pad} is more than half the window of {kernel}",
                    ("padding",),
                    help=f"padding can be at most {kernel // 2} here",
                )
                return

    def output(self, x: Shape) -> Shape:
        need_maps(self.op, x)
        return (x[0], self._windows(x, 0), self._windows(x, 1))

    def window(self, x: Shape) -> Window:
        height, width = self.padding
        return Window(self.kernel_size, self._step, (height, height, width, width))

    def _windows(self, x: Shape, axis: int) -> int:
        """Number of window positions along height (0) or width (1)."""
        length, kernel = x[1 + axis], self.kernel_size[axis]
        stride, pad = self._step[axis], self.padding[axis]
        span = length + 2 * pad - kernel
        count = span // stride + 1
        # torch drops a last window that would start past the input and top padding.
        if self.ceil_mode and span % stride and count * stride < length + pad:
            count += 1
        if count < 1:
            raise Refusal(
                "shape-mismatch",
                f"a window of {kernel} does not fit the padded"
                f" {('height', 'width')[axis]} of {length + 2 * pad}",
                "kernel_size",
                help=f"kernel_size can be at most {length + 2 * pad} here",
            )
        return count

    def _overhang(self, x: Shape) -> tuple[int, int]:
        """How far the last window extends past the bottom and right padding."""
        bottom, right = (
            max(
                0,
                (self._windows(x, axis) - 1) * self._step[axis]
                + self.kernel_size[axis]
                - (x[1 + axis] + 2 * self.padding[axis]),
            )
            for axis in (0, 1)
        )
        return bottom, right

    def _module(self, saved: Saved, name: str, *more: str) -> TorchForm:
        args = [py(self.kernel_size)]
        if self._step != self.kernel_size:
            args.append(f"stride={py(self._step)}")
        if self.padding != (0, 0):
            args.append(f"padding={py(self.padding)}")
        if self.ceil_mode:
            args.append("ceil_mode=True")
        return TorchForm(saved, Call(name, (*args, *more), ("kernel_size",)))

    def _window(self, x: Shape) -> dict[str, Any]:
        """ONNX attributes; explicit end padding replaces ceil_mode.

        Old runtimes and shape inference get ceil_mode=1 wrong, but explicit padding
        right.
        """
        (top, left), (bottom, right) = self.padding, self._overhang(x)
        return {
            "kernel_shape": self.kernel_size,
            "strides": self._step,
            "pads": (top, left, top + bottom, left + right),
        }


class MaxPool2d(Pool2d):
    """The largest value in each window (`torch.nn.MaxPool2d`)."""

    op: Literal["max_pool2d"]

    def torch(self, x: Shape) -> TorchForm:
        indices = INT64 * volume(self.output(x))
        return self._module(Saved(input=True, other=indices), "nn.MaxPool2d")

    def onnx(self, x: Shape) -> list[OnnxNode]:
        return [OnnxNode("MaxPool", attributes=self._window(x))]


class AvgPool2d(Pool2d):
    """The mean of each window (`torch.nn.AvgPool2d`)."""

    op: Literal["avg_pool2d"]
    count_include_pad: Annotated[
        bool, Field(description="whether the mean includes the padding, as zeros")
    ] = True

    def check_fields(self) -> Iterator[Diagnostic]:
        yield from super().check_fields()
        if self.padding == (0, 0) and not self.count_include_pad:
            yield Diagnostic(
                "no-effect",
                "without padding there is nothing to leave out of the count",
                ("count_include_pad",),
            )

    def torch(self, x: Shape) -> TorchForm:
        more = [] if self.count_include_pad else ["count_include_pad=False"]
        return self._module(Saved(input=True), "nn.AvgPool2d", *more)

    def onnx(self, x: Shape) -> list[OnnxNode]:
        window = self._window(x) | {"count_include_pad": 0}
        if not self.count_include_pad or self.padding == (0, 0):
            return [OnnxNode("AveragePool", attributes=window)]
        # Counted padding becomes part of the maps; what ceil_mode adds never counts.
        (top, left), (bottom, right) = self.padding, self._overhang(x)
        pads = (0, 0, top, left, 0, 0, top, left)
        padded = (x[0], x[1] + 2 * top, x[2] + 2 * left)
        return [
            OnnxNode("Pad", ("x", "pads"), {}, {"pads": pads}, "Pad", padded),
            OnnxNode("AveragePool", ("Pad",), window | {"pads": (0, 0, bottom, right)}),
        ]


class AdaptivePool2d(Op):
    """A pool that gives maps of `output_size`, whatever it reads; 1 pools globally.

    PyTorch's windows may overlap and differ in size. Here they must be equal and
    equally far apart, so that any runtime of ONNX has a node for them.
    """

    output_size: Annotated[
        Pair,
        Field(description="size of the output: one number, or [height, width]"),
    ]

    def output(self, x: Shape) -> Shape:
        need_maps(self.op, x)
        for what, length, size in zip(
            ("rows", "columns"), x[1:], self.output_size, strict=True
        ):
            if _equal_windows(length, size) is None:
                raise Refusal(
                    "shape-mismatch",
                    f"{length} {what} cannot be pooled to {size} by equal windows",
                    "output_size",
                    help=f"{length} can be pooled to {_sizes(length)}",
                )
        return (x[0], *self.output_size)

    def window(self, x: Shape) -> Window:
        axes = zip(x[1:], self.output_size, strict=True)
        (height, down), (width, across) = (_equal_windows(*a) or (1, 1) for a in axes)
        return Window((height, width), (down, across), (0, 0, 0, 0))

    def _module(self, saved: Saved, name: str) -> TorchForm:
        args = (py(self.output_size),)
        return TorchForm(saved, Call(name, args, ("output_size",)))

    def _nodes(self, x: Shape, kind: str) -> list[OnnxNode]:
        if self.output_size == (1, 1):
            return [OnnxNode(f"Global{kind}")]
        window = self.window(x)
        attributes = {"kernel_shape": window.kernel_size, "strides": window.stride}
        return [OnnxNode(kind, attributes=attributes)]


class AdaptiveAvgPool2d(AdaptivePool2d):
    """The mean of each window (`torch.nn.AdaptiveAvgPool2d`)."""

    op: Literal["adaptive_avg_pool2d"]

    def torch(self, x: Shape) -> TorchForm:
        # A single window is a mean over height and width, which keeps only their sizes.
        saved = Saved(input=self.output_size != (1, 1))
        return self._module(saved, "nn.AdaptiveAvgPool2d")

    def onnx(self, x: Shape) -> list[OnnxNode]:
        return self._nodes(x, "AveragePool")


class AdaptiveMaxPool2d(AdaptivePool2d):
    """The largest value in each window (`torch.nn.AdaptiveMaxPool2d`)."""

    op: Literal["adaptive_max_pool2d"]

    def torch(self, x: Shape) -> TorchForm:
        indices = INT64 * volume(self.output(x))
        return self._module(Saved(input=True, other=indices), "nn.AdaptiveMaxPool2d")

    def onnx(self, x: Shape) -> list[OnnxNode]:
        return self._nodes(x, "MaxPool")


def _equal_windows(length: int, size: int) -> tuple[int, int] | None:
    """Length and stride of PyTorch's adaptive windows, None if they are not equal.

    Window i begins at i * length / size, rounded down, and ends at (i + 1) * length /
    size, rounded up.
    """
    if size > length:
        return None
    reach, stride = -(-length // size), length // size
    equal = all(
        i * length // size == i * stride
        and -(-(i + 1) * length // size) == i * stride + reach
        for i in range(size)
    )
    return (reach, stride) if equal else None


def _sizes(length: int) -> str:
    """The first few sizes that this many rows can be pooled to."""
    found = [n for n in range(1, min(length, 64) + 1) if _equal_windows(length, n)]
    return ", ".join(map(str, found[:8])) + (", ..." if found[8:] else "")
