"""Initialization of layers with a weight and a bias."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from typing import Annotated, Any, ClassVar

from pydantic import Field

from specgen.diagnostics import Diagnostic
from specgen.ops.base import Autocast, Op, Owned, Shape, volume
from specgen.ops.start import BiasRule, Draw, Rule, Start, WeightRule
from specgen.schema import Strict


class Init(Strict):
    """Initialization of a layer's parameters; the spec's `init` has the defaults.

    Each value is a number, or a name or distribution of torch.nn.init. kaiming_normal
    has a standard deviation of sqrt(2 / fan_in), which keeps the variance through ReLU
    (He et al., 2015).
    """

    weight: Annotated[
        WeightRule | None,
        Field(description="kaiming_normal, {normal: {std: 0.01}}, ..., or a number"),
    ] = None
    bias: Annotated[
        BiasRule | None,
        Field(description="a number for all, uniform, or {normal: {std: 0.01}}"),
    ] = None

    def given(self) -> dict[str, Any]:
        """The values given here."""
        return {name: value for name, value in self if value is not None}


# Initialization of parameters without an `init` in the layer or the spec.
DEFAULT_START: dict[str, Rule] = {"weight": "kaiming_normal", "bias": 0}


def draws(tensors: Mapping[str, Owned], default: Init) -> dict[str, Draw]:
    """How each tensor of an op is filled, by leaf; `default` is the spec's `init`."""
    rules = DEFAULT_START | default.given()
    return {leaf: own.start.draw(rules.get(leaf, 0)) for leaf, own in tensors.items()}


def used_defaults(layers: Iterable[Op]) -> set[str]:
    """The parts of the spec's `init` that some layer uses: weight, bias, or both."""
    weighted = [op for op in layers if isinstance(op, Weighted) and op.spec_init]
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

    autocast: ClassVar[Autocast] = "bfloat16"
    # Whether the spec's `init` is for it.
    spec_init: ClassVar[bool] = True
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

    def tensors(self, x: Shape) -> dict[str, Owned]:
        weight = self.weight(x)
        found = {"weight": Owned(weight, Start(self.init.weight, fans(weight)))}
        if self.bias:
            found["bias"] = Owned(weight[:1], Start(self.init.bias, fans(weight)))
        return found


def fans(weight: Shape) -> tuple[int, int]:
    """Return how many values make an output, and how many outputs one is read for."""
    return volume(weight[1:]), weight[0] * volume(weight[2:])
