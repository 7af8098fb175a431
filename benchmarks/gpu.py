"""Settle in a few minutes what only a GPU can: is generated code right and fast there.

    python benchmarks/gpu.py              # writes benchmarks/gpu.md
    python benchmarks/gpu.py --dry-run    # tiny, on the CPU; prints, writes nothing

It runs what is in generated/: build first. Checks come first (see gpu_checks.py), then
images per second of a training step, with the same optimizer, labels and precision for
all networks. It needs torch, numpy, pillow, tqdm, safetensors and matplotlib; specgen
need not be there.
"""

from __future__ import annotations

import argparse
import os
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from datetime import date
from pathlib import Path
from statistics import median
from tempfile import TemporaryDirectory
from typing import Any

import gpu_checks as checks
import gpu_exchange
import gpu_profile
import torch
from common import (
    GENERATED,
    alexnet,
    channels_last,
    generated,
    in_one_group,
    replace,
    torchvision_layers,
)
from torch import Tensor, nn

Step = Callable[[], object]

MACS = 724_406_816  # of an image's forward pass; training takes three times as many
# Assumed peaks in flop/s, dense, from NVIDIA's data sheets: bfloat16, TF32.
PEAKS = {
    "H200": (989e12, 495e12),
    "H100": (989e12, 495e12),
    "A100": (312e12, 156e12),
    "L4": (121e12, 60e12),
}
TORCHVISION, NN_NORM, WAIT = 0.9, 5.0, 0.05  # targets
BOTH, FIRST = "torchvision's layers, NHWC", "torchvision's layers, NCHW"
OURS, WITHOUT = "AlexNet", "AlexNet without LRN"
THEIRS = "AlexNet, nn.LocalResponseNorm"
UNGROUPED = "AlexNet without LRN and groups"  # 1.57 times as much to compute
TOWERS, COMPILED = "AlexNet as two towers", "AlexNet, --compile"


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

    def networks(self) -> dict[str, tuple[nn.Module, bool]]:
        """Return the networks to time, and whether they get NHWC."""
        ours = self.folders[self.stem]
        without, ungrouped = (ours.build(self.gpus[:1]) for _ in range(2))
        for net in (without, ungrouped):
            replace(net, "LocalResponseNorm", lambda _: nn.Identity())
        replace(ungrouped, "Conv2d", in_one_group)
        found = {
            FIRST: (torchvision_layers(), False),
            BOTH: (channels_last(torchvision_layers()), True),
            UNGROUPED: (ungrouped, True),
            WITHOUT: (without, True),
            THEIRS: (alexnet(), True),
            OURS: (ours.build(self.gpus[:1]), True),
        }
        if self.dry:  # smaller images than the handwritten network has room for
            del found[THEIRS]
        else:
            towers = self.folders["alexnet"].build(self.gpus[:2])
            found[TOWERS] = (towers, True)
            found[COMPILED] = (ours.build(self.gpus[:1]), True)
        return found

    def step(
        self,
        net: nn.Module,
        bf16: bool,
        nhwc: bool,
        count: int,
        *,
        compile: bool = False,
    ) -> Step:
        """Return a step of training on `count` images that are on the device."""
        x = torch.randn(count, 3, self.data.HEIGHT, self.data.WIDTH, device=self.gpu)
        labels = torch.randint(1000, (count,), device=self.gpu)
        labels %= 10 if self.dry else 1000
        layout = torch.channels_last if nhwc else torch.contiguous_format
        sgd = self.recipe.optimizer(net, self.defaults, True)
        learner = self.devices.compile_network(net) if compile else net
        forward = Precise(learner.train(), bf16)

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


def settle() -> None:
    """Wait for what CUDA still has to do."""
    for index in range(torch.cuda.device_count()):
        torch.cuda.synchronize(index)


def correctness(bench: Bench) -> Iterator[checks.Finding]:
    """Yield what the checks find."""
    for folder in bench.folders.values():
        for name, devices in checks.placements(folder, bench.gpus).items():
            yield checks.run(
                f"{folder.stem} on {name} equals the CPU",
                lambda f=folder, d=devices: checks.equals_cpu(f, d),  # type: ignore[misc]
            )
    gpu, mini = bench.gpus[0], bench.folders["alexnet_mini"]
    count = bench.batches[0]
    yield checks.run(
        "memory is as planned but for named parts",
        lambda: checks.memory_plan(bench.folders[bench.stem], gpu),
    )
    yield checks.run(
        "a step never waits for the device",
        lambda: checks.never_waits(from_pixels(bench, count)),
    )
    if not bench.dry:  # the tests do it on CPUs
        yield checks.run(
            "--deterministic resumes to the bit",
            lambda: checks.resumes(gpu, "alexnet_mini", steps=8),
        )
    yield checks.run("a group of one process", lambda: checks.one_process(mini, gpu))
    yield checks.run(
        "two processes with NCCL learn what one does",
        lambda: checks.two_processes(bench.gpus, "alexnet_1gpu"),
    )


