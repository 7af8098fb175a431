"""How AlexNet is trained: recipe and update rule."""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch
from torch import nn

from runtime.checkpoint import Run


@dataclass(frozen=True)
class Recipe:
    """Hyperparameters from the spec. train.py has flags for some: see its --help."""

    epochs: int = 25
    batch_size: int = 32
    seed: int = 0
    # As in Krizhevsky, Sutskever & Hinton, NIPS 2012, Section 5.
    lr: float = 0.01
    momentum: float = 0.9
    weight_decay: float = 0.0005
    # A short run cannot wait for a plateau.
    final_lr: float = 0.0
    warmup_epochs: float = 1.0


def optimizer(net: nn.Module, recipe: Recipe, fused: bool) -> torch.optim.SGD:
    """Return SGD with momentum, starting from a velocity v of 0.

    v <- momentum * v + lr * (gradient + weight_decay * w)
    w <- w - v

    Each gradient enters the velocity multiplied by the learning rate of its step, as in
    Krizhevsky, Sutskever & Hinton (NIPS 2012), Section 5, where v has the other sign.
    torch.optim.SGD multiplies the whole velocity by the current rate instead. It also
    multiplies each gradient by 1 - dampening: `update` sets that to the rate, and SGD's
    own lr stays at 1.
    """
    sgd = torch.optim.SGD(
        net.parameters(),
        lr=1.0,
        momentum=recipe.momentum,
        weight_decay=recipe.weight_decay,
        fused=fused or None,  # without it, CUDA updates many tensors at once
    )
    for w in net.parameters():  # without this, SGD would not dampen its first step
        sgd.state[w]["momentum_buffer"] = torch.zeros_like(w)
    return sgd


def update(sgd: torch.optim.SGD, lr: float) -> None:
    """Take a step at this learning rate."""
    for group in sgd.param_groups:
        group["dampening"] = 1 - lr
    sgd.step()


def learning_rate(recipe: Recipe, run: Run, epoch_steps: int) -> float:
    """Return the learning rate of the next step.

    It follows half a cosine from `lr` to `final_lr`.
    During the first `warmup_epochs` it also ramps up linearly from 0.
    """
    angle = math.pi * run.step / (recipe.epochs * epoch_steps)
    lr = recipe.final_lr + (recipe.lr - recipe.final_lr) * (1 + math.cos(angle)) / 2
    ramp = min(1.0, (run.step + 1) / (recipe.warmup_epochs * epoch_steps))
    return lr * ramp
