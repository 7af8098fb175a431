"""Checks the multi-device annotations of an ONNX file; onnx's own checker does not.

They must say where every input and output of every node is, and it must be possible:
devices and axes that exist, equal shards that make up the whole, and everything that a
node reads on each device that computes part of it.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from itertools import chain
from typing import TypeVar

from onnx import (
    DeviceConfigurationProto,
    GraphProto,
    ModelProto,
    NodeDeviceConfigurationProto,
    NodeProto,
    ShardingSpecProto,
)

T = TypeVar("T")
Shapes = Mapping[str, Sequence[int | str]]

IR_VERSION = 11  # the first with these annotations


def check(model: ModelProto) -> Iterator[str]:
    """Yield what is wrong, one sentence each; nothing if all annotations are correct.

    The shapes of all tensors must be in the file.
    """
    if model.ir_version < IR_VERSION:
        yield (
            f"IR version {model.ir_version} has no multi-device annotations;"
            f" {IR_VERSION} is the first that does"
        )
    if not model.configuration:
        yield "there is no device configuration"
    for name in _twice(configuration.name for configuration in model.configuration):
        yield f"there are two device configurations {name!r}"
    for configuration in model.configuration:
        yield from _check_configuration(configuration)
    sizes = {c.name: c.num_devices for c in model.configuration}
    shapes = tensor_shapes(model.graph)
    for node in model.graph.node:
        for problem in _check_node(node, sizes, shapes):
            yield f"{node.name}: {problem}"


def tensor_shapes(graph: GraphProto) -> dict[str, tuple[int | str, ...]]:
    """Return all known shapes of tensors, by name."""
    shapes: dict[str, tuple[int | str, ...]] = {
        constant.name: tuple(constant.dims) for constant in graph.initializer
    }
    for value in (*graph.input, *graph.value_info, *graph.output):
        dims = value.type.tensor_type.shape.dim
        shapes[value.name] = tuple(dim.dim_param or dim.dim_value for dim in dims)
    return shapes


def device_groups(spec: ShardingSpecProto) -> list[list[int]]:
    """Return the devices that have each shard, in the order of the shards."""
    groups = {entry.key: list(entry.value) for entry in spec.index_to_device_group_map}
    return [groups.get(device, [device]) for device in spec.device]


def _check_configuration(configuration: DeviceConfigurationProto) -> Iterator[str]:
    name, count = configuration.name, configuration.num_devices
    if not name:
        yield "a device configuration has no name"
    if count < 1:
        yield f"device configuration {name!r} has {count} devices"
    if configuration.device and len(configuration.device) != count:
        named = len(configuration.device)
        yield f"device configuration {name!r} names {named} of {count} devices"
    for device in _twice(configuration.device):
        yield f"device configuration {name!r} names {device!r} twice"


def _check_node(
    node: NodeProto, sizes: Mapping[str, int], shapes: Shapes
) -> Iterator[str]:
    given = [annotation.configuration_id for annotation in node.device_configurations]
    for name in sizes:
        if name not in given:
            yield f"no annotation for device configuration {name!r}"
    for name in _twice(given):
        yield f"device configuration {name!r} is given twice"
    for annotation in node.device_configurations:
        if (count := sizes.get(annotation.configuration_id)) is None:
            name = annotation.configuration_id
            yield f"there is no device configuration {name!r}"
        else:
            yield from _check_annotation(node, annotation, count, shapes)


def _check_annotation(
    node: NodeProto,
    annotation: NodeDeviceConfigurationProto,
    count: int,
    shapes: Shapes,
) -> Iterator[str]:
    tensors = {name: None for name in (*node.input, *node.output) if name}
    specs = {spec.tensor_name: spec for spec in annotation.sharding_spec}
    for tensor in tensors:
        if tensor not in specs:
            yield f"no annotation for {tensor}"
    for tensor in _twice(spec.tensor_name for spec in annotation.sharding_spec):
        yield f"{tensor} is given twice"
    for tensor, spec in specs.items():
        if tensor not in tensors:
            yield f"{tensor} is neither an input nor an output"
            continue
        for problem in (*_check_devices(spec, count), *_check_shards(spec, shapes)):
            yield f"{tensor}: {problem}"
    if specs.keys() == tensors.keys():
        yield from _check_complete(node, specs)


def _check_devices(spec: ShardingSpecProto, count: int) -> Iterator[str]:
    keys = [entry.key for entry in spec.index_to_device_group_map]
    for key in _twice(keys):
        yield f"there are two device groups {key}"
    for key in dict.fromkeys(keys):
        if key not in spec.device:
            yield f"no shard is on device group {key}"
    groups = device_groups(spec)
    for index, group in enumerate(groups):
        if not group:
            yield f"shard {index} is on no device"
    used = [device for group in groups for device in group]
    for device in dict.fromkeys(used):
        if device not in range(count):
            yield f"there is no device {device}; devices are 0 to {count - 1}"
    for device in _twice(used):
        yield f"device {device} is given twice"


def _check_shards(spec: ShardingSpecProto, shapes: Shapes) -> Iterator[str]:
    shards = 1
    for dim in spec.sharded_dim:
        for sharding in dim.simple_sharding:
            shards *= sharding.num_shards
    if shards != len(spec.device):
        yield f"{shards} shards need as many devices or groups, not {len(spec.device)}"
    shape = shapes.get(spec.tensor_name)
    if shape is None:
        yield "its shape is unknown"
        return
    rank = len(shape)
    inside = [dim for dim in spec.sharded_dim if -rank <= dim.axis < rank]
    for axis in _twice(dim.axis % rank for dim in inside):
        yield f"axis {axis} is sharded twice"
    for dim in spec.sharded_dim:
        if dim not in inside:
            yield f"there is no axis {dim.axis} in {rank} dimensions"
        elif len(dim.simple_sharding) != 1:
            yield f"axis {dim.axis} has {len(dim.simple_sharding)} shardings, not one"
        else:
            (sharding,) = dim.simple_sharding
            length, number = (
                sharding.dim_param or sharding.dim_value,
                sharding.num_shards,
            )
            if length != shape[dim.axis]:
                yield f"axis {dim.axis} is {shape[dim.axis]}, not {length}"
            elif number < 1 or (isinstance(length, int) and length % number):
                yield f"{length} on axis {dim.axis} cannot be {number} equal shards"


def _check_complete(
    node: NodeProto, specs: Mapping[str, ShardingSpecProto]
) -> Iterator[str]:
    """Each device that computes a part of the node receives all that it reads."""
    on = {name: [*chain(*device_groups(spec))] for name, spec in specs.items()}
    computing = dict.fromkeys(d for name in node.output if name for d in on[name])
    reading = {name: on[name] for name in node.input if name}
    if node.op_type == "Concat":  # each device joins what it receives
        reading = {"anything": [*chain(*reading.values())]}
    for name, devices in reading.items():
        for device in computing:
            if device not in devices:
                yield f"device {device} computes but does not receive {name}"
        for device in dict.fromkeys(devices):
            if device not in computing:
                yield f"device {device} receives {name} but computes nothing"


def _twice(names: Iterable[T]) -> list[T]:
    return [name for name, count in Counter(names).items() if count > 1]
