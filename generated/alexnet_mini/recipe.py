"""How AlexNet learns: recipe and update rule."""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch
from torch import nn

from runtime.checkpoint import Run


@dataclass(frozen=True)
class Recipe:
    """What the spec says. Flags of the same names change the first three."""

    epochs: int = 25
    batch_size: int = 32
    seed: int = 0
    # As in the paper, Section 5.
    lr: float = 0.01
    momentum: float = 0.9
    weight_decay: float = 0.0005
    # A short run cannot wait for a plateau.
    final_lr: float = 0.0
    warmup_epochs: float = 1.0


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


def learning_rate(recipe: Recipe, run: Run, epoch_steps: int) -> float:
    """Return the rate of the next step.

    Half a cosine leads from `lr` to `final_lr`.
    Over the first `warmup_epochs` it rises in a line from 0.
    """
    angle = math.pi * run.step / (recipe.epochs * epoch_steps)
    lr = recipe.final_lr + (recipe.lr - recipe.final_lr) * (1 + math.cos(angle)) / 2
    ramp = min(1.0, (run.step + 1) / (recipe.warmup_epochs * epoch_steps))
    return lr * ramp
