"""What placement costs: to compile, and to run two towers on one CPU.

    python benchmarks/placement.py [--rounds 5] [--batch-size 16]

Compiling: chains of many layers on many devices, in groups that stay on their device
and in layers that read everything; the time for each layer and device should not grow
with either. Running: one training step of AlexNet in two towers and on one device, in
turns, so that a busy machine slows both equally.
"""

from __future__ import annotations

import argparse
import importlib.util
import json
import time
from collections.abc import Callable
from functools import partial
from pathlib import Path
from statistics import median
from typing import Any

import torch
import torch.nn.functional as F

from specgen.backends.forward import Forward
from specgen.compiler import Program, compile_read, render
from specgen.diagnostics import Problems
from specgen.graph import Assignment
from specgen.passes import memory
from specgen.passes.placement import place
from specgen.passes.schedule import schedule
from specgen.source import parse

GENERATED = Path(__file__).parent.parent / "generated"
SIZES = ((125, 8), (250, 8), (500, 8), (1000, 8), (1000, 4), (1000, 2), (1000, 1))


def main() -> None:
    """Measure and print two tables."""
    parser = argparse.ArgumentParser(description="Time placement.")
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--batch-size", type=int, default=16)
    options = parser.parse_args()
    compiling(options.rounds)
    running(options.rounds, options.batch_size)


def chain(layers: int, devices: int, groups: int) -> Program:
    """Compile a chain of convolutions and activations, all but its end split."""
    names = [f"gpu{index}" for index in range(devices)]
    network: dict[str, Any] = {}
    for index in range(0, layers - 3, 2):
        network[f"conv{index}"] = {
            "op": "conv2d",
            "out_channels": 16,
            "kernel_size": 1,
            "groups": groups if index else 1,
        }
        network[f"relu{index}"] = {"op": "relu"}
    network |= {
        "flat": {"op": "flatten"},
        "fc": {"op": "linear", "out_features": 2},
        "prob": {"op": "softmax"},
    }
    data = {
        "specgen": 1,
        "name": "Chain",
        "input": {"channels": 3, "height": 4, "width": 4},
        "layers": network,
        "placement": {
            "devices": {name: {} for name in names},
            "layers": {"conv0..flat": "split", "fc..prob": "gpu0"},
        },
    }
    return compile_read(parse(json.dumps(data).encode(), "chain.yaml"), "chain")


def build(program: Program) -> None:
    """Compile again and generate every file, without reading the spec."""
    render(compile_read(program.source, "chain"))


def where(program: Program) -> Assignment:
    """Return the devices of each layer."""
    placed = program.placed
    on = {
        layer.node.name: tuple(share.device for share in layer.shares)
        for layer in placed.layers
    }
    return Assignment(placed.devices, on)


def milliseconds(rounds: int, work: Callable[[], object]) -> float:
    """Return the shortest of several times on a core: disturbances only add time."""
    times = []
    for _ in range(rounds):
        began = time.process_time()
        work()
        times.append(time.process_time() - began)
    return 1000 * min(times)


def compiling(rounds: int) -> None:
    """Print how long the passes take, and each layer on each device of them."""
    print("compiling: milliseconds (microseconds for each layer and device)")
    heads = "".join(f"{head:>17}" for head in ("place", "memory", "forward", "build"))
    print(f"{'reads':12}{'layers':>6}{'devices':>9}{heads}")
    for reads, groups in (("a group", 8), ("everything", 1)):
        for layers, devices in SIZES:
            program = chain(layers, devices, groups)
            works: tuple[Callable[[], object], ...] = (
                partial(place, program.graph, where(program), Problems()),
                partial(memory.plan, program.placed),
                partial(Forward, program.placed, schedule(program.placed)),
                partial(build, program),
            )
            print(f"{reads:12}{layers:6}{devices:9}", end="")
            for work in works:
                took = milliseconds(rounds, work)
                print(f"{took:9.1f} ({1000 * took / layers / devices:5.2f})", end="")
            print()


def model(stem: str, devices: int) -> Any:
    """Return a generated AlexNet, all of it on the CPU."""
    path = GENERATED / stem / "model.py"
    spec = importlib.util.spec_from_file_location(stem, path)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module.AlexNet(["cpu"] * devices)


def running(rounds: int, batch_size: int) -> None:
    """Print how long a training step takes, as the clock and as the cores count."""
    images = torch.randn(batch_size, 3, 224, 224)
    labels = torch.randint(1000, (batch_size,))
    models = {"one device": model("alexnet_1gpu", 1), "two towers": model("alexnet", 2)}
    rules = {
        name: torch.optim.SGD(net.parameters(), lr=0.001, momentum=0.9)
        for name, net in models.items()
    }
    wall: dict[str, list[float]] = {name: [] for name in models}
    cpu: dict[str, list[float]] = {name: [] for name in models}
    for turn in range(rounds + 1):
        for name, net in models.items():
            began = time.perf_counter(), time.process_time()
            rules[name].zero_grad()
            torch.autograd.backward(F.cross_entropy(net(images), labels))
            rules[name].step()
            if turn:  # the first step also sets up
                wall[name].append(time.perf_counter() - began[0])
                cpu[name].append(time.process_time() - began[1])
    print(f"\ntraining step on a CPU, {batch_size} images: medians of {rounds}")
    for name in models:
        print(f"{name:12}{median(wall[name]):8.2f} s{median(cpu[name]):10.2f} CPU s")
    ratios = [b / a for a, b in zip(*wall.values(), strict=True)]
    print(f"two towers take {median(ratios):.2f} times as long")


if __name__ == "__main__":
    main()
