"""Runs a generated model on stand-ins for its devices and logs what moves."""

from __future__ import annotations

from collections import Counter
from contextlib import ExitStack
from pathlib import Path
from typing import Any, NamedTuple

import torch
from torch import Tensor, nn

from specgen.compiler import Program
from specgen.verify.devices import CPU, Devices, label
from specgen.verify.measure import images, layer_names, network

OUTPUT = "output"  # instead of a module, where none runs after a copy

Edge = tuple[str, str, str]  # before, from, to


class Traffic(NamedTuple):
    """Parameters by device, and bytes per image by edge: `conv3: gpu0 -> gpu1`.

    A forward edge begins with the layer of the next module that runs on its target:
    functions such as relu cannot be seen. The backward pass has no such order.
    """

    parameters: dict[str, int]
    forward: dict[str, int]
    backward: dict[str, int]


def travel(path: Path, program: Program) -> Traffic:
    """Run one image forward and backward; an op on values of two devices raises."""
    placed = program.placed
    bound = {device: f"cuda:{index}" for index, device in enumerate(placed.devices)}
    logical = {real: device for device, real in bound.items()}
    layers = layer_names(placed)
    with Devices() as devices:
        net = network(path, program.spec.name)(list(bound.values()), seed=0).eval()
        held = Counter(dict.fromkeys(placed.devices, 0))
        for parameter in net.parameters():
            real = label(parameter)
            held[logical.get(real, real)] += parameter.numel()
        devices.copies.clear()
        logits, crossed = _forward(net, images(program, 1), devices, layers)
        forward = Counter(
            {
                f"{before}: {logical[start]} -> {logical[end]}": count
                for (before, start, end), count in crossed.items()
                if start != CPU
            }
        )
        if logits.requires_grad:  # a network may have no parameters
            torch.autograd.backward(logits.sum())
        backward: Counter[str] = Counter()
        for copy in devices.copies:
            backward[f"{logical[copy.source]} -> {logical[copy.target]}"] += copy.bytes
    return Traffic(dict(held), dict(forward), dict(backward))


def _forward(
    net: nn.Module, x: Tensor, devices: Devices, layers: dict[str, str]
) -> tuple[Tensor, Counter[Edge]]:
    """Run forward; attribute each copy to the layer that runs next on its target."""
    crossed: Counter[Edge] = Counter()

    def arrive(layer: str, at: str | None = None) -> None:
        for copy in [c for c in devices.copies if at in (None, c.target)]:
            devices.copies.remove(copy)
            crossed[layer, copy.source, copy.target] += copy.bytes

    def watch(layer: str) -> Any:
        return lambda module, args: arrive(layer, label(args[0]))

    with ExitStack() as stack:
        for name, module in net.named_modules():
            if name:
                hook = watch(layers.get(name, name))
                stack.callback(module.register_forward_pre_hook(hook).remove)
        logits = net(x)
    arrive(OUTPUT)
    return logits, crossed
