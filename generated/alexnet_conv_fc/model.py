"""AlexNet on gpu0 and gpu1.

AlexNet as published, convolutions on one device and the rest on another. Krizhevsky,
Sutskever & Hinton, NIPS 2012.

60,965,224 parameters, 724,406,816 multiply-accumulates per image.
Generated from a spec by specgen: to change the network, edit the spec and build again.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from functools import cache
from typing import Any, Self

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.autograd.function import once_differentiable

# The placement's names for the devices.
DEVICES = ("gpu0", "gpu1")
OUTPUTS = 1000

# Tensors that are initialized to a constant.
CONSTANT = {
    "conv2.bias": 1,
    "conv4.bias": 1,
    "conv5.bias": 1,
    "fc6.bias": 1,
    "fc7.bias": 1,
}


class AlexNet(nn.Module):
    """Maps images (N, 3, 224, 224) to logits (N, 1000).

    Args:
        devices: torch devices for gpu0 and gpu1; they may be the same.
        seed: for the initial weights, which do not depend on the devices.
    """

    def __init__(
        self,
        devices: Sequence[str | torch.device] = ("cuda:0", "cuda:1"),
        seed: int = 0,
    ) -> None:
        super().__init__()
        if len(devices) != 2:
            raise ValueError(f"expected 2 devices, got {len(devices)}")
        self.gpu0 = torch.device(devices[0])
        self.gpu1 = torch.device(devices[1])

        # 224 gives the paper's 55 x 55 only if the last stride is completed with zeros.
        self.conv1 = nn.Conv2d(3, 96, 11, stride=4, device=self.gpu0)
        # Each tower normalizes over its own maps only.
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
        self.fc6 = nn.Linear(9216, 4096, device=self.gpu1)
        self.drop6 = nn.Dropout(0.5)
        self.fc7 = nn.Linear(4096, 4096, device=self.gpu1)
        self.drop7 = nn.Dropout(0.5)
        self.fc8 = nn.Linear(4096, 1000, device=self.gpu1)

        self.reset_parameters(seed)

    def reset_parameters(self, seed: int) -> None:
        """Draw the initial weights on the CPU, one whole tensor after another.

        A seed gives the same network wherever its layers are placed.
        """
        generator = torch.Generator().manual_seed(seed)
        tensors = self.state_dict()
        for name, tensor in tensors.items():
            if tensor.is_meta:  # it has no values
                continue
            whole = torch.zeros_like(tensor, device="cpu")
            if name in CONSTANT:
                whole.fill_(CONSTANT[name])
            elif tensor.dim() > 1:
                whole.normal_(0, 0.01, generator=generator)
            tensors[name] = whole
        self.load_state_dict(tensors)

    def _apply(self, fn: Callable[[Tensor], Tensor], recurse: bool = True) -> Self:
        """Update the devices as well, so that `.to(device)` moves the whole network."""
        super()._apply(fn, recurse)  # type: ignore[no-untyped-call]
        self.gpu0 = fn(torch.empty(0, device=self.gpu0)).device
        self.gpu1 = fn(torch.empty(0, device=self.gpu1)).device
        return self

    def forward(self, x: Tensor) -> Tensor:
        """Return the logits (N, 1000) on gpu1."""
        x = x.to(self.gpu0)  # (N, 3, 224, 224)
        x = F.pad(x, (0, 3, 0, 3))  # (N, 3, 227, 227)
        x = self.pool1(self.norm1(F.relu(self.conv1(x))))  # (N, 96, 27, 27)
        x = self.pool2(self.norm2(F.relu(self.conv2(x))))  # (N, 256, 13, 13)
        x = F.relu(self.conv3(x))  # (N, 384, 13, 13)
        x = F.relu(self.conv4(x))  # (N, 384, 13, 13)
        x = torch.flatten(self.pool5(F.relu(self.conv5(x))), 1)  # (N, 9216)

        # From fc6 on, layers run on gpu1.
        x = x.to(self.gpu1)  # (N, 9216)
        x = self.drop6(F.relu(self.fc6(x)))  # (N, 4096)
        x = self.drop7(F.relu(self.fc7(x)))  # (N, 4096)
        x = self.fc8(x)  # (N, 1000)
        return x

    def probabilities(self, x: Tensor) -> Tensor:
        """Return the probabilities of the classes (N, 1000)."""
        logits: Tensor = self(x)
        return F.softmax(logits, dim=1)


class LocalResponseNorm(nn.Module):
    """y = x / (k + alpha / size * sum of squares) ** beta, for x (N, C, *).

    The sum is over `size` channels, an odd number, centered on y's own; it does not
    cross the borders of the `groups` equal groups of channels. With one group this is
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
        fuse = x.is_cuda and (torch.compiler.is_compiling() or _can_compile())
        return _normalize(x, self, fuse).flatten(1, 2)

    def window(self, channels: int) -> Iterator[tuple[slice, slice]]:
        """Yield, for each offset in the window, channels and the ones they read."""
        reach = min(self.size // 2, channels - 1)
        for shift in range(-reach, reach + 1):
            low, high = max(shift, 0), min(shift, 0)
            yield slice(-high, channels - low), slice(low, channels + high)

    def power(self, base: Tensor) -> Tensor:
        """Return base ** -beta as a new tensor; roots take half as long as a power."""
        if self.beta == 0.75:
            return base.sqrt().mul_(base).rsqrt_()
        return base.pow(-self.beta)


class _Normalize(torch.autograd.Function):
    """The formula and its gradient, on (N, groups, channels, *).

    Sums are in float32 or wider, without matrix products: neither autocast nor TF32
    affects them. A CPU saves x, which a ReLU before it saves anyway, and the base, and
    works in place, since new memory costs most. On CUDA, memory traffic does: with
    `fuse` it saves only x, and a compiler writes one kernel forward and two backward.
    """

    @staticmethod
    def forward(ctx: Any, x: Tensor, norm: LocalResponseNorm, fuse: bool) -> Tensor:
        ctx.norm = norm
        if fuse:
            ctx.save_for_backward(x)
            return _fused(_output)(x.detach(), norm)
        dtype = torch.promote_types(x.dtype, torch.float32)
        base = torch.full_like(x, norm.k, dtype=dtype)
        scale = norm.alpha / norm.size
        for at, seen in norm.window(x.shape[2]):
            base[:, :, at].addcmul_(x[:, :, seen], x[:, :, seen], value=scale)
        ctx.save_for_backward(x, base)
        # Always new, for torch 2.11: https://github.com/pytorch/pytorch/issues/180642
        y = norm.power(base) * x
        return y if y.dtype == x.dtype else y.to(x.dtype)

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor, None, None]:
        # dx = g base^-beta - 2 alpha beta / size x (windowed sum of g x base^(-beta-1))
        x, *saved = ctx.saved_tensors
        norm = ctx.norm
        if not saved:
            term = _fused(_term)(x.detach(), norm, grad)
            return _fused(_gradient)(x.detach(), norm, grad, term), None, None
        (base,) = saved
        dx = norm.power(base).mul_(grad)
        term = (dx * x).div_(base)
        scale = -2 * norm.beta * norm.alpha / norm.size
        for at, seen in norm.window(x.shape[2]):
            dx[:, :, at].addcmul_(x[:, :, at], term[:, :, seen], value=scale)
        return dx.to(x.dtype), None, None


