"""The networks and steps that gpu.py times."""

from __future__ import annotations

import time
from collections.abc import Callable
from statistics import median

import gpu_checks as checks
import torch
from common import (
    alexnet,
    channels_last,
    generated,
    in_one_group,
    replace,
    torchvision_layers,
)
from torch import Tensor, nn

Step = Callable[[], object]

BOTH, FIRST = "torchvision's layers, NHWC", "torchvision's layers, NCHW"
OURS, WITHOUT = "AlexNet", "AlexNet without LRN"
THEIRS = "AlexNet, nn.LocalResponseNorm"
UNGROUPED = "AlexNet without LRN and groups"  # 1.57 times as much to compute
TOWERS, COMPILED = "AlexNet as two towers", "AlexNet, --compile"
BOTH_COMPILED = "torchvision's layers, NHWC, torch.compile"


class Precise(nn.Module):
    """A network in bfloat16, as `precision: bfloat16` trains it, or in float32."""

    def __init__(self, net: nn.Module, bf16: bool) -> None:
        super().__init__()
        self.net, self.bf16 = net, bf16

    def forward(self, x: Tensor) -> Tensor:
        with torch.autocast(x.device.type, torch.bfloat16, enabled=self.bf16):
            logits: Tensor = self.net(x)
        return logits.float()


class Bench:
    """The generated code that is timed, and how large a part of it."""

    def __init__(self, dry_run: bool) -> None:
        self.dry = dry_run
        self.stem = "alexnet_mini" if dry_run else "alexnet_1gpu"
        names = "model", "train", "data", "recipe"
        runtime = "devices", "dataset", "loading"
        found = generated(self.stem, *names, *(f"runtime.{name}" for name in runtime))
        self.model, self.train, self.data, self.recipe = found[:4]
        self.devices, self.dataset, self.loading = found[4:]
        count = torch.cuda.device_count()
        self.gpus = ["cpu"] if dry_run else [f"cuda:{i}" for i in range(count)]
        self.gpu = torch.device(self.gpus[0])
        self.batches = (2,) if dry_run else (128, 512)
        self.folders = {
            f.stem: f for f in checks.folders([self.stem] if dry_run else [])
        }
        self.defaults = self.recipe.Recipe()

    def rows(self, count: int, bf16: bool) -> list[str]:
        """Return the networks to time with batches of `count` images.

        To compile one takes up to a minute, so it is done for one batch and precision.
        """
        if self.dry:  # its images are too small for the handwritten network
            return [FIRST, BOTH, UNGROUPED, WITHOUT, OURS]
        compile = bf16 and count == self.batches[-1]
        compiled = [BOTH_COMPILED, COMPILED] if compile else []
        return [FIRST, BOTH, UNGROUPED, WITHOUT, THEIRS, OURS, TOWERS, *compiled]

    def network(self, row: str) -> nn.Module:
        """Return the network of a row on its device, in training mode."""
        if row == THEIRS:
            net: nn.Module = alexnet()
        elif row == TOWERS:
            return self.folders["alexnet"].build(self.gpus[:2]).train()
        elif row in (FIRST, BOTH, BOTH_COMPILED):
            net = torchvision_layers()
            net = net if row == FIRST else channels_last(net)
        else:
            net = self.folders[self.stem].build(self.gpus[:1])
            if row in (WITHOUT, UNGROUPED):
                replace(net, "LocalResponseNorm", lambda _: nn.Identity())
            if row == UNGROUPED:
                replace(net, "Conv2d", in_one_group)
        return net.to(self.gpu).train()

    def step(self, row: str, bf16: bool, count: int) -> Step:
        """Return a step of training on `count` images that are on the device."""
        x = torch.randn(count, 3, self.data.HEIGHT, self.data.WIDTH, device=self.gpu)
        labels = torch.randint(1000, (count,), device=self.gpu)
        labels %= 10 if self.dry else 1000
        layout = torch.contiguous_format if row == FIRST else torch.channels_last
        net = self.network(row)
        sgd = self.recipe.optimizer(net, self.defaults, True)
        if row in (COMPILED, BOTH_COMPILED):
            net = self.devices.compile_network(net)
        forward = Precise(net, bf16)

        def step() -> None:
            laid_out = x.contiguous(memory_format=layout)  # of every new batch
            self.train.backward(forward, laid_out, labels, count, self.defaults, 5)
            self.recipe.update(sgd, 1e-3)

        return step

    def seconds(self, step: Step) -> float:
        """Return how long a step takes: the median of five rounds."""
        rounds, repeat = (1, 1) if self.dry else (5, 10)
        for _ in range(1 if self.dry else 5):
            step()
        times = []
        for _ in range(rounds):
            settle()
            began = time.perf_counter()
            for _ in range(repeat):
                step()
            settle()
            times.append((time.perf_counter() - began) / repeat)
        return median(times)

    def launching(self, step: Step) -> float:
        """Return how long Python takes to launch a step that follows no other."""
        times = []
        for _ in range(5):
            settle()
            began = time.perf_counter()
            step()
            times.append(time.perf_counter() - began)
        return median(times)

    def from_pixels(self, count: int) -> Callable[[int], None]:
        """Return a step that begins with pixels in the CPU's memory."""
        step, images = self.whole_step(count)
        pixels = images.cpu()
        if self.gpu.type == "cuda":
            pixels = pixels.pin_memory()
        none = torch.empty(0, dtype=torch.int64)
        batch = self.loading.Batch(pixels, none, none, {})

        def take(number: int) -> None:
            for moved in self.loading.to_device([batch], self.gpu):
                step(moved.images, number)

        return take

    def whole_step(self, count: int) -> tuple[Callable[[Tensor, int], None], Tensor]:
        """Return a step as train.py takes it, and images on the device for it."""
        data, size = self.data, self.data.SIZE
        tensors = {name: torch.zeros(shape) for name, shape in data.SHAPES.items()}
        statistics = data.Statistics(**tensors).to(self.gpu)
        net = self.network(OURS)
        sgd = self.recipe.optimizer(net, self.defaults, True)
        pixels = torch.randint(256, (count, 3, size, size), dtype=torch.uint8)
        labels = torch.randint(10, (count,))

        def step(images: Tensor, number: int) -> None:
            x = data.augment(images, statistics, data.draw(count, 0, number))
            x = x.contiguous(memory_format=torch.channels_last)
            self.devices.seed_dropout(0, number, [self.gpu])
            self.train.backward(net, x, labels, count, self.defaults, 5)
            self.recipe.update(sgd, 1e-3)

        return step, pixels.to(self.gpu)


def settle() -> None:
    """Wait for what CUDA still has to do."""
    for index in range(torch.cuda.device_count()):
        torch.cuda.synchronize(index)
