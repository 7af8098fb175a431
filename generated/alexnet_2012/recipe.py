"""How AlexNet is trained: recipe and update rule.

layers/layers-145.cfg of the AlexNet source, Computer History Museum, 2025; sections are
those of Krizhevsky, Sutskever & Hinton, NIPS 2012.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import torch
from torch import nn

from runtime.checkpoint import Run


@dataclass(frozen=True)
class Recipe:
    """Hyperparameters from the spec. train.py has flags for some: see its --help."""

    # layer-params-145.cfg, notes at its end: killed at epoch 91.
    epochs: int = 91
    # Section 5.
    batch_size: int = 128
    seed: int = 0
    # Section 5: at first.
    lr: float = 0.01
    # layer-params-145.cfg: epsB=0.02, where epsW began with 0.01.
    bias_lr_multiplier: float = 2.0
    # Section 5.
    momentum: float = 0.9
    # Section 5.
    weight_decay: float = 0.0005
    # layer-params-145.cfg: wc, the decay, is given for weights only.
    bias_decay: float = 0.0
    # layer-params-145.cfg, notes at its end: epsW divided by hand.
    drop_epochs: tuple[int, ...] = (25, 51, 79)
    drop_factor: float = 0.1


def optimizer(net: nn.Module, recipe: Recipe, fused: bool) -> torch.optim.SGD:
    """Return SGD with momentum, starting from a velocity v of 0.

    v <- momentum * v + lr * (gradient + weight_decay * w)
    w <- w - multiplier * v

    Each gradient enters the velocity multiplied by the learning rate of its step, as in
    Krizhevsky, Sutskever & Hinton (NIPS 2012), Section 5, where v has the other sign.
    torch.optim.SGD multiplies the whole velocity by the current rate instead. It also
    multiplies each gradient by 1 - dampening: `update` sets that to the rate, and SGD's
    own lr stays at the multiplier.
    """
    named = list(net.named_parameters())
    weights = [w for name, w in named if not name.endswith(".bias")]
    biases = [w for name, w in named if name.endswith(".bias")]
    groups: list[dict[str, Any]] = [
        {"params": weights},
        {
            "params": biases,
            "lr": recipe.bias_lr_multiplier,
            "weight_decay": recipe.bias_decay,
        },
    ]
    sgd = torch.optim.SGD(
        groups,
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

    It drops after each of `drop_epochs`.
    """
    drops = sum(run.epoch >= epoch for epoch in recipe.drop_epochs)
    return recipe.lr * recipe.drop_factor**drops
