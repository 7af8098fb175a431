"""Time AlexNet's whole training step: written by hand, as generated, and variants.

    python benchmarks/train.py
    python benchmarks/train.py > benchmarks/train.md

What runs is generated/alexnet_1gpu: its network, its train.backward, its recipe.update,
in an environment as train.py sets it; on a CPU, the handwritten step has a process of
its own, which takes memory in small pages, torch's default. All variants take turns in
one run, on a CPU and, if there is one, on a CUDA device; a ratio is the median over
rounds of the first one's time over the variant's. Next to wall seconds are processor
seconds, which other programs disturb less. The bound is the step without normalization.
"""

from __future__ import annotations

import argparse
import os
import platform
import subprocess
import sys
import time
from collections.abc import Callable, Mapping
from datetime import date
from pathlib import Path
from statistics import median
from tempfile import TemporaryDirectory
from typing import Any, NamedTuple

# As train.py has it, before torch is imported.
os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")
os.environ.setdefault("THP_MEM_ALLOC_ENABLE", "1")

import torch
import torch.nn.functional as F
from common import GENERATED, alexnet, torchvision_layers
from common import generated as modules
from PIL import Image
from torch import Tensor, nn

model, train, data, recipe, dataset, loading, devices, errors = modules(
    "alexnet_1gpu",
    "model",
    "train",
    "data",
    "recipe",
    "runtime.dataset",
    "runtime.loading",
    "runtime.devices",
    "runtime.errors",
)

RECIPE = recipe.Recipe()
MACS = 724_406_816  # of an image's forward pass; training takes three times as many
PEAKS = {"A100": 312e12, "H100": 989e12, "H200": 989e12}  # flop/s, dense, bfloat16
ON_CPU, ON_CUDA = 64, 512  # images in a batch
BY_HAND = "--by-hand"  # makes this the process of the handwritten step
COMPILED = "--compiled"  # of which torch.compile makes a faster one
Step = Callable[[], None]


class Times(NamedTuple):
    """Seconds per step, one figure per round."""

    wall: list[float]
    cpu: list[float]


class Bfloat16(nn.Module):
    """A network as the generated backward() runs it with `precision: bfloat16`."""

    def __init__(self, net: nn.Module) -> None:
        super().__init__()
        self.net = net

    def forward(self, x: Tensor) -> Tensor:
        with torch.autocast(x.device.type, torch.bfloat16):
            logits: Tensor = self.net(x)
        return logits.float()


def batch(count: int, device: str) -> tuple[Tensor, Tensor]:
    """Return images and labels."""
    torch.manual_seed(0)
    labels = torch.randint(1000, (count,))
    return torch.randn(count, 3, 224, 224).to(device), labels.to(device)


def plain(net: nn.Module, count: int, device: str, bf16: bool = False) -> Step:
    """Return a handwritten step, with all defaults."""
    x, labels = batch(count, device)
    sgd = torch.optim.SGD(
        net.to(device).parameters(), lr=1e-3, momentum=0.9, weight_decay=5e-4
    )
    forward = Bfloat16(net) if bf16 else net

    def step() -> None:
        sgd.zero_grad()
        torch.autograd.backward(F.cross_entropy(forward(x), labels))
        sgd.step()

    return step


def generated(
    count: int,
    device: str,
    *,
    norm: bool = True,
    bf16: bool = False,
    channels_last: bool = True,
    fused: bool = True,
    compile: bool = False,
) -> Step:
    """Return a step of the generated code; the defaults are those of its flags."""
    x, labels = batch(count, device)
    net = model.AlexNet((device,))
    if not norm:
        net.norm1 = net.norm2 = nn.Identity()
    sgd = recipe.optimizer(net, RECIPE, fused)
    forward: Any = Bfloat16(net) if bf16 else net
    if compile:
        forward = devices.compile_network(forward)
    layout = torch.channels_last if channels_last else torch.contiguous_format

    def step() -> None:
        laid_out = x.contiguous(memory_format=layout)  # of every new batch
        train.backward(forward, laid_out, labels, count, RECIPE, 5)
        recipe.update(sgd, 1e-3)

    return step


