"""Normalization by nearby responses: in other maps, or in the same one."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Annotated, Literal

from pydantic import Field, field_validator
from pydantic_core import PydanticCustomError

from specgen.diagnostics import Diagnostic
from specgen.ops.base import (
    FLOAT32,
    Call,
    OnnxNode,
    Op,
    Part,
    Refusal,
    Saved,
    Shape,
    TorchForm,
    Window,
    divisible,
    need_maps,
    volume,
)
from specgen.schema import Count, Positive


class ResponseNorm(Op):
    """Divides each value by (k + alpha * mean of squares in its window) ** beta.

    The window is centered on the value. Values outside the maps are zeros, and they
    count in the mean. So alpha is divided by the number of values in the window, as in
    PyTorch, ONNX, Caffe and the 2012 code; in the paper it is not.
    """

    size: Annotated[
        Count,
        Field(
            description="the window: an odd number of channels, or of rows and columns"
        ),
    ]
    alpha: Annotated[Positive, Field(description="weight of the mean of squares")] = (
        1e-4
    )
    beta: Annotated[Positive, Field(description="exponent of the divisor")] = 0.75
    k: Annotated[
        Positive, Field(description="added to the weighted mean of squares")
    ] = 1.0

    @field_validator("size")
    @classmethod
    def _odd(cls, size: int) -> int:
        if size % 2 == 0:
            raise PydanticCustomError(
                "odd", "the window must be odd, so that it is centered on its value"
            )
        return size

    def output(self, x: Shape) -> Shape:
        need_maps(self.op, x)
        return x

    def _saved(self, x: Shape) -> Saved:
        """Besides x, the power's base; the power itself is soon multiplied by x."""
        size = FLOAT32 * volume(x)
        return Saved(input=True, other=size, scratch=size)

    def _form(self, saved: Saved, name: str, *more: str) -> TorchForm:
        """A class `name` that the generated file defines."""
        fields = [f"{key}={getattr(self, key)!r}" for key in ("alpha", "beta", "k")]
        return TorchForm(saved, Call(name, (str(self.size), *fields, *more)))


class LocalResponseNorm(ResponseNorm):
    """Across maps: the window is `size` neighboring channels in the same place.

    It never extends beyond one of the `groups` groups: each of the two towers of 2012
    normalizes over its own maps only.
    """

    op: Literal["local_response_norm"]
    # Each is an ONNX node; keep their number reasonable.
    groups: Annotated[
        int,
        Field(
            ge=1,
            le=1024,
            description="groups of channels that are normalized separately",
        ),
    ] = 1

    def check(self, x: Shape) -> Iterator[Diagnostic]:
        if x[0] % self.groups:
            yield Diagnostic(
                "shape-mismatch",
                f"{x[0]} channels cannot be divided into {self.groups} groups",
                ("groups",),
                help=divisible(x[0]),
            )

    def part(self, share: range, x: Shape) -> Part:
        group = x[0] // self.groups
        if share.start % group or share.stop % group:
            raise Refusal(
                "cannot-split",
                f"a window over {group} channels cannot be split"
                f" into shares of {len(share)}",
                "groups" if self.groups > 1 else "op",
                help=f"with groups: {x[0] // len(share)} each share is normalized"
                " separately (a different function), or place the layer on one device",
            )
        return Part(self.changed(groups=len(share) // group), (share,))

    def torch(self, x: Shape) -> TorchForm:
        saved = self._saved(x)
        more = [f"groups={self.groups}"] if self.groups > 1 else []
        return self._form(saved, "LocalResponseNorm", *more)

    def onnx(self, x: Shape) -> list[OnnxNode]:
        # ONNX's default for bias is not torch's for k, so all four are written.
        norm = {
            "size": self.size,
            "alpha": self.alpha,
            "beta": self.beta,
            "bias": self.k,
        }
        if self.groups == 1:
            return [OnnxNode("LRN", attributes=norm)]
        along, shape = {"axis": 1}, (x[0] // self.groups, *x[1:])
        split = OnnxNode(
            "Split", ("x",), along, name="Split", shape=shape, outputs=self.groups
        )
        norms = [
            OnnxNode("LRN", (part,), norm, name=f"LRN_{index}", shape=shape)
            for index, part in enumerate(split.results)
        ]
        return [split, *norms, OnnxNode("Concat", tuple(n.name for n in norms), along)]


class SpatialResponseNorm(ResponseNorm):
    """Within a map: the window is `size` x `size` values of the same channel.

    The "local response normalization (same map)" of cuda-convnet, `rnorm` in its layer
    files, and Caffe's LRN with `norm_region: WITHIN_CHANNEL`.
    """

    op: Literal["spatial_response_norm"]

    def window(self, x: Shape) -> Window:
        reach = self.size // 2
        return Window((self.size, self.size), (1, 1), (reach, reach, reach, reach))

    def torch(self, x: Shape) -> TorchForm:
        return self._form(self._saved(x), "SpatialResponseNorm")

    def onnx(self, x: Shape) -> list[OnnxNode]:
        reach = self.size // 2
        window = {
            "kernel_shape": (self.size, self.size),
            "pads": (reach, reach, reach, reach),
            "count_include_pad": 1,
        }
        alpha, beta, k = {"alpha": self.alpha}, {"beta": self.beta}, {"k": self.k}
        return [
            OnnxNode("Mul", ("x", "x"), name="squares", shape=x),
            OnnxNode("AveragePool", ("squares",), window, name="mean", shape=x),
            OnnxNode("Mul", ("mean", "alpha"), {}, alpha, "scaled", x),
            OnnxNode("Add", ("scaled", "k"), {}, k, "base", x),
            OnnxNode("Pow", ("base", "beta"), {}, beta, "power", x),
            OnnxNode("Div", ("x", "power")),
        ]
