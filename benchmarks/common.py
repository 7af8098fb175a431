"""What benchmarks share: networks that are written or changed by hand, real photos."""

from __future__ import annotations

import importlib
import os
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
from torch import nn

GENERATED = Path(__file__).resolve().parent.parent / "generated"


def generated(stem: str, *modules: str) -> tuple[Any, ...]:
    """Import modules of a generated folder, or of the run-time code next to it."""
    sys.path[:0] = [str(GENERATED / stem), str(GENERATED)]
    return tuple(map(importlib.import_module, modules))


def photos(name: str) -> Path:
    """Return a folder in SPECGEN_TEST_DATA; if there is none, say so and exit."""
    if root := os.environ.get("SPECGEN_TEST_DATA"):
        return Path(root, name)
    print(f"skipped: SPECGEN_TEST_DATA is not a folder that contains {name}")
    sys.exit()


def paper_norm() -> nn.Module:
    """Return AlexNet's normalization as torch has it."""
    return nn.LocalResponseNorm(5, 1e-4, 0.75, 2)


def alexnet(norm: Callable[[], nn.Module] = paper_norm) -> nn.Sequential:
    """Return AlexNet as published, on one device: 60,965,224 parameters."""
    return nn.Sequential(
        *(nn.ZeroPad2d((0, 3, 0, 3)), nn.Conv2d(3, 96, 11, 4), nn.ReLU()),
        *(norm(), nn.MaxPool2d(3, 2)),
        *(nn.Conv2d(96, 256, 5, padding=2, groups=2), nn.ReLU()),
        *(norm(), nn.MaxPool2d(3, 2)),
        *(nn.Conv2d(256, 384, 3, padding=1), nn.ReLU()),
        *(nn.Conv2d(384, 384, 3, padding=1, groups=2), nn.ReLU()),
        *(nn.Conv2d(384, 256, 3, padding=1, groups=2), nn.ReLU()),
        *(nn.MaxPool2d(3, 2), nn.Flatten()),
        *(nn.Linear(9216, 4096), nn.ReLU(), nn.Dropout()),
        *(nn.Linear(4096, 4096), nn.ReLU(), nn.Dropout(), nn.Linear(4096, 1000)),
    )


def torchvision_layers() -> nn.Sequential:
    """Return the layers of torchvision's AlexNet, which has no normalization."""
    return nn.Sequential(
        *(nn.Conv2d(3, 64, 11, 4, 2), nn.ReLU(inplace=True), nn.MaxPool2d(3, 2)),
        *(nn.Conv2d(64, 192, 5, padding=2), nn.ReLU(inplace=True), nn.MaxPool2d(3, 2)),
        *(nn.Conv2d(192, 384, 3, padding=1), nn.ReLU(inplace=True)),
        *(nn.Conv2d(384, 256, 3, padding=1), nn.ReLU(inplace=True)),
        *(nn.Conv2d(256, 256, 3, padding=1), nn.ReLU(inplace=True)),
        *(nn.MaxPool2d(3, 2), nn.AdaptiveAvgPool2d(6), nn.Flatten()),
        *(nn.Dropout(), nn.Linear(9216, 4096), nn.ReLU(inplace=True)),
        *(nn.Dropout(), nn.Linear(4096, 4096), nn.ReLU(inplace=True)),
        nn.Linear(4096, 1000),
    )


def channels_last(net: nn.Module) -> nn.Module:
    """Lay out the weights of a network as NHWC too."""
    for weight in net.parameters():
        if weight.dim() == 4:
            weight.data = weight.data.contiguous(memory_format=torch.channels_last)
    return net


def replace(net: nn.Module, kind: str, make: Callable[[Any], nn.Module]) -> None:
    """Replace all modules of a class by what `make` returns for each."""
    for name, module in list(net.named_modules()):
        if type(module).__name__ == kind:
            net.set_submodule(name, make(module))


def in_one_group(conv: nn.Conv2d) -> nn.Module:
    """Return a convolution of the same shape without groups, on its device."""
    size: Any = conv.kernel_size
    shape: Any = {"stride": conv.stride, "padding": conv.padding}
    whole = nn.Conv2d(conv.in_channels, conv.out_channels, size, **shape)
    return whole.to(conv.weight.device)
