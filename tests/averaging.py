"""Average gradients in several processes, three times: print how many are the same.

Later gradients travel in other groups than those of the first step.
"""

from __future__ import annotations

import torch
from torch import nn

from specgen.runtime import parallel

SIZES = 700, 3, 1100, 5, 400_000, 9, 600_000  # of parameters; groups take 1 MiB or more


class Net(nn.Module):
    """Uses its parameters in another order than it has them."""

    def __init__(self) -> None:
        super().__init__()
        weights = [nn.Parameter(torch.randn(size)) for size in SIZES]
        self.weights = nn.ParameterList(weights)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """Return a number whose gradients are those numbers of x."""
        for weight in [*self.weights[::2], *self.weights[1::2]]:
            x = x + (weight * x[: len(weight)].detach()).sum()
        return x[0]


def main() -> None:
    """Take the steps and compare."""
    torch.manual_seed(0)
    net = Net()
    replica = parallel.replicate(net, deterministic=True)
    torch.manual_seed(parallel.rank())
    x = torch.randn(max(SIZES)) * torch.logspace(-3, 3, max(SIZES))
    found = []
    for _ in range(3):
        net.zero_grad()
        torch.autograd.backward(replica(x))
        found.append([w.grad.clone() for w in net.weights if w.grad is not None])
    pairs = [pair for later in found[1:] for pair in zip(found[0], later, strict=True)]
    print(sum(torch.equal(*pair) for pair in pairs), "of", len(pairs), "are the same")


if __name__ == "__main__":
    parallel.run(main)
