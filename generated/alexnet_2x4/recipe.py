"""How AlexNet is trained: recipe and update rule.

Krizhevsky, Sutskever & Hinton, NIPS 2012.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import nn

from runtime.checkpoint import Run


@dataclass(frozen=True)
class Recipe:
    """Hyperparameters from the spec. train.py has flags for some: see its --help."""

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
    # Ours: Section 5 judges by eye when validation error stops improving.
    patience: int = 3  # epochs without a new best
    # Section 5.
    drops: int = 3  # at most
    # Section 5.
    drop_factor: float = 0.1


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


def learning_rate(recipe: Recipe, run: Run) -> float:
    """Return the learning rate of the next step.

    It drops after `patience` epochs without a new best validation accuracy (top-1).
    """
    best, stalled, drops = -1.0, 0, 0
    for accuracy in [row["top1"] for row in run.history if row["split"] == "val"]:
        stalled = 0 if accuracy > best else stalled + 1
        best = max(best, accuracy)
        if stalled == recipe.patience and drops < recipe.drops:
            drops, stalled = drops + 1, 0
    return recipe.lr * recipe.drop_factor**drops
