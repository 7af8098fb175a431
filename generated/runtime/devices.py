"""The devices of a placement, bound to real ones, and how they compute."""

from __future__ import annotations

import functools
import os
import socket
from collections.abc import Sequence
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from . import console, parallel
from .errors import UserError


def set_up(*, deterministic: bool = False) -> None:
    """Choose how devices compute; call this before any of them is used.

    On CUDA, float32 products and convolutions round their operands to TF32 (10-bit
    mantissa), and cuDNN finds its fastest convolution for each new shape. Instead, a
    `deterministic` run gives the same result every time. It may need slower kernels,
    and RuntimeError is raised where torch has none.
    """
    if torch.cuda.is_available():
        torch.set_float32_matmul_precision("high")  # of convolutions it is the default
    torch.backends.cudnn.benchmark = not deterministic
    torch.backends.cudnn.deterministic = deterministic
    torch.use_deterministic_algorithms(deterministic)
    # New memory would be filled first; nothing here reads what it has not written.
    memory: Any = torch.utils.deterministic  # has no types for this
    memory.fill_uninitialized_memory = False
    # With a thread for each device, these would add up gradients in any order.
    torch.autograd.set_multithreading_enabled(not deterministic)
    if deterministic:  # cuBLAS reads this when it is first used
        os.environ.setdefault("CUBLAS_WORKSPACE_CONFIG", ":4096:8")


def choose_devices(names: str | None, placed: Sequence[str]) -> list[torch.device]:
    """Return a torch device for each of a placement's devices, and print which.

    `names` is the user's choice, "a,b" or one for all; if processes share their
    devices, it lists those of the first process, then those of the next. None takes
    CUDA devices: one each if there are enough, else one per process, else the CPU.
    Raises UserError if one is unusable.
    """
    visible = [parallel.identity(f"cuda:{i}") for i in range(torch.cuda.device_count())]
    # A launcher may show each process its own GPU: only equal sets of GPUs are shared.
    index, processes = parallel.place_among_equals(visible or socket.gethostname())
    wanted = len(placed) * processes
    chosen = names.split(",") if names else []
    chosen = ["cuda:0" if name == "cuda" else name for name in chosen]
    if names is None:
        chosen = [f"cuda:{number}" for number in range(len(visible))]
        count = wanted if len(chosen) >= wanted else processes
        chosen = chosen[:count] if len(chosen) >= count else ["cpu"]
        if len(chosen) == processes:
            chosen = [name for name in chosen for _ in placed]
    if len(chosen) == 1:
        chosen *= wanted
    if len(chosen) != wanted:
        several = f"{wanted} devices, or one for all"
        right = several if wanted > 1 else "one device"
        raise UserError(f"--devices must name {right}, not {names}")
    chosen = chosen[len(placed) * index :][: len(placed)]
    for name in dict.fromkeys(chosen):
        try:
            device = torch.device(name)
            if device.type == "cuda" and (device.index or 0) >= len(visible):
                built = torch.backends.cuda.is_built()  # type: ignore[no-untyped-call]
                raise ValueError(  # torch itself may speak of its own code
                    "there is no such device" if built else "this torch has no CUDA"
                )
            if name == chosen[0] and device.type == "cuda":
                torch.cuda.set_device(name)  # or pinned memory would use the first GPU
            probe(name)
        except Exception as error:  # each kind of device raises its own
            reason = str(error).partition("\n")[0].partition(". ")[0]
            raise UserError(f"device {name} cannot be used: {reason}") from None
    places = [f"{a} on {b}" for a, b in zip(placed, chosen, strict=True)]
    console.say(", ".join(places))
    return [torch.device(name) for name in chosen]


def probe(name: str) -> None:
    """Try on a small scale what training does on a device; raise what it raises."""
    x = torch.ones(1, 1, 3, 3, device=name, requires_grad=True)
    loss = F.conv2d(x, torch.ones(1, 1, 2, 2, device=name)).sum()
    (gradient,) = torch.autograd.grad(loss, x)
    (loss.detach().to(sum_type(loss.device)) + gradient.sum()).item()


@functools.cache
def sum_type(device: torch.device) -> torch.dtype:
    """Return the type for sums of losses: float64, or float32 where it is missing.

    Apple's GPUs (mps) do not have it, and neither do some of Intel's.
    """
    try:
        torch.ones(1, dtype=torch.float64, device=device)
    except (RuntimeError, TypeError):
        return torch.float32
    return torch.float64


def seed_dropout(seed: int, step: int, devices: Sequence[torch.device]) -> None:
    """Make dropout a function of the seed, the step, the process, and the device."""
    mixed = np.random.SeedSequence((seed, step, parallel.rank()))
    first, *others = mixed.generate_state(len(devices)).tolist()
    torch.manual_seed(first)  # seeds all devices: shares would drop the same units
    for device, own in zip(devices[1:], others, strict=True):
        if device.type == "cuda" and device != devices[0]:
            with torch.cuda.device(device):
                torch.cuda.manual_seed(own)


def send(device: torch.device, *tensors: Tensor) -> list[Tensor]:
    """Copy small tensors of the CPU to a device, all in one copy.

    Those with the largest items come first: each must start at a multiple of its own.
    """
    parts = [tensor.numpy().tobytes() for tensor in tensors]
    packed = torch.from_numpy(np.frombuffer(bytearray().join(parts), np.uint8))
    sent = torch.split(packed.to(device, non_blocking=True), [*map(len, parts)])
    return [
        part.view(tensor.dtype).view(tensor.shape)
        for part, tensor in zip(sent, tensors, strict=True)
    ]


class Compiled(nn.Module):
    """A compiled network. A share of a batch without images does not need that."""

    def __init__(self, net: nn.Module) -> None:
        super().__init__()
        # Several processes would compile the network in parts, to average the gradients
        # of one part during the next. Not all versions of torch can do that with norms.
        config: Any = torch._dynamo.config
        config.optimize_ddp = False
        self.net = net
        # Otherwise, after a short last batch, all would run with shapes left open.
        self.compiled = torch.compile(net, dynamic=False)

    def forward(self, x: Tensor) -> Tensor:
        """Run the network."""
        found: Tensor = self.compiled(x) if len(x) else self.net(x)
        return found


def compile_network(net: nn.Module) -> nn.Module:
    """Return the network compiled, or as it is if all its devices are CPUs.

    There, with torch 2.13, a step of AlexNet took 0.93 to 1.06 times as much processor
    time compiled, of ResNet-18 1.04 and of alexnet_mini 1.3: convolutions take most of
    it and stay the same, and the compiled gradient of pooling is slower.

    Raises UserError if a device has no compiler.
    """
    devices = dict.fromkeys(weight.device for weight in net.parameters())
    if all(device.type == "cpu" for device in devices):
        print("--compile stays off: on a CPU, compiled steps are no faster")
        return net
    try:  # something small first: the network would fail late, with a long message
        for device in devices:
            torch.compile(torch.sin)(torch.ones(2, device=device))
    except RuntimeError as error:
        reason = str(error).partition("\n")[0]
        raise UserError(f"--compile does not work here: {reason}") from None
    return Compiled(net)
