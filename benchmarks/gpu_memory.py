"""Whether a step of AlexNet takes the memory that was planned, by CUDA's allocator.

The plan is what generated/alexnet_1gpu/README.md says, so that a machine without
specgen can check it. It counts weights, gradients, momentum, and what torch saves from
forward to backward on a CPU. Two figures are compared with it; sizes are requested
bytes, without the allocator's rounding:

- saved, when the loss is there: as planned, less what the norms do not save on CUDA,
  within 2% of the whole plan. CUDA keeps smaller masks of dropout (0.2%), and the
  loss its own values (0.03%).
- the peak: when the backward pass reaches the convolutions, all that is planned is
  there but their gradients (0.5%), so the peak is at most 2% below it. Above it are
  images, what libraries keep between steps, and buffers that exist only while gradients
  are computed: the gradients of a layer's output and input, and a workspace. Each of
  the three can be as large as the largest activation.
"""

from __future__ import annotations

import gc
import re
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor, nn

TOLERANCE = 0.02  # of the plan
UNITS = {"MiB": 2**20, "GiB": 2**30}
ROW = r"^\| `gpu0` \|.*\| ([\d,]+) \| [\d.]+ \w+ \| ([\d.]+) (\w+) \|$"


class Plan(NamedTuple):
    """Bytes that a step takes, and the images in it."""

    images: int
    weights: int
    training: int  # weights, gradients, momentum, and what is saved

    @property
    def saved(self) -> int:
        """What is saved from forward to backward."""
        return self.training - 3 * self.weights


class Marks(NamedTuple):
    """Bytes in use: between steps, with images, with the loss, and at the peak."""

    held: int
    given: int
    saved: int
    peak: int


class Sizes(NamedTuple):
    """Bytes that shapes tell: the largest activation, and what norms do not save."""

    largest: int
    unsaved: int


def read_plan(readme: Path) -> Plan:
    """Return the plan for a network on one device; ValueError if it is not there."""
    text = readme.read_text()
    row = re.search(ROW, text, re.MULTILINE)
    images = re.search(r"^For (\d+) images at once, in float32\.", text, re.MULTILINE)
    if not row or not images:
        raise ValueError(f"there is no memory plan in {readme}")
    weights = 4 * int(row[1].replace(",", ""))
    return Plan(int(images[1]), weights, round(float(row[2]) * UNITS[row[3]]))


def sizes(net: nn.Module, x: Tensor, *, fused: bool) -> Sizes:
    """Return what follows from the shapes of a forward pass in float32.

    A norm whose steps are `fused` saves its input only, without a base for each number.
    """
    largest = unsaved = 0

    def see(module: nn.Module, _: Any, y: Tensor) -> None:
        nonlocal largest, unsaved
        if not list(module.children()):
            largest = max(largest, 4 * y.numel())
            if fused and type(module).__name__ == "LocalResponseNorm":
                unsaved += 4 * y.numel()

    hooks = [module.register_forward_hook(see) for module in net.modules()]
    with torch.no_grad():
        net(x)
    for hook in hooks:
        hook.remove()
    return Sizes(largest, unsaved)


def measure(
    build: Callable[[], nn.Module], images: Callable[[], Tensor], half: bool = False
) -> Marks:
    """Take two steps on CUDA; the first one sets up, and the second is measured.

    `images` returns a batch on the device. With `half`, autocast computes in bfloat16.
    """
    gc.collect()  # what others have left would go in between
    before = requested("current")
    net = build()
    velocity = [torch.zeros_like(weight) for weight in net.parameters()]
    marks: Sequence[int] = ()
    for _ in range(2):
        net.zero_grad()
        held = requested("current")
        batch = images().contiguous(memory_format=torch.channels_last)
        given = requested("current")
        torch.cuda.reset_peak_memory_stats(batch.device)
        with torch.autocast(batch.device.type, torch.bfloat16, enabled=half):
            logits = net(batch).float()
        labels = torch.zeros(len(batch), dtype=torch.long, device=logits.device)
        loss = F.cross_entropy(logits, labels, reduction="sum")
        saved = requested("current")
        torch.autograd.backward(loss)
        marks = (held, given, saved, requested("peak"))
        with torch.no_grad():
            for weight, v in zip(net.parameters(), velocity, strict=True):
                assert weight.grad is not None
                weight.add_(v.mul_(0.9).sub_(weight.grad, alpha=1e-9))
        del batch, logits, labels, loss
    return Marks(*(mark - before for mark in marks))


def requested(when: str) -> int:
    """Return the bytes in use on the current device, "current" or at the "peak"."""
    torch.cuda.synchronize()
    return int(torch.cuda.memory_stats()[f"requested_bytes.all.{when}"])


def judge(plan: Plan, found: Marks, shapes: Sizes) -> tuple[str, bool]:
    """Compare the plan with what was found: see above."""
    tolerance = TOLERANCE * plan.training
    saved = found.saved - found.given
    expected = plan.saved - shapes.unsaved
    libraries = found.held - 2 * plan.weights
    images = found.given - found.held
    rest = found.peak - (plan.training - shapes.unsaved + libraries + images)
    most = 3 * shapes.largest
    said = (
        f"{plan.images} images: {_mebibytes(saved)} saved, {_mebibytes(expected)} "
        f"expected, {_mebibytes(shapes.unsaved)} less than planned for the norms; peak "
        f"{_mebibytes(found.peak)}, plan {_mebibytes(plan.training)}, images "
        f"{_mebibytes(images)}, libraries {_mebibytes(libraries)}, gradients of "
        f"activations and workspaces {_mebibytes(rest)} of at most {_mebibytes(most)}"
    )
    right = abs(saved - expected) <= tolerance and -tolerance <= rest <= most
    return said, right and abs(libraries) <= most


def _mebibytes(size: float) -> str:
    return f"{size / 2**20:.1f} MiB"
