"""Counts what a generated model saves for its backward pass, device by device."""

from __future__ import annotations

from pathlib import Path

import torch
from torch import Tensor, nn

from specgen.compiler import Program
from specgen.verify.devices import Devices, label
from specgen.verify.measure import images, network


def saved(path: Path, program: Program, count: int) -> dict[str, int]:
    """Return the bytes that training on this many images saves on each device."""
    bound = {d: f"cuda:{index}" for index, d in enumerate(program.placed.devices)}
    with Devices():
        net = network(path, program.spec.name)(list(bound.values()), seed=0)
        # The stand-ins are CPU values, whatever their labels.
        half = program.spec.training.half
        with torch.autocast("cpu", torch.bfloat16, enabled=half):
            found = _storages(net, images(program, count))
    sizes = dict.fromkeys(bound.values(), 0)
    for device, size in found:
        sizes[device] += size
    return {device: sizes[real] for device, real in bound.items()}


def _storages(net: nn.Module, x: Tensor) -> list[tuple[str, int]]:
    """Device and bytes of every saved storage except parameters and buffers."""
    # Storages seen so far stay alive, so that no address is reused.
    owned = (*net.parameters(), *net.buffers())
    seen = {tensor.data_ptr(): tensor.untyped_storage() for tensor in owned}
    found = []

    def pack(tensor: Tensor) -> Tensor:
        storage = tensor.untyped_storage()
        if storage.data_ptr() not in seen:
            seen[storage.data_ptr()] = storage
            found.append((label(tensor), storage.nbytes()))
        return tensor

    with torch.autograd.graph.saved_tensors_hooks(pack, lambda tensor: tensor):
        net(x)
    return found
