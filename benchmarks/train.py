"""Time AlexNet's whole training step on a CPU: by hand, as generated, and variants.

    python benchmarks/train.py
    python benchmarks/train.py > benchmarks/train.md

What runs is generated/alexnet_1gpu: its network, its train.backward, its recipe.update,
in an environment as train.py sets it. The handwritten step has a process of its own,
which takes memory in small pages, torch's default. All variants take turns; a ratio is
the median over rounds of the first one's time over the variant's. Next to wall seconds
are processor seconds, which other programs disturb less. The bound is the step without
normalization. benchmarks/gpu.py does this on a GPU.
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
from statistics import median
from typing import Any, NamedTuple

# As train.py has it, before torch is imported.
os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")
os.environ.setdefault("THP_MEM_ALLOC_ENABLE", "1")

import torch
import torch.nn.functional as F
from common import alexnet
from common import generated as modules
from torch import Tensor, nn

model, train, recipe, devices = modules(
    "alexnet_1gpu", "model", "train", "recipe", "runtime.devices"
)

RECIPE = recipe.Recipe()
COUNT = 64  # images in a batch
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


def batch() -> tuple[Tensor, Tensor]:
    """Return images and labels."""
    torch.manual_seed(0)
    return torch.randn(COUNT, 3, 224, 224), torch.randint(1000, (COUNT,))


def plain(net: nn.Module) -> Step:
    """Return a handwritten step, with all defaults."""
    x, labels = batch()
    sgd = torch.optim.SGD(net.parameters(), lr=1e-3, momentum=0.9, weight_decay=5e-4)

    def step() -> None:
        sgd.zero_grad()
        torch.autograd.backward(F.cross_entropy(net(x), labels))
        sgd.step()

    return step


def generated(
    *,
    norm: bool = True,
    bf16: bool = False,
    channels_last: bool = True,
    fused: bool = True,
    compile: bool = False,
) -> Step:
    """Return a step of the generated code; the defaults are those of its flags.

    On a CPU, train.py does not `compile`: this shows why.
    """
    x, labels = batch()
    net = model.AlexNet(("cpu",))
    if not norm:
        net.norm1 = net.norm2 = nn.Identity()
    sgd = recipe.optimizer(net, RECIPE, fused)
    forward: Any = Bfloat16(net) if bf16 else net
    if compile:
        forward = devices.Compiled(forward)
    layout = torch.channels_last if channels_last else torch.contiguous_format

    def step() -> None:
        laid_out = x.contiguous(memory_format=layout)  # of every new batch
        train.backward(forward, laid_out, labels, COUNT, RECIPE, 5)
        recipe.update(sgd, 1e-3)

    return step


class ByHand:
    """A step of `plain` in another process."""

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
        step = plain(net)
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
            wall, cpu = time.perf_counter(), processor_seconds(step)
            for _ in range(repeat):
                step()
            times[name].wall.append((time.perf_counter() - wall) / repeat)
            times[name].cpu.append((processor_seconds(step) - cpu) / repeat)
    return times


def compiles() -> bool:
    """Return whether there is a compiler here; if not, say why."""
    try:
        torch.compile(torch.sin)(torch.ones(2))
    except RuntimeError as error:
        print(str(error).partition("\n")[0], file=sys.stderr)
        return False
    return True


def ratio(baseline: list[float], its: list[float]) -> float:
    """Return how many times faster, by the median over rounds."""
    return median(b / t for b, t in zip(baseline, its, strict=True))


def table(rounds: int, threads: int) -> None:
    """Print the table of steps."""
    steps: dict[str, Step] = {
        "by hand: nn.LocalResponseNorm, NCHW, SGD": ByHand(threads),
        "generated": generated(),
        "generated, without LRN: the bound": generated(norm=False),
        "generated, bfloat16": generated(bf16=True),
        "generated, --no-channels-last": generated(channels_last=False),
        "generated, --no-fused": generated(fused=False),
    }
    if compiles():
        steps["generated, torch.compile"] = generated(compile=True)
        steps["by hand, torch.compile"] = ByHand(threads, COMPILED)
    times = measure(steps, rounds, repeat=3)
    load = ", ".join(f"{figure:.1f}" for figure in os.getloadavg())
    print(
        f"{processor()}, {threads} threads, torch {torch.__version__}, "
        f"{date.today()}. float32, {COUNT} images per step, {rounds} rounds; "
        f"load averages at the end {load}.\n"
    )
    print("| step | wall s | ratio | processor s | ratio |")
    print("|---|--:|--:|--:|--:|")
    first = next(iter(times.values()))
    for name, its in times.items():
        row = f"{median(its.wall):.2f} | {ratio(first.wall, its.wall):.2f}"
        row += f" | {median(its.cpu):.2f} | {ratio(first.cpu, its.cpu):.2f}"
        print(f"| {name} | {row} |")


def processor() -> str:
    """Return the name of the CPU."""
    with open("/proc/cpuinfo") as file:
        names = [line.partition(": ")[2] for line in file if "model name" in line]
    return names[0].strip() if names else platform.machine()


def main() -> None:
    """Print the table, in Markdown."""
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
    print("# AlexNet's training step on a CPU\n")
    print("Written by `python benchmarks/train.py`, which explains what is compared.\n")
    table(args.rounds, args.threads)


if __name__ == "__main__":
    main()
