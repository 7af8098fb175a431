"""AlexNet on gpu0, gpu1, gpu2 and gpu3.

AlexNet as published, its convolutions on two devices and the rest on four. Krizhevsky,
Sutskever & Hinton, NIPS 2012.

60,965,224 parameters, 724,406,816 multiply-accumulates per image.
Generated from a spec by specgen: to change the network, edit the spec and build again.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from functools import cache
from typing import Any, Self

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.autograd.function import once_differentiable

# The placement's names for the devices.
DEVICES = ("gpu0", "gpu1", "gpu2", "gpu3")
OUTPUTS = 1000

# Tensors that are initialized to a constant.
CONSTANT = {
    "conv2.bias": 1,
    "conv4.bias": 1,
    "conv5.bias": 1,
    "fc6.bias": 1,
    "fc7.bias": 1,
}

# Layers that are split along the first axis of their parameters, and the letters of
# their shares: conv1 becomes conv1a and conv1b.
SHARES = {
    "conv1": "ab",
    "conv2": "ab",
    "conv3": "ab",
    "conv4": "ab",
    "conv5": "ab",
    "fc6": "abcd",
    "fc7": "abcd",
}


class AlexNet(nn.Module):
    """Maps images (N, 3, 224, 224) to logits (N, 1000).

    Args:
        devices: torch devices for gpu0, gpu1, gpu2 and gpu3; they may be the same.
        seed: for the initial weights, which do not depend on the devices.
    """

    def __init__(
        self,
        devices: Sequence[str | torch.device] = (
            "cuda:0",
            "cuda:1",
            "cuda:2",
            "cuda:3",
        ),
        seed: int = 0,
    ) -> None:
        super().__init__()
        if len(devices) != 4:
            raise ValueError(f"expected 4 devices, got {len(devices)}")
        self.gpu0 = torch.device(devices[0])
        self.gpu1 = torch.device(devices[1])
        self.gpu2 = torch.device(devices[2])
        self.gpu3 = torch.device(devices[3])

        # 224 gives the paper's 55 x 55 only if the last stride is completed with zeros.
        self.conv1a = nn.Conv2d(3, 48, 11, stride=4, device=self.gpu0)
        self.conv1b = nn.Conv2d(3, 48, 11, stride=4, device=self.gpu1)
        # Each tower normalizes over its own maps only.
        self.norm1 = LocalResponseNorm(5, alpha=0.0001, beta=0.75, k=2.0)
        # Overlapping pooling: the window is wider than the stride (Section 3.4).
        self.pool1 = nn.MaxPool2d(3, stride=2)
        self.conv2a = nn.Conv2d(48, 128, 5, padding=2, device=self.gpu0)
        self.conv2b = nn.Conv2d(48, 128, 5, padding=2, device=self.gpu1)
        self.norm2 = LocalResponseNorm(5, alpha=0.0001, beta=0.75, k=2.0)
        self.pool2 = nn.MaxPool2d(3, stride=2)
        # The only convolution that reads both towers.
        self.conv3a = nn.Conv2d(256, 192, 3, padding=1, device=self.gpu0)
        self.conv3b = nn.Conv2d(256, 192, 3, padding=1, device=self.gpu1)
        self.conv4a = nn.Conv2d(192, 192, 3, padding=1, device=self.gpu0)
        self.conv4b = nn.Conv2d(192, 192, 3, padding=1, device=self.gpu1)
        self.conv5a = nn.Conv2d(192, 128, 3, padding=1, device=self.gpu0)
        self.conv5b = nn.Conv2d(192, 128, 3, padding=1, device=self.gpu1)
        self.pool5 = nn.MaxPool2d(3, stride=2)
        self.fc6a = nn.Linear(9216, 1024, device=self.gpu0)
        self.fc6b = nn.Linear(9216, 1024, device=self.gpu1)
        self.fc6c = nn.Linear(9216, 1024, device=self.gpu2)
        self.fc6d = nn.Linear(9216, 1024, device=self.gpu3)
        self.drop6 = nn.Dropout(0.5)
        self.fc7a = nn.Linear(4096, 1024, device=self.gpu0)
        self.fc7b = nn.Linear(4096, 1024, device=self.gpu1)
        self.fc7c = nn.Linear(4096, 1024, device=self.gpu2)
        self.fc7d = nn.Linear(4096, 1024, device=self.gpu3)
        self.drop7 = nn.Dropout(0.5)
        self.fc8 = nn.Linear(4096, 1000, device=self.gpu0)

        self.register_state_dict_post_hook(_join)  # type: ignore[no-untyped-call]
        self.register_load_state_dict_pre_hook(_cut)  # type: ignore[no-untyped-call]
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
        self.gpu2 = fn(torch.empty(0, device=self.gpu2)).device
        self.gpu3 = fn(torch.empty(0, device=self.gpu3)).device
        return self

    def forward(self, x: Tensor) -> Tensor:
        """Return the logits (N, 1000) on gpu0."""
        a, b = x.to(self.gpu0), x.to(self.gpu1)  # (N, 3, 224, 224)
        a = F.pad(a, (0, 3, 0, 3))  # (N, 3, 227, 227)
        b = F.pad(b, (0, 3, 0, 3))
        a = self.pool1(self.norm1(F.relu(self.conv1a(a))))  # (N, 48, 27, 27)
        b = self.pool1(self.norm1(F.relu(self.conv1b(b))))

        a = self.pool2(self.norm2(F.relu(self.conv2a(a))))  # (N, 128, 13, 13)
        b = self.pool2(self.norm2(F.relu(self.conv2b(b))))

        # conv3 reads what gpu0 and gpu1 computed.
        a, b = exchange(a, b)  # (N, 256, 13, 13)
        a = F.relu(self.conv3a(a))  # (N, 192, 13, 13)
        b = F.relu(self.conv3b(b))

        a = F.relu(self.conv4a(a))  # (N, 192, 13, 13)
        b = F.relu(self.conv4b(b))

        a = torch.flatten(self.pool5(F.relu(self.conv5a(a))), 1)  # (N, 4608)
        b = torch.flatten(self.pool5(F.relu(self.conv5b(b))), 1)

        # fc6 reads what gpu0 and gpu1 computed.
        a, b, c, d = (
            gather(a, b, to=self.gpu0),
            gather(a, b, to=self.gpu1),
            gather(a, b, to=self.gpu2),
            gather(a, b, to=self.gpu3),
        )  # (N, 9216)
        a = self.drop6(F.relu(self.fc6a(a)))  # (N, 1024)
        b = self.drop6(F.relu(self.fc6b(b)))
        c = self.drop6(F.relu(self.fc6c(c)))
        d = self.drop6(F.relu(self.fc6d(d)))

        # fc7 reads what all 4 devices computed.
        a, b, c, d = exchange(a, b, c, d)  # (N, 4096)
        a = self.drop7(F.relu(self.fc7a(a)))  # (N, 1024)
        b = self.drop7(F.relu(self.fc7b(b)))
        c = self.drop7(F.relu(self.fc7c(c)))
        d = self.drop7(F.relu(self.fc7d(d)))

        # fc8 reads what all 4 devices computed.
        x = gather(a, b, c, d, to=self.gpu0)  # (N, 4096)
        x = self.fc8(x)  # (N, 1000)
        return x

    def probabilities(self, x: Tensor) -> Tensor:
        """Return the probabilities of the classes (N, 1000)."""
        logits: Tensor = self(x)
        return F.softmax(logits, dim=1)


def gather(*shares: Tensor, to: torch.device) -> Tensor:
    """Concatenate shares along channels or features, on one device."""
    return torch.cat([share.to(to) for share in shares], dim=1)


def exchange(*shares: Tensor) -> list[Tensor]:
    """Give each share's device all the shares, concatenated."""
    return [gather(*shares, to=share.device) for share in shares]


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