def from_pixels(bench: Bench, count: int) -> Callable[[int], None]:
    """Return a step that begins with pixels in the CPU's memory."""
    step, images = whole_step(bench, count)
    pixels = images.cpu()
    if bench.gpu.type == "cuda":
        pixels = pixels.pin_memory()
    none = torch.empty(0, dtype=torch.int64)
    batch = bench.loading.Batch(pixels, none, none, {})

    def take(number: int) -> None:
        for moved in bench.loading.to_device([batch], bench.gpu):
            step(moved.images, number)

    return take


def whole_step(
    bench: Bench, count: int
) -> tuple[Callable[[Tensor, int], None], Tensor]:
    """Return a step as train.py takes it, and images on the device to take it with."""
    data, size = bench.data, bench.data.SIZE
    tensors = {name: torch.zeros(shape) for name, shape in data.SHAPES.items()}
    statistics = data.Statistics(**tensors).to(bench.gpu)
    net = bench.folders[bench.stem].build(bench.gpus[:1])
    sgd = bench.recipe.optimizer(net, bench.defaults, True)
    pixels = torch.randint(256, (count, 3, size, size), dtype=torch.uint8)
    labels = torch.randint(10, (count,))

    def step(images: Tensor, number: int) -> None:
        x = data.augment(images, statistics, data.draw(count, 0, number))
        x = x.contiguous(memory_format=torch.channels_last)
        bench.devices.seed_dropout(0, number, [bench.gpu])
        bench.train.backward(net, x, labels, count, bench.defaults, 5)
        bench.recipe.update(sgd, 1e-3)

    return step, pixels.to(bench.gpu)


def speed(bench: Bench) -> Iterator[str]:
    """Yield the table of images per second, and which targets it meets."""
    name = "CPU" if bench.dry else torch.cuda.get_device_name(bench.gpu)
    peaks = next((both for key, both in PEAKS.items() if key in name), None)
    assumed = (
        "unknown" if peaks is None else f"{peaks[0]:.3g} and {peaks[1]:.3g} flop/s"
    )
    yield (
        "Images per second. Utilization: the plan's multiply-accumulates of AlexNet "
        f"over the peak; assumed for bfloat16 and TF32: {assumed}."
    )
    yield "\n| precision | images per step | network | images/s | utilization |"
    yield "|---|--:|---|--:|--:|"
    verdicts = []
    for bf16 in (True, False):
        for count in bench.batches:
            found: dict[str, float] = {}
            for row, (net, nhwc) in bench.networks().items():
                net.to(bench.gpu) if row != TOWERS else net
                compile = row == COMPILED
                try:
                    step = bench.step(net, bf16, nhwc, count, compile=compile)
                except bench.devices.UserError:  # there is no compiler
                    continue
                found[row] = count / bench.seconds(step)
                peak = peaks[0 if bf16 else 1] if peaks else None
                ours = peak is not None and row in (OURS, TOWERS)
                used = f"{6 * MACS * found[row] / peak:.1%}" if ours and peak else "-"
                kind = "bfloat16" if bf16 else "TF32"
                yield f"| {kind} | {count} | {row} | {found[row]:,.0f} | {used} |"
            at = f"{kind}, {count} images"
            bound = max(found[FIRST], found[BOTH])
            verdicts.append(
                target(at, "torchvision's", found[OURS] / bound, TORCHVISION)
            )
            if THEIRS in found:  # what both norms cost, in seconds per image
                theirs = 1 / found[THEIRS] - 1 / found[WITHOUT]
                its = 1 / found[OURS] - 1 / found[WITHOUT]
                whose = "nn.LocalResponseNorm's"
                verdicts.append(target(at, whose, theirs / its, NN_NORM))
    yield "\n" + "\n".join(verdicts)
    if not bench.dry and len(bench.gpus) < 2:
        yield "\nThere is one GPU: both towers ran on it, one after the other."