class ByHand:
    """A step of `plain` on the CPU, in another process."""

    def __init__(self, threads: int, *flags: str) -> None:
        self.process = subprocess.Popen(
            [sys.executable, __file__, BY_HAND, "--threads", str(threads), *flags],
            env={**os.environ, "THP_MEM_ALLOC_ENABLE": "0"},
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )
        self.cpu = 0.0  # seconds that it has taken in total

    def __call__(self) -> None:
        assert self.process.stdin is not None
        assert self.process.stdout is not None
        print(file=self.process.stdin, flush=True)
        self.cpu = float(self.process.stdout.readline())

    @staticmethod
    def serve(*, compile: bool) -> None:
        """Take a step for every line of the input."""
        net: Any = torch.compile(alexnet()) if compile else alexnet()
        step = plain(net, ON_CPU, "cpu")
        for _ in sys.stdin:
            step()
            print(time.process_time(), flush=True)


def processor_seconds(step: Step) -> float:
    """Return what this process, or that of the step, has taken in total."""
    return step.cpu if isinstance(step, ByHand) else time.process_time()


def measure(steps: Mapping[str, Step], rounds: int, repeat: int) -> dict[str, Times]:
    """Time the steps in turn, `repeat` of them at once, after two that warm up.

    Memory that others have used in the meantime is slow at first, especially in a
    virtual machine: by a second for AlexNet's step.
    """
    times = {name: Times([], []) for name in steps}
    for _ in range(rounds):
        for name, step in steps.items():
            for _ in range(2):
                step()
            settle()
            wall, cpu = time.perf_counter(), processor_seconds(step)
            for _ in range(repeat):
                step()
            settle()
            times[name].wall.append((time.perf_counter() - wall) / repeat)
            times[name].cpu.append((processor_seconds(step) - cpu) / repeat)
    return times


def compiles(device: str) -> bool:
    """Return whether `--compile` works on a device; if not, say why."""
    try:
        devices.compile_network(nn.Linear(1, 1).to(device))
    except errors.UserError as error:
        print(error, file=sys.stderr)
        return False
    return True


def settle() -> None:
    """Wait for what CUDA still has to do."""
    if torch.cuda.is_available():
        torch.cuda.synchronize()


def ratio(baseline: list[float], its: list[float]) -> float:
    """Return how many times faster, by the median over rounds."""
    return median(b / t for b, t in zip(baseline, its, strict=True))


def on_cpu(rounds: int, threads: int) -> None:
    """Print the table of steps on the CPU."""
    steps: dict[str, Step] = {
        "by hand: nn.LocalResponseNorm, NCHW, SGD": ByHand(threads),
        "generated": generated(ON_CPU, "cpu"),
        "generated, without LRN: the bound": generated(ON_CPU, "cpu", norm=False),
        "generated, bfloat16": generated(ON_CPU, "cpu", bf16=True),
        "generated, --no-channels-last": generated(ON_CPU, "cpu", channels_last=False),
        "generated, --no-fused": generated(ON_CPU, "cpu", fused=False),
    }
    if compiles("cpu"):
        steps["generated, --compile"] = generated(ON_CPU, "cpu", compile=True)
        steps["by hand, torch.compile"] = ByHand(threads, COMPILED)
    times = measure(steps, rounds, repeat=3)
    load = ", ".join(f"{figure:.1f}" for figure in os.getloadavg())
    print(
        f"## CPU\n\n{processor()}, {threads} threads, torch {torch.__version__}, "
        f"{date.today()}. float32, {ON_CPU} images per step, {rounds} rounds; "
        f"load averages at the end {load}.\n"
    )
    print("| step | wall s | ratio | processor s | ratio |")
    print("|---|--:|--:|--:|--:|")
    first = next(iter(times.values()))
    for name, its in times.items():
        row = f"{median(its.wall):.2f} | {ratio(first.wall, its.wall):.2f}"
        row += f" | {median(its.cpu):.2f} | {ratio(first.cpu, its.cpu):.2f}"
        print(f"| {name} | {row} |")


