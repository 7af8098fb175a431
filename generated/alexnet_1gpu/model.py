"""AlexNet on gpu0.

AlexNet as published, on one device. Krizhevsky, Sutskever & Hinton, NIPS 2012.

60,965,224 parameters, 724,406,816 multiply-accumulates per image.
Compiled from a spec by specgen: change the spec and build again.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.autograd.function import once_differentiable

# What the placement calls them.
DEVICES = ("gpu0",)
OUTPUTS = 1000

# The standard deviation of a layer's initial weights, and its initial bias.
START = {
    "conv1": (0.01, 0),
    "conv2": (0.01, 1),
    "conv3": (0.01, 0),
    "conv4": (0.01, 1),
    "conv5": (0.01, 1),
    "fc6": (0.01, 1),
    "fc7": (0.01, 1),
    "fc8": (0.01, 0),
}


class AlexNet(nn.Module):
    """Images (N, 3, 224, 224) to logits (N, 1000).

    Args:
        devices: a torch device for gpu0.
        seed: of the initial weights, which do not depend on the devices.
    """

    def __init__(
        self,
        devices: Sequence[str | torch.device] = ("cuda:0",),
        seed: int = 0,
    ) -> None:
        super().__init__()
        if len(devices) != 1:
            raise ValueError(f"expected 1 device, got {len(devices)}")
        self.gpu0 = torch.device(devices[0])

        # 224 gives the paper's 55 x 55 only if the last stride is completed with zeros.
        self.conv1 = nn.Conv2d(3, 96, 11, stride=4, device=self.gpu0)
        # Each tower normalises over its own maps only.
        self.norm1 = LocalResponseNorm(5, alpha=0.0001, beta=0.75, k=2.0, groups=2)
        # Overlapping pooling: the window is wider than the stride (Section 3.4).
        self.pool1 = nn.MaxPool2d(3, stride=2)
        self.conv2 = nn.Conv2d(96, 256, 5, padding=2, groups=2, device=self.gpu0)
        self.norm2 = LocalResponseNorm(5, alpha=0.0001, beta=0.75, k=2.0, groups=2)
        self.pool2 = nn.MaxPool2d(3, stride=2)
        # The only convolution that reads both towers.
        self.conv3 = nn.Conv2d(256, 384, 3, padding=1, device=self.gpu0)
        self.conv4 = nn.Conv2d(384, 384, 3, padding=1, groups=2, device=self.gpu0)
        self.conv5 = nn.Conv2d(384, 256, 3, padding=1, groups=2, device=self.gpu0)
        self.pool5 = nn.MaxPool2d(3, stride=2)
        self.fc6 = nn.Linear(9216, 4096, device=self.gpu0)
        self.drop6 = nn.Dropout(0.5)
        self.fc7 = nn.Linear(4096, 4096, device=self.gpu0)
        self.drop7 = nn.Dropout(0.5)
        self.fc8 = nn.Linear(4096, 1000, device=self.gpu0)

        self.reset_parameters(seed)

    def reset_parameters(self, seed: int) -> None:
        """Draw the initial weights, whole and in order, on the CPU.

        So a seed starts the same network wherever its layers are placed.
        """
        generator = torch.Generator().manual_seed(seed)
        tensors = self.state_dict()
        for name, tensor in tensors.items():
            layer, _, leaf = name.rpartition(".")
            std, bias = START[layer]
            whole = torch.full_like(tensor, bias, device="cpu")
            if leaf == "weight":
                whole.normal_(0, std, generator=generator)
            tensors[name] = whole
        self.load_state_dict(tensors)

    def forward(self, x: Tensor) -> Tensor:
        """Return the logits (N, 1000) on gpu0."""
        x = x.to(self.gpu0)  # (N, 3, 224, 224)
        x = F.pad(x, (0, 3, 0, 3))  # (N, 3, 227, 227)
        x = self.pool1(self.norm1(F.relu(self.conv1(x))))  # (N, 96, 27, 27)
        x = self.pool2(self.norm2(F.relu(self.conv2(x))))  # (N, 256, 13, 13)
        x = F.relu(self.conv3(x))  # (N, 384, 13, 13)
        x = F.relu(self.conv4(x))  # (N, 384, 13, 13)
        x = torch.flatten(self.pool5(F.relu(self.conv5(x))), 1)  # (N, 9216)
        x = self.drop6(F.relu(self.fc6(x)))  # (N, 4096)
        x = self.drop7(F.relu(self.fc7(x)))  # (N, 4096)
        x = self.fc8(x)  # (N, 1000)
        return x

    def probabilities(self, x: Tensor) -> Tensor:
        """Return the softmax (N, 1000) over the classes."""
        logits: Tensor = self(x)
        return F.softmax(logits, dim=1)


class LocalResponseNorm(nn.Module):
    """y = x / (k + alpha / size * sum of squares) ** beta, (N, C, *) to the same.

    The sum is over the `size` (odd) channels centred on y's own, as far as they lie in
    its own of `groups` equal groups of channels. For one group this is
    torch.nn.LocalResponseNorm, which takes over four times as long on a CPU.
    """

    def __init__(
        self, size: int, *, alpha: float, beta: float, k: float, groups: int = 1
    ) -> None:
        super().__init__()
        self.size, self.alpha, self.beta, self.k = size, alpha, beta, k
        self.groups = groups

    def forward(self, x: Tensor) -> Tensor:
        """Return y, in the dtype and memory format of x."""
        x = torch.unflatten(x, 1, (self.groups, -1))  # a view: (N, groups, channels, *)
        return _normalize(x, self).flatten(1, 2)

    def window(self, channels: int) -> Iterator[tuple[slice, slice]]:
        """Yield, for each place in the window, channels and the channels seen there."""
        reach = min(self.size // 2, channels - 1)
        for shift in range(-reach, reach + 1):
            low, high = max(shift, 0), min(shift, 0)
            yield slice(-high, channels - low), slice(low, channels + high)

    def power(self, base: Tensor) -> Tensor:
        """Return base ** -beta as a new tensor; roots take half the time of a power."""
        if self.beta == 0.75:
            return base.sqrt().mul_(base).rsqrt_()
        return base.pow(-self.beta)


class _Normalize(torch.autograd.Function):
    """The formula and its gradient, on (N, groups, channels, *).

    Keeps x, which a ReLU before it keeps anyway, and the base of the power. Sums are
    float32 at least and no matrix products: neither autocast nor TF32 touches them.
    In-place steps: on a CPU, new memory costs more than the arithmetic that fills it.
    """

    @staticmethod
    def forward(ctx: Any, x: Tensor, norm: LocalResponseNorm) -> Tensor:
        dtype = torch.promote_types(x.dtype, torch.float32)
        base = torch.full_like(x, norm.k, dtype=dtype)
        scale = norm.alpha / norm.size
        for at, seen in norm.window(x.shape[2]):
            base[:, :, at].addcmul_(x[:, :, seen], x[:, :, seen], value=scale)
        ctx.save_for_backward(x, base)
        ctx.norm = norm
        return norm.power(base).mul_(x).to(x.dtype)

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor, None]:
        # dx = g base^-beta - 2 alpha beta / size x (windowed sum of g x base^(-beta-1))
        x, base = ctx.saved_tensors
        norm = ctx.norm
        dx = norm.power(base).mul_(grad)
        term = (dx * x).div_(base)
        scale = -2 * norm.beta * norm.alpha / norm.size
        for at, seen in norm.window(x.shape[2]):
            dx[:, :, at].addcmul_(x[:, :, at], term[:, :, seen], value=scale)
        return dx.to(x.dtype), None


_normalize: Callable[[Tensor, LocalResponseNorm], Tensor] = _Normalize.apply
