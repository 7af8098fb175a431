"""How AlexNet learns: recipe and update rule."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import nn

from runtime.checkpoint import Run


@dataclass(frozen=True)
class Recipe:
    """What the spec says. Flags of the same names change the first three."""

    # Section 5: roughly.
    epochs: int = 90
    # Section 5.
    batch_size: int = 128
    seed: int = 0
    # Section 5: at first.
    lr: float = 0.01
    # Section 5.
    momentum: float = 0.9
    # Section 5.
    weight_decay: float = 0.0005
    # Ours: in Section 5 it is by eye that validation error stops improving.
    patience: int = 3  # epochs without a new best
    # Section 5.
    drops: int = 3  # at most
    # Section 5.
    drop_factor: float = 0.1


def optimizer(net: nn.Module, recipe: Recipe, fused: bool) -> torch.optim.SGD:
    """Return the optimizer, its velocity v at 0.

    v <- momentum * v + lr * (gradient + weight_decay * w)
    w <- w - v

    As in the paper (Section 5, where v has the other sign) the rate is inside. SGD has
    it outside, which differs after each change of the rate until the old gradients have
    faded. But inside it has a factor, 1 - dampening, which `update` makes the rate; its
    own lr is 1.
    """
    sgd = torch.optim.SGD(
        net.parameters(),
        lr=1.0,
        momentum=recipe.momentum,
        weight_decay=recipe.weight_decay,
        fused=fused,
    )
    for w in net.parameters():  # left to itself, SGD would not dampen its first step
        sgd.state[w]["momentum_buffer"] = torch.zeros_like(w)
    return sgd


def update(sgd: torch.optim.SGD, lr: float) -> None:
    """Take a step of `optimizer` at this rate."""
    for group in sgd.param_groups:
        group["dampening"] = 1 - lr
    sgd.step()


def learning_rate(recipe: Recipe, run: Run) -> float:
    """Return the rate of the next step.

    It drops when top-1 accuracy has had no new best for `patience` epochs.
    """
    best, stalled, drops = -1.0, 0, 0
    for accuracy in [row["top1"] for row in run.history if row["split"] == "val"]:
        stalled = 0 if accuracy > best else stalled + 1
        best = max(best, accuracy)
        if stalled == recipe.patience and drops < recipe.drops:
            drops, stalled = drops + 1, 0
    return recipe.lr * recipe.drop_factor**drops
