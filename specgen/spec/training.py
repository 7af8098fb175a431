"""How the network learns: the `training` section of a spec."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Annotated, Literal

from pydantic import Field

from specgen.diagnostics import Diagnostic
from specgen.schema import Count, Positive, Strict

NotNegative = Annotated[float, Field(ge=0, le=1e15)]
Share = Annotated[float, Field(gt=0, lt=1)]


class LrMultipliers(Strict):
    """Factors of the learning rate for weights and for biases."""

    weight: Annotated[Positive, Field(description="factor for weights")] = 1.0
    bias: Annotated[Positive, Field(description="factor for biases")] = 1.0


class Sgd(Strict):
    """Stochastic gradient descent with momentum, as Krizhevsky et al. (2012) wrote it.

    v <- momentum * v - weight_decay * lr * w - lr * gradient, then w <- w + v: the rate
    is inside the velocity.
    """

    kind: Literal["sgd"] = "sgd"
    lr: Annotated[Positive, Field(description="learning rate before any schedule")] = (
        0.01
    )
    momentum: Annotated[
        Share, Field(description="fraction of the velocity that each step keeps")
    ] = 0.9
    weight_decay: Annotated[
        NotNegative,
        Field(
            description="a step subtracts this times the learning rate from each weight"
        ),
    ] = 0.0
    decay_biases: Annotated[
        bool, Field(description="whether weight_decay applies to biases, too")
    ] = True
    decay_norms: Annotated[
        bool,
        Field(
            description="whether weight_decay applies to weights and biases of batch,"
            " layer and group norms, too"
        ),
    ] = True
    lr_multipliers: LrMultipliers = LrMultipliers()


class StepSchedule(Strict):
    """The rate is multiplied by `factor` after each of these epochs."""

    kind: Literal["step"]
    epochs: Annotated[
        tuple[Count, ...],
        Field(
            min_length=1,
            strict=False,
            description="the learning rate drops after each of these epochs: [30, 60]",
        ),
    ]
    factor: Annotated[
        Share, Field(description="factor of the learning rate at each drop")
    ] = 0.1


class PlateauSchedule(Strict):
    """The rate is multiplied by `factor` when validation top-1 accuracy stalls.

    It stalls when `patience` epochs in a row bring no new best.
    """

    kind: Literal["plateau"]
    patience: Annotated[
        Count,
        Field(description="epochs without a new best before the learning rate drops"),
    ]
    drops: Annotated[Count, Field(description="largest number of drops")]
    factor: Annotated[
        Share, Field(description="factor of the learning rate at each drop")
    ] = 0.1


class CosineSchedule(Strict):
    """The rate follows half a cosine down to `final_lr`, over all epochs."""

    kind: Literal["cosine"]
    final_lr: Annotated[NotNegative, Field(description="learning rate at the end")] = (
        0.0
    )


Schedule = Annotated[
    StepSchedule | PlateauSchedule | CosineSchedule, Field(discriminator="kind")
]


class Training(Strict):
    """How the network learns: optimizer, schedule, batch, epochs, loss."""

    epochs: Annotated[Count, Field(description="passes over the training images")] = 90
    batch_size: Annotated[Count, Field(description="images per step")] = 128
    accumulate: Annotated[
        Count, Field(description="forward and backward passes per step")
    ] = 1
    seed: Annotated[
        int,
        Field(
            ge=0,
            lt=2**32,
            description="seed of initial weights, image order, crops and dropout",
        ),
    ] = 0
    optimizer: Sgd = Sgd()
    schedule: Annotated[
        Schedule | None,
        Field(description="schedule of the learning rate; by default it is constant"),
    ] = None
    warmup_epochs: Annotated[
        NotNegative,
        Field(description="epochs in which the learning rate rises linearly from 0"),
    ] = 0.0
    label_smoothing: Annotated[
        float,
        Field(
            ge=0,
            lt=1,
            description="fraction of the loss that goes to the other classes",
        ),
    ] = 0.0
    clip_grad_norm: Annotated[
        Positive | None,
        Field(description="largest norm of all gradients together"),
    ] = None
    precision: Annotated[
        Literal["float32", "bfloat16"],
        Field(description="precision of the forward pass; bfloat16 uses autocast"),
    ] = "float32"

    @property
    def images(self) -> int:
        """The most images in one pass, and so in memory at once."""
        return -(-self.batch_size // self.accumulate)

    @property
    def half(self) -> bool:
        """Whether the forward pass computes in half precision."""
        return self.precision == "bfloat16"


def check_norms(training: Training) -> Iterator[Diagnostic]:
    """Yield the setting for norms, for a network in which they learn nothing."""
    sgd = training.optimizer
    if not sgd.decay_norms and sgd.weight_decay > 0:
        place = ("training", "optimizer", "decay_norms")
        message = "no layer is a norm with a weight"
        yield Diagnostic("no-effect", message, place, at_key=True)


def check_biases(training: Training) -> Iterator[Diagnostic]:
    """Yield the settings for biases, for a network without any.

    As everywhere, writing a default is the same as leaving it out.
    """
    sgd = training.optimizer
    said = {
        ("decay_biases",): not sgd.decay_biases and sgd.weight_decay > 0,
        ("lr_multipliers", "bias"): sgd.lr_multipliers.bias != 1,
    }
    for path, is_said in said.items():
        if is_said:
            place = ("training", "optimizer", *path)
            yield Diagnostic("no-effect", "no layer has a bias", place, at_key=True)


def check(training: Training) -> Iterator[Diagnostic]:
    """Yield numbers of a recipe that contradict each other or change nothing."""
    here = ("training",)
    sgd, schedule, epochs = training.optimizer, training.schedule, training.epochs
    spared = {"biases": not sgd.decay_biases, "norms": not sgd.decay_norms}
    for what, is_spared in spared.items():
        if is_spared and not sgd.weight_decay:
            yield Diagnostic(
                "no-effect",
                f"without weight_decay there is none on {what} either",
                (*here, "optimizer", f"decay_{what}"),
                help="remove it, or give weight_decay",
            )
    if training.accumulate > training.batch_size:
        yield Diagnostic(
            "training-mismatch",
            f"{training.batch_size} images cannot be divided into {training.accumulate}"
            " passes",
            (*here, "accumulate"),
            causes=((*here, "batch_size"),),
        )
    if training.warmup_epochs >= epochs:
        yield Diagnostic(
            "training-mismatch",
            f"the rate is still rising when training ends, after {epochs} epochs",
            (*here, "warmup_epochs"),
            causes=((*here, "epochs"),),
        )
    if isinstance(schedule, StepSchedule):
        before = 0
        for index, epoch in enumerate(schedule.epochs):
            place = (*here, "schedule", "epochs", index)
            if epoch <= before:
                yield Diagnostic(
                    "training-mismatch", f"{epoch} does not come after {before}", place
                )
            if epoch >= epochs:
                message = f"training ends after {epochs} epochs, before this drop"
                causes = ((*here, "epochs"),)
                yield Diagnostic("no-effect", message, place, causes=causes)
            before = epoch
    if isinstance(schedule, CosineSchedule) and schedule.final_lr >= sgd.lr:
        yield Diagnostic(
            "training-mismatch",
            f"the rate cannot fall from {sgd.lr:g} to {schedule.final_lr:g}",
            (*here, "schedule", "final_lr"),
            causes=((*here, "optimizer", "lr"),),
        )