_normalize: Callable[[Tensor, LocalResponseNorm, bool], Tensor] = _Normalize.apply


def _output(x: Tensor, norm: LocalResponseNorm) -> Tensor:
    """Return y, always new: see above."""
    wide, base = _base(x, norm)
    return (wide * norm.power(base)).to(x.dtype, copy=True)


def _term(x: Tensor, norm: LocalResponseNorm, grad: Tensor) -> Tensor:
    """Return g x base^(-beta-1), rounded as x is, for the gradient g of y."""
    wide, base = _base(x, norm)
    return (wide * grad * norm.power(base) / base).to(x.dtype)


def _gradient(x: Tensor, norm: LocalResponseNorm, grad: Tensor, term: Tensor) -> Tensor:
    """Return dx. A compiler that got the term here would also store the base."""
    wide, base = _base(x, norm)
    scale = -2 * norm.beta * norm.alpha / norm.size
    sums = _window_sum(term.to(wide.dtype), norm.size)
    return (scale * wide * sums + grad * norm.power(base)).to(x.dtype)


def _base(x: Tensor, norm: LocalResponseNorm) -> tuple[Tensor, Tensor]:
    """Return x in float32 or wider, and the base of the power."""
    wide = x.to(torch.promote_types(x.dtype, torch.float32))
    return wide, norm.k + norm.alpha / norm.size * _window_sum(wide * wide, norm.size)


def _window_sum(wide: Tensor, size: int) -> Tensor:
    # Each shift pads by itself: one padded tensor for all would be written to memory.
    reach, maps = min(size // 2, wide.shape[2] - 1), (0, 0) * (wide.dim() - 3)
    shifts = range(-reach, reach + 1)
    first, *others = (F.pad(wide, (*maps, shift, -shift)) for shift in shifts)
    return sum(others, first)


def _fused(function: Callable[..., Tensor]) -> Callable[..., Tensor]:
    """Return a function as one kernel, or as it is where all is compiled anyway."""
    return function if torch.compiler.is_compiling() else _compile(function)


@cache
def _compile(function: Callable[..., Tensor]) -> Callable[..., Tensor]:
    # One kernel for all shapes; importing the compiler takes seconds.
    return torch.compile(function, dynamic=True)


@cache
def _can_compile() -> bool:
    """Return whether there is a compiler for CUDA: Triton, and what it needs."""
    try:
        _compile(torch.sin)(torch.ones(2, device="cuda"))
    except Exception:  # each missing part raises its own
        return False
    return True
