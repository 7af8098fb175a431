"""Runs a generated model.py and measures it. Nothing here knows what was planned.

Names of modules and devices are the placed graph's; sizes never are.
"""

from __future__ import annotations

import importlib.util
import math
from collections import Counter
from collections.abc import Callable, Mapping
from contextlib import ExitStack
from itertools import chain
from pathlib import Path
from typing import Any, NamedTuple

import torch
from torch import Tensor, nn
from torch.nn.attention import SDPBackend, sdpa_kernel
from torch.utils.flop_counter import FlopCounterMode

from specgen.compiler import Program
from specgen.graph import PlacedGraph, around, tensor_name

IMAGES = 2  # a single image could not show that images are mixed up
STATISTICS = 8  # images: over two values, a normalized one would always be 1 or -1
PIXELS = 64.0  # their standard deviation, as in photos: with less, norms do little


class Seen(NamedTuple):
    """What one forward pass showed: by layer, per image; and the outputs.

    `layers` are the whole outputs of those that are modules.
    """

    shapes: dict[str, Any]
    layers: dict[str, Tensor]
    flops: dict[str, int]
    outputs: dict[str, Tensor]


class Step(NamedTuple):
    """The logits and running statistics, and the gradients of whole parameters."""

    outputs: dict[str, Tensor]
    gradients: dict[str, Tensor]


def network(path: Path, name: str) -> Callable[..., nn.Module]:
    """Import a generated file and return its class."""
    spec = importlib.util.spec_from_file_location(f"specgen_{path.stem}", path)
    assert spec
    assert spec.loader
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    found: Callable[..., nn.Module] = getattr(module, name)
    return found


def on_cpu(path: Path, program: Program) -> nn.Module:
    """Build the generated model with every device on the CPU, ready for inference."""
    build = network(path, program.spec.name)
    return build(["cpu"] * len(program.placed.devices), seed=0).eval()


def images(program: Program, count: int = IMAGES) -> Tensor:
    """Draw images on the scale that the network reads: pixels, divided by `std`."""
    generator = torch.Generator().manual_seed(1)
    shape = (count, *program.graph.input_shape)
    return torch.randn(shape, generator=generator) * (PIXELS / program.spec.data.std)


def parameters(net: nn.Module) -> int:
    """Count parameters."""
    return sum(parameter.numel() for parameter in net.parameters())


def state_shapes(net: nn.Module) -> dict[str, list[int]]:
    """Shapes of the state_dict, in its order."""
    return {name: list(x.shape) for name, x in net.state_dict().items()}


@torch.no_grad()
def draw_weights(net: nn.Module, program: Program) -> dict[str, Tensor]:
    """Draw whole weights that keep activations alive, and logits of order 1.

    With a network's own initial weights, logits may be so small that no difference
    shows. Leaves `net`, the network on one device, in float64 and with these weights.
    """
    generator = torch.Generator().manual_seed(2)
    weights = {}
    buffers = {name for name, _ in net.named_buffers()}
    for name, tensor in net.state_dict().items():
        # He et al., 2015; the first axis is the outputs, and a bias has no other.
        std = math.sqrt(2 / tensor[0].numel()) if tensor.dim() > 1 else 1.0
        if name in buffers:  # a variance is positive
            values = torch.rand(tensor.shape, generator=generator) + 0.5
        else:
            values = torch.randn(tensor.shape, generator=generator) * std
        weights[name] = values.to(tensor.dtype)
    with_weights(net.double(), weights)
    scale = net(images(program).double()).std().item()
    last = [node.parameters for node in program.graph.nodes if node.parameters][-1:]
    for name in chain.from_iterable(last):
        weights[name] /= scale or 1.0
    with_weights(net, weights)
    return weights


def with_weights(net: nn.Module, weights: Mapping[str, Tensor]) -> nn.Module:
    """Load whole weights and return the network."""
    net.load_state_dict(weights)
    return net