def on_cuda(rounds: int) -> None:
    """Print the table of steps on a CUDA device, and how long these wait for data."""
    device, name = "cuda:0", torch.cuda.get_device_name(0)
    layers = torchvision_layers()
    steps = {
        "torchvision's layers, no LRN": plain(layers, ON_CUDA, device, bf16=True),
        "generated": generated(ON_CUDA, device, bf16=True),
        "generated, without LRN": generated(ON_CUDA, device, bf16=True, norm=False),
        "generated, --no-channels-last": generated(
            ON_CUDA, device, bf16=True, channels_last=False
        ),
        "generated, --no-fused": generated(ON_CUDA, device, bf16=True, fused=False),
    }
    if compiles(device):
        compiled = generated(ON_CUDA, device, bf16=True, compile=True)
        steps["generated, --compile"] = compiled
    times = measure(steps, rounds, repeat=20)
    peak = next((flops for key, flops in PEAKS.items() if key in name), None)
    print(
        f"\n## CUDA\n\n{name}, torch {torch.__version__}, {date.today()}. bfloat16, "
        f"{ON_CUDA} images per step, {rounds} rounds of 20 steps. Utilization: the "
        "plan's multiply-accumulates, of AlexNet with LRN, over the device's peak.\n"
    )
    print("| step | images/s | ratio | utilization |")
    print("|---|--:|--:|--:|")
    first = next(iter(times.values()))
    for step, its in times.items():
        speed = ON_CUDA / median(its.wall)
        flops = 2 * 3 * MACS * speed
        used = f"{flops / peak:.1%}" if peak and step.startswith("gen") else "-"
        print(f"| {step} | {speed:.0f} | {ratio(first.wall, its.wall):.2f} | {used} |")
    workers = os.cpu_count() or 1
    waited, copied = waiting(device, workers)
    print(
        f"\nFrom packed shards, {workers} workers: the device waits for batches "
        f"{waited:.1%} of the time, and for their copies to it another {copied:.1%}."
    )


def waiting(device: str, workers: int, steps: int = 200) -> tuple[float, float]:
    """Return the shares of the time that the device waits for data.

    For batches, and for their copies to it. A step must end before the next batch is
    requested: until that arrives, the device has nothing to do.
    """
    step = generated(ON_CUDA, device, bf16=True)
    with TemporaryDirectory() as folder:
        tree, packed = Path(folder, "tree"), Path(folder, "packed")
        for split in ("train", "val"):
            (tree / split / "class").mkdir(parents=True)
            for number in range(2 * ON_CUDA if split == "train" else 1):
                pixels = torch.randint(256, (256, 256, 3), dtype=torch.uint8).numpy()
                image = Image.fromarray(pixels)
                image.save(tree / split / "class" / f"{number}.png")
        pack = [
            sys.executable,
            str(GENERATED / "alexnet_1gpu" / "pack.py"),
            str(tree),
            str(packed),
        ]
        subprocess.run(pack, check=True, stdout=sys.stderr)
        shards, _ = dataset.open_data(packed, data.SIZE)
        statistics, _ = data.measure(shards, shards, workers)
        statistics = statistics.to(torch.device(device))
        first = 2 * workers  # batches that are read ahead while the workers start
        order = dataset.batches(len(shards), ON_CUDA, seed=0) * (first + steps)
        loader = loading.Loader(shards, order[: first + steps], workers)
        waited = copied = 0.0
        asked = began = time.perf_counter()
        for number, batch in enumerate(loader):
            found = time.perf_counter()
            pixels = batch.images.to(device, non_blocking=True)
            settle()
            waited += found - asked
            copied += time.perf_counter() - found
            draws = data.draw(len(batch.images), 0, number)
            data.augment(pixels, statistics, draws)
            step()
            settle()
            asked = time.perf_counter()
            if number + 1 == first:
                began, waited, copied = asked, 0.0, 0.0
        whole = asked - began
        return waited / whole, copied / whole


def processor() -> str:
    """Return the name of the CPU."""
    with open("/proc/cpuinfo") as file:
        names = [line.partition(": ")[2] for line in file if "model name" in line]
    return names[0].strip() if names else platform.machine()


def main() -> None:
    """Print the tables, in Markdown."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--threads", type=int, default=os.cpu_count())
    for flag in (BY_HAND, COMPILED):
        parser.add_argument(flag, action="store_true", help=argparse.SUPPRESS)
    args = parser.parse_args()
    torch.set_num_threads(args.threads)
    if args.by_hand:
        ByHand.serve(compile=args.compiled)
        return
    print("# AlexNet's training step\n")
    print("Written by `python benchmarks/train.py`, which explains what is compared.\n")
    on_cpu(args.rounds, args.threads)
    if torch.cuda.is_available():
        on_cuda(args.rounds)
    else:
        print("\n## CUDA\n\nNot measured: this machine has no CUDA device.")


if __name__ == "__main__":
    main()
