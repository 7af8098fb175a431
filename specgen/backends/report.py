"""What is known of a network before it runs: as data, and as a table for people.

`specgen show` gives both. Layers are logical (conv1, not conv1a), shapes are without
the batch. The table is plain ASCII, to survive any terminal, log and mail.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from itertools import groupby
from typing import Any

from specgen.backends.prose import printable
from specgen.graph import INPUT, Placed, PlacedGraph
from specgen.ops.base import Shape, volume
from specgen.passes import cost, memory
from specgen.passes.memory import Memory
from specgen.schema import readable
from specgen.spec import Spec

# One line of a table: a cell for each column, a rule, or nothing between paragraphs.
Row = Sequence[str] | None


def plan(
    spec: Spec, placed: PlacedGraph, batch_size: int | None = None
) -> dict[str, Any]:
    """Return everything that the compiler promises of the network, ready for JSON.

    `macs` are multiply-accumulates an image; `traffic` is what the forward pass copies
    between devices in float32, by the layer that reads it, in layer order, then in the
    order of the devices. Copying the input image is not traffic.

    With a batch size, devices have their `memory` in bytes for so many images at once,
    and edges `bytes_per_step`: what a training step copies over them, to and fro.
    """
    content = _plan(spec, placed)
    if batch_size is not None:
        half, budgets = spec.training.half, spec.placement.devices
        held = memory.plan(placed, half=half)
        for device in content["devices"]:
            name = device["name"]
            device["memory"] = _memory(held[name], batch_size, budgets[name].memory)
        step = cost.step_traffic(placed, half=half)
        for edge in content["traffic"]:
            key = edge["before"], edge["from"], edge["to"]
            edge["bytes_per_step"] = batch_size * step[key]
    return content


def _memory(held: Memory, images: int, budget: int | None) -> dict[str, int | None]:
    return {
        "weights": held.weights,
        "gradients": held.weights,
        "optimizer": held.weights,
        "activations_training": held.activations(images),
        "activations_inference": held.inference(images),
        "training": held.training(images),
        "inference": held.weights + held.inference(images),
        "budget": budget,
    }


def _plan(spec: Spec, placed: PlacedGraph) -> dict[str, Any]:
    graph = placed.graph
    held = cost.device_parameters(placed)
    return {
        "name": spec.name,
        "input_shape": list(graph.input_shape),
        "output_shape": list(graph.nodes[-1].shape),
        "parameters": cost.parameters(graph),
        "macs": cost.macs(graph),
        "layers": [_layer(layer) for layer in placed.layers],
        "devices": [{"name": name, "parameters": n} for name, n in held.items()],
        "traffic": [
            {"before": before, "from": start, "to": end, "bytes_per_image": count}
            for (before, start, end), count in _edges(placed)
        ],
    }


def _layer(layer: Placed) -> dict[str, Any]:
    node = layer.node
    return {
        "name": node.name,
        "op": node.op.op,
        "inputs": list(node.inputs),
        "input_shapes": [list(shape) for shape in node.input_shapes],
        "output_shape": list(node.shape),
        "parameters": sum(map(volume, node.parameters().values())),
        "macs": node.op.macs(node.x),
        "devices": [share.device for share in layer.shares],
    }


def _edges(placed: PlacedGraph) -> list[tuple[tuple[str, str, str], int]]:
    order = {node.name: index for index, node in enumerate(placed.graph.nodes)}
    rank = {device: index for index, device in enumerate(placed.devices)}
    return sorted(
        cost.traffic(placed).items(),
        key=lambda edge: (order[edge[0][0]], rank[edge[0][1]], rank[edge[0][2]]),
    )


def table(spec: Spec, placed: PlacedGraph, batch_size: int | None = None) -> str:
    """Return the plan as a table, layer by layer, without a newline at the end."""
    content = plan(spec, placed, batch_size)
    title = ": ".join(filter(None, (spec.name, printable(spec.summary))))
    paragraphs = [title, _layers(content)]
    if len(placed.devices) > 1:
        paragraphs.append(_devices(content))
    if batch_size is not None:
        paragraphs.append(_memories(content, batch_size, half=spec.training.half))
    if len(placed.devices) > 1:
        paragraphs.append(_traffic(content, half=spec.training.half))
    return "\n\n".join(paragraphs)


def _layers(content: dict[str, Any]) -> str:
    layers, devices = content["layers"], [d["name"] for d in content["devices"]]
    rows: list[Row] = [
        ("layer", "op", "output", "parameters", "", "MACs", "", "devices"),
        None,
        (INPUT, "", dimensions(content["input_shape"]), "", "", "", "", ""),
    ]
    totals = content["parameters"], content["macs"]
    for layer in layers:
        costs = _with_share(layer["parameters"], totals[0]) + _with_share(
            layer["macs"], totals[1]
        )
        on = _names(layer["devices"], devices)
        rows.append(
            (layer["name"], layer["op"], dimensions(layer["output_shape"]), *costs, on)
        )
    count = f"{len(layers)} layers"
    rows += [None, ("total", count, "", f"{totals[0]:,}", "", f"{totals[1]:,}", "", "")]
    return aligned(rows, "<<>>>>><")


def _devices(content: dict[str, Any]) -> str:
    rows: list[Row] = [("device", "parameters", ""), None]
    for device in content["devices"]:
        held = _with_share(device["parameters"], content["parameters"])
        rows.append((device["name"], *held))
    return aligned(rows, "<>>")


def _memories(content: dict[str, Any], images: int, *, half: bool) -> str:
    heads = ("weights", "gradients", "optimizer", "activations", "training")
    rows: list[Row] = [("memory", *heads, "inference", "budget"), None]
    for device in content["devices"]:
        held = device["memory"]
        keys = ("weights", "gradients", "optimizer", "activations_training")
        sizes = [readable(held[key]) for key in (*keys, "training", "inference")]
        budget = readable(held["budget"]) if held["budget"] else ""
        rows.append((device["name"], *sizes, budget))
    note = f"For {images} images at once, in float32; inference takes weights and the"
    note += " largest activations."
    if half:
        note = f"For {images} images at once; training keeps activations, and a copy of"
        note += " the weights,\nin bfloat16. Inference takes weights and the largest"
        note += " activations, in float32."
    return f"{aligned(rows, '<>>>>>>>')}\n{note}"


def _traffic(content: dict[str, Any], *, half: bool) -> str:
    """Edges from one device that carry as much to several others share a line."""
    devices = [device["name"] for device in content["devices"]]
    edges = content["traffic"]
    kinds = [kind for kind in ("bytes_per_image", "bytes_per_step") if kind in edges[0]]
    heads = [kind.replace("_", " ") for kind in kinds]
    rows: list[Row] = [("before", "from", "to", *heads), None]
    above = ""
    for (before, start, *counts), group in groupby(
        edges, lambda edge: (edge["before"], edge["from"], *(edge[k] for k in kinds))
    ):
        to = [edge["to"] for edge in group]
        times = f"{len(to)} x " if len(to) > 1 else ""
        numbers = [f"{times}{count:,}" for count in counts]
        layer = before if before != above else ""
        rows.append((layer, start, _names(to, devices), *numbers))
        above = before
    totals = [f"{sum(edge[kind] for edge in edges):,}" for kind in kinds]
    rows += [None, ("total", "", "", *totals)]
    note = "Forward, in float32; the backward pass moves as much again."
    if len(kinds) > 1:
        note = "In float32: forward an image; to and fro a training step."
        if half:
            note = (
                "Forward an image in float32; to and fro a training step in bfloat16."
            )
    return f"{aligned(rows, '<<<>' + '>' * (len(kinds) - 1))}\n{note}"


def dimensions(shape: Shape | list[int]) -> str:
    """Return a shape as people write it: 96 x 55 x 55."""
    return " x ".join(map(str, shape))


def _with_share(number: int, total: int) -> tuple[str, str]:
    """A number and its percentage; nothing for 0, which most layers have."""
    if number == 0:
        return "", ""
    share = number / total
    return f"{number:,}", f"{share:.0%}" if share >= 0.005 else "<1%"


def _names(some: list[str], devices: list[str]) -> str:
    """Name devices; three or more neighbours become `gpu0..gpu3`."""
    ranks = [devices.index(name) for name in some]
    texts = []
    for _, run in groupby(enumerate(ranks), lambda pair: pair[1] - pair[0]):
        names = [devices[rank] for _, rank in run]
        texts += names if len(names) < 3 else [f"{names[0]}..{names[-1]}"]
    return " ".join(texts)


def aligned(rows: Sequence[Row], sides: str) -> str:
    """Columns two spaces apart, each to its side (< or >); None is a rule."""
    cells = [row for row in rows if row]
    widths = [max(map(len, column)) for column in zip(*cells, strict=True)]
    rule = "-" * (sum(widths) + 2 * (len(widths) - 1))

    def line(row: Sequence[str]) -> Iterator[str]:
        for cell, width, side in zip(row, widths, sides, strict=True):
            yield f"{cell:{side}{width}}"

    return "\n".join("  ".join(line(row)).rstrip() if row else rule for row in rows)
