"""Learned factors: of the negative values (PReLU), or of each channel (layer scale)."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Annotated, ClassVar, Literal

from pydantic import Field

from specgen.diagnostics import Diagnostic
from specgen.ops.base import (
    Autocast,
    Call,
    Infix,
    OnnxNode,
    Op,
    Owned,
    Part,
    Refusal,
    Saved,
    Shape,
    TorchForm,
    need_maps,
)
from specgen.ops.normalization import WEIGHT, per_channel
from specgen.ops.start import constant
from specgen.schema import Count, Figure, Strict


class PreluInit(Strict):
    """Initial value of all slopes."""

    weight: Annotated[Figure, Field(description="initial value of every slope")] = 0.25


class LayerScaleInit(Strict):
    """Initial value of all factors."""

    weight: Annotated[Figure, Field(description="initial value of every factor")] = 1e-6


class Prelu(Op):
    """x where it is positive, else x times a learned slope (`torch.nn.PReLU`)."""

    op: Literal["prelu"]
    autocast: ClassVar[Autocast] = "bfloat16"
    num_parameters: Annotated[
        Count, Field(description="slopes: 1, or one for each channel")
    ] = 1
    init: Annotated[PreluInit, Field(description="initial value of the slopes")] = (
        PreluInit()
    )

    def check(self, x: Shape) -> Iterator[Diagnostic]:
        if self.num_parameters not in (1, x[0]):
            yield Diagnostic(
                "shape-mismatch",
                f"{self.num_parameters} slopes do not fit {x[0]} channels",
                ("num_parameters",),
                help=f"num_parameters can be 1 or {x[0]} here",
            )

    def tensors(self, x: Shape) -> dict[str, Owned]:
        return {WEIGHT: Owned((self.num_parameters,), constant(self.init.weight))}

    def part(self, share: range, x: Shape) -> Part:
        if self.num_parameters == 1 and len(share) < x[0]:
            raise Refusal(
                "cannot-split",
                "one slope is learned from all channels and cannot be split",
                "num_parameters",
                help=f"with num_parameters: {x[0]} each channel has its own, or place"
                " the layer on one device",
            )
        count = 1 if self.num_parameters == 1 else len(share)
        return Part(self.changed(num_parameters=count), (share,))

    def torch(self, x: Shape) -> TorchForm:
        args = () if self.num_parameters == 1 else (str(self.num_parameters),)
        call = Call("nn.PReLU", args, ("num_parameters",), {"num_parameters": "1"})
        return TorchForm(Saved(input=True, weights=(WEIGHT,)), call)

    def onnx(self, x: Shape) -> list[OnnxNode]:
        if self.num_parameters == 1 or len(x) == 1:
            return [OnnxNode("PRelu", ("x", WEIGHT))]
        return per_channel("PRelu", "x", WEIGHT, x)


class LayerScale(Op):
    """Multiplies each channel by a learned factor, small at first (CaiT, ConvNeXt).

    The factors, (C, 1, 1), are a parameter without a module: in a checkpoint they have
    the name of the layer.
    """

    op: Literal["layer_scale"]
    autocast: ClassVar[Autocast] = "float32"  # the type of the factors
    init: Annotated[
        LayerScaleInit, Field(description="initial value of the factors")
    ] = LayerScaleInit()

    def output(self, x: Shape) -> Shape:
        need_maps(self.op, x)
        return x

    def tensors(self, x: Shape) -> dict[str, Owned]:
        return {"": Owned((x[0], 1, 1), constant(self.init.weight))}

    def torch(self, x: Shape) -> TorchForm:
        return TorchForm(
            Saved(input=True),
            Call("parameter", (str(x[0]), "1", "1"), ("channels",)),
            Infix("*"),
        )

    def onnx(self, x: Shape) -> list[OnnxNode]:
        return [OnnxNode("Mul", ("x", ""))]
