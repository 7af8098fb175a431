"""How a tensor is initialized: what a spec says, and the draw that it means.

Names are those of torch.nn.init.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Annotated, Literal, Self

from pydantic import Field, model_validator
from pydantic_core import PydanticCustomError

from specgen.schema import Figure, Positive, Strict


class Normal(Strict):
    """Zero mean and this standard deviation."""

    std: Annotated[Positive, Field(description="standard deviation")]


TruncNormal = Annotated[
    Normal | None,
    Field(description="a normal distribution cut at -2 and 2: {std: 0.02}"),
]


class Fan(Strict):
    """What the scale is made for: the values forward, or the gradients backward."""

    mode: Annotated[
        Literal["fan_in", "fan_out"],
        Field(
            description="fan_in keeps the scale of values, fan_out that of gradients"
        ),
    ] = "fan_in"


class OneDistribution(Strict):
    """A distribution by its name in torch.nn.init."""

    normal: Annotated[
        Normal | None,
        Field(description="draw from a normal distribution: {std: 0.01}"),
    ] = None

    @model_validator(mode="after")
    def _one(self) -> Self:
        if (count := len(self.model_fields_set)) != 1:
            code, names = (
                "bad-value" if count else "missing-key",
                type(self).model_fields,
            )
            message = "give exactly one of {names}"
            raise PydanticCustomError(code, message, {"names": ", ".join(names)})
        return self


class BiasDistribution(OneDistribution):
    """A distribution of biases; `uniform` is that of torch's own layers."""

    uniform: Annotated[
        Fan | None,
        Field(description="draw from within 1 / sqrt(fan) of 0: {mode: fan_out}"),
    ] = None


class NormalDistribution(OneDistribution):
    """A distribution of values that no layer's outputs are sums of."""

    trunc_normal: TruncNormal = None


class Distribution(BiasDistribution):
    """A distribution of weights."""

    trunc_normal: TruncNormal = None
    kaiming_normal: Annotated[
        Fan | None,
        Field(description="a standard deviation of sqrt(2 / fan): {mode: fan_out}"),
    ] = None
    kaiming_uniform: Annotated[
        Fan | None,
        Field(description="the same, from a uniform distribution: {mode: fan_out}"),
    ] = None


# The variance of a value, times the fan: 2 makes up for ReLU, 1/3 is torch's default.
GAINS = {
    "kaiming_normal": 2,
    "kaiming_uniform": 2,
    "xavier_normal": 2,  # over both fans
    "xavier_uniform": 2,
    "uniform": 1 / 3,
}
# What a spec says: a distribution, by its name alone or with more, or one number for
# all values.
WeightRule = (
    Distribution
    | Literal[
        "kaiming_normal",
        "kaiming_uniform",
        "xavier_normal",
        "xavier_uniform",
        "uniform",
    ]
    | Figure
)
BiasRule = Figure | Literal["uniform"] | BiasDistribution
Rule = OneDistribution | str | float


@dataclass(frozen=True, slots=True)
class Draw:
    """How a tensor is filled.

    `size` is a standard deviation, the bound of a uniform distribution around 0, or the
    constant.
    """

    kind: Literal["normal", "trunc_normal", "uniform", "constant"]
    size: float


@dataclass(frozen=True, slots=True)
class Start:
    """How a tensor is initialized; `rule` is None where the spec's `init` says it.

    `fans` are how many values make one output of the layer, and how many outputs one
    value is read for.
    """

    rule: Rule | None
    fans: tuple[int, int] = (1, 1)

    def draw(self, default: Rule) -> Draw:
        """Return how to fill the tensor, where the spec's `init` says `default`."""
        rule = default if self.rule is None else self.rule
        if isinstance(rule, int | float):
            return Draw("constant", rule)
        if isinstance(rule, OneDistribution) and rule.normal:
            return Draw("normal", rule.normal.std)
        if isinstance(rule, Distribution | NormalDistribution) and rule.trunc_normal:
            return Draw("trunc_normal", rule.trunc_normal.std)
        variance = GAINS[name(rule)] / self._fan(rule)
        uniform = name(rule).endswith("uniform")
        size = math.sqrt(3 * variance if uniform else variance)
        # Six digits read well, and are close enough.
        return Draw("uniform" if uniform else "normal", round(size, 6))

    def _fan(self, rule: OneDistribution | str) -> int:
        if isinstance(rule, OneDistribution):
            fan: Fan = getattr(rule, name(rule))
            return self.fans[fan.mode == "fan_out"]
        return sum(self.fans) if rule.startswith("xavier") else self.fans[0]


def name(rule: Rule) -> str:
    """Return the name of a rule; that of a number is constant."""
    if isinstance(rule, str):
        return rule
    if isinstance(rule, OneDistribution):
        return next(iter(rule.model_fields_set))
    return "constant"


def constant(value: float) -> Start:
    """Return the initialization of a tensor in which all values are equal."""
    return Start(value)
