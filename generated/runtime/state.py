"""The state of a training run: weights, velocities, and statistics of the images."""

from __future__ import annotations

from collections.abc import Callable, Mapping

import torch
from torch import Tensor, nn

from . import checkpoint
from .compare import STATISTICS, VELOCITY
from .errors import DivergedError
from .evaluation import Crops

LARGEST = 2**24  # of the outputs: beyond this, float32 cannot tell 1 from 2

# Joins the shares of split layers into whole tensors, or cuts them again.
Reshape = Callable[[Mapping[str, Tensor]], dict[str, Tensor]]


def collect(
    net: nn.Module,
    sgd: torch.optim.SGD,
    statistics: Mapping[str, Tensor],
    crops: Crops,
    join: Reshape = dict,
) -> dict[str, Tensor]:
    """Return what a checkpoint holds: whole tensors under the names of the spec.

    Raises DivergedError if the network has become useless.
    """
    check_network(net, crops, statistics["mean"])
    return {
        **net.state_dict(),
        **checkpoint.prefixed(VELOCITY, join(velocities(net, sgd))),
        **checkpoint.prefixed(STATISTICS, statistics),
    }


def restore(
    tensors: Mapping[str, Tensor],
    net: nn.Module,
    sgd: torch.optim.SGD,
    cut: Reshape = dict,
) -> dict[str, Tensor]:
    """Load what `collect` returned into the network and its velocity.

    Returns the statistics.
    """
    checkpoint.load_weights(net, tensors)
    velocity = cut(checkpoint.part(tensors, VELOCITY))
    for name, tensor in velocities(net, sgd).items():
        tensor.copy_(velocity[name])
    return checkpoint.part(tensors, STATISTICS)


def velocities(net: nn.Module, sgd: torch.optim.SGD) -> dict[str, Tensor]:
    """Return the velocity of each parameter, by its name."""
    named = net.named_parameters()
    return {name: sgd.state[w]["momentum_buffer"] for name, w in named}


@torch.no_grad()
def check_network(net: nn.Module, crops: Crops, mean: Tensor) -> None:
    """Raise DivergedError if the outputs for a white image are too large to learn from.

    The weights and the last step's loss can still be numbers then.
    """
    learning = net.training
    net.eval()
    white = torch.full_like(mean, 255).unsqueeze(0)
    sound = all((net(x).abs() < LARGEST).all() for x in crops(white, mean))
    net.train(learning)
    if not sound:
        raise DivergedError(
            "the outputs of the network have become too large, or are not numbers"
        )