def join_shares(tensors: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Join the shares of split layers, on the CPU; other tensors stay as they are."""
    layers = {layer + a: layer for layer, shares in SHARES.items() for a in shares}
    parts: dict[str, list[Tensor]] = {}
    for name, tensor in tensors.items():
        module, _, leaf = name.rpartition(".")
        whole = f"{layers.get(module, module)}.{leaf}"
        share = tensor if whole == name or tensor.is_meta else tensor.cpu()
        parts.setdefault(whole, []).append(share)
    return {
        name: torch.cat(shares) if shares[1:] else shares[0]
        for name, shares in parts.items()
    }


def cut_shares(tensors: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Cut whole tensors into the shares of split layers; inverse of `join_shares`."""
    cut = {}
    for name, tensor in tensors.items():
        layer, _, leaf = name.rpartition(".")
        shares = SHARES.get(layer, ("",))
        for a, part in zip(shares, tensor.chunk(len(shares)), strict=True):
            cut[f"{layer}{a}.{leaf}"] = part
    return cut


def _join(module: nn.Module, state: dict[str, Tensor], prefix: str, _: Any) -> None:
    """Make `state_dict` return whole tensors, which any placement can load."""
    own = [name for name in state if name.startswith(prefix)]
    shares = {name.removeprefix(prefix): state.pop(name) for name in own}
    for name, tensor in join_shares(shares).items():
        state[prefix + name] = tensor


def _cut(module: nn.Module, state: dict[str, Tensor], prefix: str, *lists: Any) -> None:
    """Make `load_state_dict` accept whole tensors, and name them in its errors."""
    _, _, missing, unexpected, errors = lists
    own = module.state_dict()
    names = [name for name in state if name.startswith(prefix)]
    given = {name.removeprefix(prefix): state.pop(name) for name in names}
    missing += [prefix + name for name in own if name not in given]
    unexpected += [prefix + name for name in given if name not in own]
    for name, tensor in own.items():
        found = given.get(name, tensor)
        if found.shape == tensor.shape:
            own[name] = found
        else:
            errors.append(
                f"{prefix + name} is {tuple(found.shape)}, not {tuple(tensor.shape)}"
            )
    for name, tensor in cut_shares(own).items():
        state[prefix + name] = tensor
