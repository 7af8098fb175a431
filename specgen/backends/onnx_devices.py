"""The placement in an ONNX file: multi-device annotations (IR 11).

Each node says which devices hold each of its inputs and outputs: one device, several
that each hold all of it, or several that each hold a shard along an axis. Where a node
reads a tensor in a different layout from the one it was left in, a runtime has to move
it: these are the placement's moves. A device runs a node on what it holds: that is all
it returns of a Split, and all it joins in a Concat. A runtime that ignores the
annotations computes the same values.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import groupby

from onnx import ModelProto, NodeProto, ShardingSpecProto

from specgen.backends import onnx
from specgen.backends.onnx_devices_check import (
    IR_VERSION,
    check,
    device_groups,
    tensor_shapes,
)
from specgen.graph import Placed, PlacedGraph, tensor_name

CONFIGURATION = "placement"

LEGEND = """\
# Comments hold the multi-device annotations of model.onnx, which this format lacks.
# gpu0, gpu1: x              all of x is on both
# gpu0 | gpu1 on axis 0: x   one half of x is on each
"""


@dataclass(frozen=True, slots=True)
class Sharding:
    """Equal shards along an axis, each on the same number of devices, in order.

    One shard is the whole tensor: on one device, or replicated.
    """

    devices: Sequence[int]
    axis: int = 0
    shards: int = 1

    def spec(self, tensor: str, shape: Sequence[int | str]) -> ShardingSpecProto:
        """Return it for ONNX, where a shard on several devices has a number below 0."""
        spec = ShardingSpecProto(tensor_name=tensor)
        size = len(self.devices) // self.shards
        for shard in range(self.shards):
            group = self.devices[shard * size : (shard + 1) * size]
            if size > 1:
                spec.device.append(-1 - shard)
                spec.index_to_device_group_map.add(key=-1 - shard, value=group)
            else:
                spec.device.extend(group)
        if self.shards > 1:
            dim, length = spec.sharded_dim.add(axis=self.axis), int(shape[self.axis])
            dim.simple_sharding.add(dim_value=length, num_shards=self.shards)
        return spec


def render(placed: PlacedGraph, name: str) -> dict[str, bytes]:
    """Return the binary and the text form, by file name."""
    model = build(placed, name)
    return {
        "model.onnx": model.SerializeToString(deterministic=True),
        "model.onnx.txt": to_text(model).encode(),
    }


def build(placed: PlacedGraph, name: str) -> ModelProto:
    """Return the model of `onnx.build` with its placement; `name` names its graph."""
    model = onnx.build(placed.graph, name)
    model.ir_version = IR_VERSION
    model.configuration.add(
        name=CONFIGURATION, num_devices=len(placed.devices), device=placed.devices
    )
    shapes = tensor_shapes(model.graph)
    tensors = onnx.tensor_names(placed.graph)
    numbers = {device: number for number, device in enumerate(placed.devices)}
    layers = {layer.node.name: layer for layer in placed.layers}
    for layer_name, group in groupby(model.graph.node, lambda n: n.name.split("/")[1]):
        layer, nodes = layers[layer_name], list(group)
        on = [numbers[share.device] for share in layer.shares]
        reads = [tensors[value] for value in layer.node.inputs]
        shardings = _shardings(layer, on, reads, nodes)
        for node in nodes:
            configuration = node.device_configurations.add()
            configuration.configuration_id = CONFIGURATION
            configuration.sharding_spec.extend(
                shardings[tensor].spec(tensor, shapes[tensor])
                for tensor in dict.fromkeys((*node.input, *node.output))
            )
    if problems := list(check(model)):
        raise AssertionError("\n".join(problems))
    return model


def to_text(model: ModelProto) -> str:
    """Return the text form; comments above each node say where its tensors are."""
    nodes = iter(model.graph.node)
    lines: list[str] = []
    for line in onnx.to_text(model).splitlines():
        if line.startswith('   ["/'):
            lines += _comments(next(nodes), model.configuration[0].device)
        lines.append(line)
    return LEGEND + "\n".join(lines) + "\n"


def _shardings(
    layer: Placed, on: Sequence[int], reads: Sequence[str], nodes: Sequence[NodeProto]
) -> dict[str, Sharding]:
    """Where each tensor of the layer's nodes is; the layer reads `reads`."""
    split = Sharding(on, 1, len(on))
    found = {tensor: split for node in nodes for tensor in node.output}
    for tensor in dict.fromkeys(reads):
        found[tensor] = _sharding(layer, on, [read == tensor for read in reads])
    for key, own in layer.node.tensors.items():
        found[key] = Sharding(on, own.cut or 0, 1 if own.cut is None else len(on))
    shared = Sharding(on, 0, len(on))
    for step in layer.node.applied.onnx:
        constants = step.constants if step.op_type != "Resize" else {}  # its scales
        vectors = [leaf for leaf, value in constants.items() if _is_vector(value)]
        vectors += [] if step.per_image else step.results
        found |= {tensor_name(layer.node.name, leaf): shared for leaf in vectors}
    for node in nodes:
        # Each of a norm's groups is on one device.
        groups = {"Split": node.output, "Concat": node.input}.get(node.op_type, ())
        for index, tensor in enumerate(groups if len(nodes) > 1 else ()):
            found[tensor] = Sharding([on[index * len(on) // len(groups)]])
        for constant in node.input:
            found.setdefault(constant, Sharding(on))
    return found


def _sharding(layer: Placed, on: Sequence[int], which: Sequence[bool]) -> Sharding:
    """Return where a value is read: the inputs that are it are marked.

    If devices read other parts of it than equal shards, all of it is on each of them.
    """
    node = layer.node
    parts: dict[tuple[int, range], None] = {}
    for device, share in zip(on, layer.shares, strict=True):
        reads = node.applied.part(share.span)[1]
        own = [read for read, mine in zip(reads, which, strict=True) if mine and read]
        parts |= dict.fromkeys((device, read) for read in own)
    devices = list(dict.fromkeys(device for device, _ in parts))
    shards = list(dict.fromkeys(read for _, read in parts))
    (whole,) = {x[0] for x, own in zip(node.input_shapes, which, strict=True) if own}
    count = len(shards)
    equal = [range(whole * i // count, whole * (i + 1) // count) for i in range(count)]
    even = whole % count == len(devices) % count == 0 and len(devices) == len(parts)
    held = [read for _, read in parts]
    if even and held == [s for s in equal for _ in range(len(devices) // count)]:
        return Sharding(devices, 1, count)
    return Sharding(devices)


def _is_vector(value: float | tuple[float, ...]) -> bool:
    """Whether a constant has a value for each channel."""
    return isinstance(value, tuple) and isinstance(next(iter(value), None), float)


def _comments(node: NodeProto, names: Sequence[str]) -> Iterator[str]:
    """One line for each way in which tensors of the node are placed."""
    held: dict[str, list[str]] = {}
    for spec in node.device_configurations[0].sharding_spec:
        groups = device_groups(spec)
        where = " | ".join(", ".join(names[n] for n in group) for group in groups)
        for dim in spec.sharded_dim:
            where += f" on axis {dim.axis}"
        held.setdefault(where, []).append(spec.tensor_name)
    for where, tensors in held.items():
        yield f"   # {where}: {', '.join(tensors)}"
