"""Initialization of layers with a weight and a bias."""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator
from typing import Annotated, Any, Literal

from pydantic import Field

from specgen.diagnostics import Diagnostic
from specgen.ops.base import Op, Shape
from specgen.schema import Figure, Positive, Strict


class Normal(Strict):
    """Zero mean and this standard deviation."""

    std: Annotated[Positive, Field(description="standard deviation")]


class NormalWeight(Strict):
    """`{normal: {std: 0.01}}`."""

    normal: Annotated[
        Normal, Field(description="draw from a normal distribution: {std: 0.01}")
    ]


class Init(Strict):
    """Initialization of a layer's parameters; the spec's `init` has the defaults.

    `weight` is `{normal: {std: S}}`, or `kaiming_normal`: standard deviation
    sqrt(2 / fan_in), which keeps the variance through ReLU (He et al., 2015).
    """

    weight: Annotated[
        NormalWeight | Literal["kaiming_normal"] | None,
        Field(description="{normal: {std: 0.01}}, or kaiming_normal: sqrt(2 / fan_in)"),
    ] = None
    bias: Annotated[Figure | None, Field(description="initial value of every bias")] = (
        None
    )

    def over(self, default: Init) -> Init:
        """These initial values, completed from `default`."""
        return default.model_copy(update=self.given())

    def given(self) -> dict[str, Any]:
        """The values given here."""
        return {name: value for name, value in self if value is not None}

    def std(self, fan_in: int) -> float:
        """Standard deviation of weights, `fan_in` of which make one output."""
        if isinstance(self.weight, NormalWeight):
            return self.weight.normal.std
        return round(math.sqrt(2 / fan_in), 6)  # reads well, and is close enough


# Initialization of parameters without an `init` in the layer or the spec.
DEFAULT_START = {"weight": "kaiming_normal", "bias": 0}


def used_defaults(layers: Iterable[Op]) -> set[str]:
    """The parts of the spec's `init` that some layer uses: weight, bias, or both."""
    weighted = [op for op in layers if isinstance(op, Weighted)]
    users = {"weight": weighted, "bias": [op for op in weighted if op.bias]}
    return {
        leaf
        for leaf, ops in users.items()
        if not all(leaf in op.init.given() for op in ops)
    }


def check_default(default: Init, layers: Iterable[Op]) -> Iterator[Diagnostic]:
    """Yield the parts of the spec's `init` that no layer uses."""
    used = used_defaults(layers)
    for leaf in default.given():
        if leaf not in used:
            yield Diagnostic(
                "no-effect",
                f"no layer uses this default {leaf}",
                ("init", leaf),
                at_key=True,
                help="remove it: each layer has its own, or none",
            )


class Weighted(Op):
    """An op with a weight, whose first axis is the outputs, and perhaps a bias."""

    bias: Annotated[
        bool, Field(description="whether a learned value is added to each output")
    ] = True
    init: Annotated[
        Init,
        Field(
            description="initial values of the parameters; by default, the spec's init"
        ),
    ] = Init()

    def check_fields(self) -> Iterator[Diagnostic]:
        if not self.bias and self.init.bias is not None:
            yield Diagnostic(
                "no-effect",
                "this layer has no bias to initialize",
                ("init", "bias"),
                help="remove it, or remove `bias: false`",
            )

    def weight(self, x: Shape) -> Shape:
        """Shape of the whole weight."""
        raise NotImplementedError

    def parameters(self, x: Shape) -> dict[str, Shape]:
        weight = self.weight(x)
        return {"weight": weight} | ({"bias": weight[:1]} if self.bias else {})
