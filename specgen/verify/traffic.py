"""Runs a generated model on stand-ins for its devices and logs what moves."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

import torch

from specgen.compiler import Program
from specgen.passes.routine import Fetch, walk
from specgen.passes.schedule import schedule
from specgen.verify.devices import CPU, Devices, label
from specgen.verify.measure import images, network

OUTPUT = "output"  # instead of a layer, of a copy that is not planned


class Traffic(NamedTuple):
    """Parameters by device, and bytes per image by edge: `conv3: gpu0 -> gpu1`.

    A copy of the forward pass is for the layer that the schedule has in its place. The
    backward pass has no such order. The image is on the first device at first.
    """

    parameters: dict[str, int]
    forward: dict[str, int]
    backward: dict[str, int]


def travel(path: Path, program: Program) -> Traffic:
    """Run one image forward and backward; an op on values of two devices raises."""
    placed = program.placed
    bound = {device: f"cuda:{index}" for index, device in enumerate(placed.devices)}
    logical = {CPU: CPU} | {real: device for device, real in bound.items()}
    with Devices() as devices:
        net = network(path, program.spec.name)(list(bound.values()), seed=0).eval()
        held = Counter(dict.fromkeys(placed.devices, 0))
        for parameter in net.parameters():
            held[logical[label(parameter)]] += parameter.numel()
        image = images(program, 1).to(bound[placed.devices[0]])
        devices.copies.clear()
        # The stand-ins are CPU values, whatever their labels.
        half = program.spec.training.half
        with torch.autocast("cpu", torch.bfloat16, enabled=half):
            logits = net(image)
        planned = _planned(program)
        forward: Counter[str] = Counter()
        for copy in devices.copies:
            edge = f"{logical[copy.source]} -> {logical[copy.target]}"
            forward[f"{next(planned, OUTPUT)}: {edge}"] += copy.bytes
        devices.copies.clear()
        if logits.requires_grad:  # a network may have no parameters
            torch.autograd.backward(logits.sum())
        backward: Counter[str] = Counter()
        for copy in devices.copies:
            backward[f"{logical[copy.source]} -> {logical[copy.target]}"] += copy.bytes
    return Traffic(dict(held), dict(forward), dict(backward))


def _planned(program: Program) -> Iterator[str]:
    """The layer that each copy between devices is for, in the order of the schedule."""
    for _, step in walk(schedule(program.placed)):
        if not isinstance(step, Fetch):
            continue
        for move in step.moves:
            for piece in move.pieces:
                if program.placed.source(piece) != move.device:
                    yield step.layer.node.name
