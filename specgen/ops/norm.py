"""Normalisation."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Literal

from pydantic import field_validator
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
    divisors,
    need_maps,
    volume,
)
from specgen.schema import Count, Positive


class LocalResponseNorm(Op):
    """Divides each value by (k + alpha / size * sum of squares in the window) ** beta.

    The window is `size` neighbouring channels, cut off at the ends of each of `groups`
    groups: the towers of 2012 normalise over their own maps only. Alpha is divided by
    the size, as in PyTorch, ONNX, Caffe and the code of 2012; in the paper it is not.
    """

    op: Literal["local_response_norm"]
    size: Count
    alpha: Positive = 1e-4
    beta: Positive = 0.75
    k: Positive = 1.0
    groups: Count = 1

    @field_validator("size")
    @classmethod
    def _odd(cls, size: int) -> int:
        if size % 2 == 0:
            raise PydanticCustomError(
                "odd", "the window must be odd, so that it is centred on its channel"
            )
        return size

    def check(self, x: Shape) -> Iterator[Diagnostic]:
        if x[0] % self.groups:
            yield Diagnostic(
                "shape-mismatch",
                f"{x[0]} channels cannot be divided into {self.groups} groups",
                ("groups",),
                help=f"{x[0]} is divisible by {divisors(x[0])}",
            )

    def output(self, x: Shape) -> Shape:
        need_maps(self.op, x)
        return x

    def part(self, x: Shape, share: range) -> Part:
        group = x[0] // self.groups
        if share.start % group or share.stop % group:
            raise Refusal(
                "cannot-split",
                f"a window over {group} channels cannot be split"
                f" into shares of {len(share)}",
                "groups" if "groups" in self.model_fields_set else "op",
                help=f"with groups: {x[0] // len(share)} each share is normalised by"
                " itself (another function), or place the layer on one device",
            )
        return Part(self.model_copy(update={"groups": len(share) // group}), share)

    def torch(self, x: Shape) -> TorchForm:
        args = [str(self.size)]
        args += [f"{name}={getattr(self, name)!r}" for name in ("alpha", "beta", "k")]
        if self.groups > 1:
            args.append(f"groups={self.groups}")
        name = "LocalResponseNorm"
        # Beside x, the base of the power.
        saved = Saved(input=True, other=FLOAT32 * volume(x))
        return TorchForm(saved, Call(name, tuple(args)), helper=name)

    def onnx(self, x: Shape) -> list[OnnxNode]:
        # bias has another default in ONNX than k in torch: all four are written.
        attributes = {
            "size": self.size,
            "alpha": self.alpha,
            "beta": self.beta,
            "bias": self.k,
        }
        return [OnnxNode("LRN", attributes, groups=self.groups)]