@torch.no_grad()
def observe(net: nn.Module, program: Program) -> Seen:
    """Run a batch under hooks."""
    layers = layer_names(program.placed)
    watched = {node.name for node in program.graph.nodes}
    calls: dict[str, list[Tensor]] = {}

    def watch(layer: str) -> Any:
        def hook(module: nn.Module, args: Any, y: Tensor) -> None:
            calls.setdefault(layer, []).append(y)

        return hook

    with ExitStack() as stack:
        for name, module in net.named_modules():
            layer = layers.get(name, name)
            if layer in watched:
                hook = watch(layer)
                stack.callback(module.register_forward_hook(hook).remove)
        # On a CPU, FlopCounterMode counts only this form of attention.
        stack.enter_context(sdpa_kernel(SDPBackend.MATH))
        counter = stack.enter_context(FlopCounterMode(display=False))
        outputs = {"logits": net(images(program))}
    costs = counter.get_flop_counts()
    multiply = nn.Conv2d | nn.ConvTranspose2d | nn.Linear
    paths = [name for name, each in net.named_modules() if isinstance(each, multiply)]
    # A module that is only a part of a layer stands for all of the layer.
    owners = (next((p for p in around(n) if p in layers), n) for n in paths)
    flops: Counter[str] = Counter()
    for name in dict.fromkeys(owners):
        ops = costs.get(f"{type(net).__name__}.{name}", {})
        flops[layers.get(name, name)] += sum(ops.values()) // IMAGES
    if program.graph.has_probabilities:
        outputs["prob"] = net.probabilities(images(program))  # type: ignore[operator]
    shapes = {
        layer: _joined([without_batch(share) for share in found])
        for layer, found in calls.items()
    }
    whole = {
        layer: torch.cat(found, dim=1)
        for layer, found in calls.items()
        if len({(len(y), *y.shape[2:]) for y in found}) == 1
    }
    return Seen(shapes, whole, dict(flops), outputs)


def step(net: nn.Module, program: Program) -> Step:
    """Run forward and backward in float64, from a fixed gradient of the logits.

    Batch norms take the statistics of the batch, as in training; dropout is off. What
    they have measured is among the outputs.
    """
    norms = [module for module in net.modules() if [*module.buffers(recurse=False)]]
    for norm in norms:
        norm.train()
    count = STATISTICS if norms else IMAGES
    logits = net(images(program, count).double())
    generator = torch.Generator().manual_seed(3)
    direction = torch.randn(logits.shape, generator=generator).double()
    if logits.requires_grad:  # a network may have no parameters
        torch.autograd.backward(logits, direction)
    gradients = {}
    for layer in program.placed.layers:
        node = layer.node
        for leaf, own in node.applied.tensors.items():
            if own.learned:
                shares = [tensor_name(share.name, leaf) for share in layer.shares]
                parts = [_gradient(net, name) for name in shares]
                gradients[tensor_name(node.name, leaf)] = torch.cat(parts, own.cut or 0)
    net.zero_grad()
    measured = {name: x.double() for name, x in net.state_dict().items()}
    for name in measured.keys() & gradients.keys():
        del measured[name]
    return Step({"logits": logits.detach(), **measured}, gradients)


def difference(measured: Tensor, expected: Tensor, least: float = 0) -> float | str:
    """Return the largest difference, relative to the largest element expected.

    The difference is relative to `least` if all elements are smaller.
    """
    if measured.shape != expected.shape:
        return f"shape {tuple(measured.shape)} instead of {tuple(expected.shape)}"
    scale = max(largest(expected), least)
    off = largest(measured.double() - expected.double())
    found = off / scale if scale else off
    return found if math.isfinite(found) else str(found)


def largest(x: Tensor) -> float:
    """Return the largest absolute value of an element."""
    found: float = torch.linalg.vector_norm(x.double(), math.inf).item()
    return found


def without_batch(x: Tensor) -> tuple[int, ...]:
    """Shape for one image; a wrong batch keeps its whole shape, which then differs."""
    return tuple(x.shape[1:] if len(x) == IMAGES else x.shape)


def layer_names(placed: PlacedGraph) -> dict[str, str]:
    """Layers by the names of their shares."""
    return {s.name: layer.node.name for layer in placed.layers for s in layer.shares}


def _joined(shapes: list[tuple[int, ...]]) -> list[Any]:
    """Shape of shares joined along channels, or all shapes if they cannot be joined."""
    if len({shape[1:] for shape in shapes}) > 1:
        return [list(shape) for shape in shapes]
    return [sum(shape[0] for shape in shapes), *shapes[0][1:]]


def _gradient(net: nn.Module, name: str) -> Tensor:
    found = net.get_parameter(name).grad
    if found is None:
        raise ValueError(f"{name} has no gradient")
    return found
