"""Multi-device annotations to plant, and where, for several test files."""

from __future__ import annotations

from onnx import ModelProto, ShardingSpecProto
from placed import towers

from specgen.backends.onnx_devices import build


def model() -> ModelProto:
    return build(towers("two towers").placed, "net")


def spec(proto: ModelProto, node: str, tensor: str) -> ShardingSpecProto:
    """Return what a node says about one of its tensors."""
    found: ShardingSpecProto
    (found,) = [
        spec
        for candidate in proto.graph.node
        if candidate.name == node
        for spec in candidate.device_configurations[0].sharding_spec
        if spec.tensor_name == tensor
    ]
    return found


def replace(found: ShardingSpecProto, other: ShardingSpecProto) -> None:
    """Say something else about the tensor."""
    name = found.tensor_name
    found.CopyFrom(other)
    found.tensor_name = name


def on(*devices: int) -> ShardingSpecProto:
    """All of a tensor on each of the devices."""
    whole = ShardingSpecProto(device=[-1])
    whole.index_to_device_group_map.add(key=-1, value=devices)
    return whole


def cut(axis: int, size: int, *devices: int) -> ShardingSpecProto:
    """A shard of a tensor on each of the devices."""
    split = ShardingSpecProto(device=devices)
    dim = split.sharded_dim.add(axis=axis)
    dim.simple_sharding.add(dim_value=size, num_shards=len(devices))
    return split


def without_annotations(proto: ModelProto) -> ModelProto:
    bare = ModelProto()
    bare.CopyFrom(proto)
    del bare.configuration[:]
    for node in bare.graph.node:
        del node.device_configurations[:]
    return bare
