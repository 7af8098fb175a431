"""The `training` section of a spec: how the network learns.

Every field is a figure of the recipe and reaches `train.py` as a named constant. Rates
are per step of one whole batch; epochs count passes over the training images.
"""

from __future__ import annotations

from itertools import pairwise
from typing import Annotated, Literal, Self

from pydantic import Field, field_validator, model_validator

from specgen.schema import Count, Strict

Rate = Annotated[float, Field(gt=0)]
Factor = Annotated[float, Field(gt=0, lt=1)]


class LrMultipliers(Strict):
    """What the rate is multiplied by for weights and for biases."""

    weight: Rate = 1.0
    bias: Rate = 1.0


class Sgd(Strict):
    """Stochastic gradient descent with momentum, the rate inside the velocity.

    v <- momentum * v - weight_decay * lr * w - lr * gradient, then w <- w + v: the rule
    of Krizhevsky, Sutskever & Hinton, NIPS 2012, Section 5.
    """

    kind: Literal["sgd"] = "sgd"
    lr: Rate = 0.01
    momentum: Factor = 0.9
    weight_decay: Annotated[float, Field(ge=0)] = 0.0
    decay_biases: bool = True
    lr_multipliers: LrMultipliers = LrMultipliers()

    @model_validator(mode="after")
    def _biases_of_a_decay(self) -> Self:
        if "decay_biases" in self.model_fields_set and not self.weight_decay:
            raise ValueError("decay_biases has no effect without weight_decay")
        return self


class StepSchedule(Strict):
    """The rate is multiplied by `factor` when each of `epochs` has been completed."""

    kind: Literal["step"]
    epochs: Annotated[list[Count], Field(min_length=1)]
    factor: Factor = 0.1

    @field_validator("epochs")
    @classmethod
    def _ascending(cls, epochs: list[int]) -> list[int]:
        if any(a >= b for a, b in pairwise(epochs)):
            raise ValueError("the epochs of the drops must ascend")
        return epochs


class PlateauSchedule(Strict):
    """The rate is multiplied by `factor` when validation top-1 accuracy stalls.

    It stalls when `patience` epochs in a row bring no new best. At most `drops` drops.
    """

    kind: Literal["plateau"]
    factor: Factor = 0.1
    patience: Count
    drops: Count


class CosineSchedule(Strict):
    """The rate follows half a cosine from `lr` to `final_lr` after the last step."""

    kind: Literal["cosine"]
    final_lr: Annotated[float, Field(ge=0)] = 0.0


Schedule = Annotated[
    StepSchedule | PlateauSchedule | CosineSchedule, Field(discriminator="kind")
]


class Training(Strict):
    """How the network learns; without a `schedule` the rate is constant.

    `batch_size` images make one step; `accumulate` cuts them into so many forward and
    backward passes. `warmup_epochs` (also parts of one) raise the rate linearly from 0.
    `clip_grad_norm` bounds the norm of all gradients together.
    """

    epochs: Count = 90
    batch_size: Count = 128
    accumulate: Count = 1
    seed: Annotated[int, Field(ge=0, lt=2**32)] = 0
    optimizer: Sgd = Sgd()
    schedule: Schedule | None = None
    warmup_epochs: Annotated[float, Field(ge=0)] = 0.0
    label_smoothing: Annotated[float, Field(ge=0, lt=1)] = 0.0
    clip_grad_norm: Rate | None = None
    precision: Literal["float32", "bfloat16"] = "float32"

    @model_validator(mode="after")
    def _every_field_counts(self) -> Self:
        if self.accumulate > self.batch_size:
            raise ValueError(
                f"accumulate cuts a batch of {self.batch_size} images into "
                f"{self.accumulate} parts"
            )
        if self.warmup_epochs >= self.epochs:
            raise ValueError(
                f"warmup_epochs ({self.warmup_epochs:g}) leaves none of the "
                f"{self.epochs} epochs at the full rate"
            )
        if (
            isinstance(self.schedule, StepSchedule)
            and self.schedule.epochs[-1] >= self.epochs
        ):
            raise ValueError(
                f"the drop after epoch {self.schedule.epochs[-1]} never comes: "
                f"training ends after {self.epochs}"
            )
        if (
            isinstance(self.schedule, CosineSchedule)
            and self.schedule.final_lr >= self.optimizer.lr
        ):
            raise ValueError("final_lr must be below lr")
        return self