def causes(bench: Bench) -> Iterator[str]:
    """Yield what explains the figures: bytes, launches, and the longest operations."""
    size = bench.data.HEIGHT, bench.data.WIDTH
    moved = {
        name: gpu_profile.traffic(net, size, bench.batches[-1])
        for name, (net, _) in bench.networks().items()
        if name in (BOTH, WITHOUT, OURS)
    }
    yield gpu_profile.compared(moved, BOTH)
    for count in bench.batches:
        net, nhwc = bench.networks()[OURS]
        step = bench.step(net.to(bench.gpu), True, nhwc, count)
        taken, launched = bench.seconds(step), bench.launching(step)
        yield (
            f"\nA step of {OURS} with {count} images, in bfloat16, takes "
            f"{taken * 1e3:.2f} ms; Python takes {launched * 1e3:.2f} ms to launch it. "
            "CUDA graphs save time only where that is as long as the step."
        )
    steps = {
        name: bench.step(net.to(bench.gpu), True, nhwc, bench.batches[-1])
        for name, (net, nhwc) in bench.networks().items()
        if name in moved
    }
    yield from gpu_profile.operations(steps, gpu=not bench.dry)


def target(at: str, whose: str, ratio: float, least: float) -> str:
    """Return whether a network, or its norms, are fast enough, as an item of a list."""
    met = "met" if ratio >= least else "**not met**"
    return f"- {at}: {ratio:.2f} of {whose} speed; target {least}: {met}"


def waiting(bench: Bench) -> Iterator[str]:
    """Yield how much of the time of training from packed shards is spent waiting."""
    count, steps = bench.batches[-1], 2 if bench.dry else 60
    workers = 1 if bench.dry else os.cpu_count() or 1
    step, images = whole_step(bench, count)
    bare = bench.seconds(lambda: step(images, 0))
    with TemporaryDirectory() as folder:
        data = Path(folder, "data")
        checks.tree(data, images=count, size=bench.data.SIZE)
        packed = pack(bench.stem, data)
        shards, _ = bench.dataset.open_data(packed, bench.data.SIZE)
        order = bench.dataset.batches(len(shards), count, seed=0) * (steps + 10)
        loader = bench.loading.Loader(shards, order, workers, bench.gpu)
        began = 0.0
        for number, batch in enumerate(bench.loading.to_device(loader, bench.gpu)):
            if number == 10:  # read ahead by now
                settle()
                began = time.perf_counter()
            step(batch.images, number)
        settle()
    fed = (time.perf_counter() - began) / steps
    share = max(0.0, 1 - bare / fed)
    met = "met" if share < WAIT else "**not met**"
    yield (
        f"{count} images per step, float32, {workers} workers: {fed * 1e3:.1f} ms from "
        f"packed shards, {bare * 1e3:.1f} ms with a batch that is on the device: "
        f"{share:.1%} is waiting; target {WAIT:.0%}: {met}."
    )


def pack(stem: str, data: Path) -> Path:
    """Pack a tree of images; return the folder of shards."""
    packed = data.parent / "packed"
    script = GENERATED / stem / "pack.py"
    command = [sys.executable, str(script), str(data), str(packed)]
    subprocess.run(command, check=True, stdout=subprocess.DEVNULL)
    return packed


def report(bench: Bench) -> Iterator[str]:
    """Yield the report, in Markdown."""
    name = (
        "a dry run on the CPU" if bench.dry else torch.cuda.get_device_name(bench.gpu)
    )
    yield "# On a GPU\n"
    yield "Written by `make gpu`; benchmarks/gpu.py explains what is compared.\n"
    versions = f"torch {torch.__version__}, CUDA {torch.version.cuda}"
    cudnn: Any = torch.backends.cudnn
    found = f"{name}; {len(bench.gpus)} device(s); {versions}, cuDNN {cudnn.version()}"
    yield f"{found}; {date.today()}."
    bench.devices.set_up()  # as train.py does
    yield "\n## Right?\n\n| check | passed | found |\n|---|---|---|"
    for finding in correctness(bench):
        yield finding.row()
    yield "\n## Fast?\n"
    yield from speed(bench)
    yield "\n## Exchange\n"
    yield gpu_exchange.measure(bench)
    yield "\n## Why?\n"
    yield from causes(bench)
    yield "\n## Waiting for data\n"
    yield from waiting(bench)


def main() -> None:
    """Write the report, or print that of a dry run."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--dry-run", action="store_true")
    here = Path(__file__).parent
    parser.add_argument("--output", type=Path, default=here / "gpu.md")
    args = parser.parse_args()
    if not args.dry_run and not torch.cuda.is_available():
        sys.exit("error: there is no CUDA device; --dry-run works without one")
    lines = []
    for line in report(Bench(args.dry_run)):
        print(line, flush=True)
        lines.append(line)
    if not args.dry_run:
        args.output.write_text("\n".join(lines) + "\n")


if __name__ == "__main__":
    main()
