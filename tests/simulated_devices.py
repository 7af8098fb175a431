"""Runs an annotated ONNX graph on simulated devices, as the annotations alone say.

Each device has a memory of its own. A node runs on each device that holds any of its
outputs, as a model in onnxruntime, on the shards that its annotations give that device.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache
from itertools import product
from typing import Any

import numpy as np
import onnx
import onnxruntime as ort
from numpy.typing import NDArray
from onnx import NodeProto, helper, numpy_helper

Array = NDArray[Any]
Region = tuple[slice, ...]

HOST = -1  # from where every device may load parameters and constants
IMAGES = "input"  # on the first device


class SimulationError(Exception):
    """The annotations do not say how to run the graph."""


@dataclass(frozen=True, slots=True)
class Transfer:
    """Part of a tensor that a node on one device read from another."""

    node: str
    source: int
    target: int
    bytes: int


@dataclass(frozen=True, slots=True)
class Shard:
    """The part of a tensor that a device holds."""

    device: int
    region: Region
    array: Array


class Simulation:
    """A run; afterward it knows each tensor's shards and what was transferred."""

    def __init__(self, content: bytes, feed: Mapping[str, Array]) -> None:
        model = onnx.load_model_from_string(content)
        (self.configuration,) = model.configuration
        graph = model.graph
        constants = {c.name: numpy_helper.to_array(c) for c in graph.initializer}
        self.shards = {
            name: [Shard(0 if name == IMAGES else HOST, _all(array.shape), array)]
            for name, array in {**feed, **constants}.items()
        }
        self.shapes = {
            name: array.shape for name, array in {**feed, **constants}.items()
        }
        batch = len(feed[IMAGES])
        for value in (*graph.value_info, *graph.output):
            dims = value.type.tensor_type.shape.dim  # of the batch, it is a name
            self.shapes[value.name] = tuple(dim.dim_value or batch for dim in dims)
        self.transfers: list[Transfer] = []
        for node in graph.node:
            self._run(node)

    def whole(self, tensor: str) -> Array:
        """Put a tensor's shards together."""
        return self._read(tensor, self._everything(tensor), HOST, "")

    def _everything(self, tensor: str) -> Region:
        return _all(self.shapes[tensor])

    def _run(self, node: NodeProto) -> None:
        (annotation,) = node.device_configurations
        regions = {
            spec.tensor_name: self._regions(spec) for spec in annotation.sharding_spec
        }
        for name in node.output:
            self.shards[name] = []
        for device in range(self.configuration.num_devices):
            given = {
                name: self._read(name, regions[name][device], device, node.name)
                for name in node.input
                if device in regions[name]
            }
            outputs = [name for name in node.output if device in regions[name]]
            if not outputs:
                continue
            for name in node.input:
                if name not in given and node.op_type != "Concat":
                    raise SimulationError(f"{node.name}: {device} was not given {name}")
            if node.op_type in ("Concat", "Slice"):
                where = {name: regions[name][device] for name in given}
                self.shards[node.output[0]].append(
                    self._arrange(
                        node, given, where, device, regions[outputs[0]][device]
                    )
                )
                continue
            inputs = [given[name] for name in node.input]
            held = [regions[name][device] for name in outputs]
            results = compute(node, inputs, held)
            for name, array, region in zip(outputs, results, held, strict=True):
                if array.shape != tuple(s.stop - s.start for s in region):
                    raise SimulationError(f"{node.name}: {name} is {array.shape}")
                self.shards[name].append(Shard(device, region, array))

    def _arrange(
        self,
        node: NodeProto,
        given: Mapping[str, Array],
        regions: Mapping[str, Region],
        device: int,
        region: Region,
    ) -> Shard:
        """Take channels from where they are in the whole inputs."""
        channels: dict[int, Array] = {}  # of the whole output
        first = 0
        for name in node.input[:1] if node.op_type == "Slice" else node.input:
            if name in given:
                start = first + regions[name][1].start
                parts = np.split(given[name], given[name].shape[1], axis=1)
                channels |= {start + index: part for index, part in enumerate(parts)}
            first += self.shapes[name][1]
        shift = 0
        if node.op_type == "Slice":
            (shift,), (axis,) = given[node.input[1]], given[node.input[3]]
            assert axis == 1
        wanted = range(shift + region[1].start, shift + region[1].stop)
        if missing := [channel for channel in wanted if channel not in channels]:
            raise SimulationError(f"{node.name}: {device} was not given {missing}")
        return Shard(device, region, np.concatenate([channels[c] for c in wanted], 1))

    def _regions(self, spec: onnx.ShardingSpecProto) -> dict[int, Region]:
        """Which part of a tensor each device holds; the last axis varies fastest."""
        groups = {e.key: list(e.value) for e in spec.index_to_device_group_map}
        cuts = []
        for dim in spec.sharded_dim:
            (sharding,) = dim.simple_sharding
            size = sharding.dim_value // sharding.num_shards
            steps = range(sharding.num_shards)
            cuts.append([(dim.axis, slice(i * size, (i + 1) * size)) for i in steps])
        found: dict[int, Region] = {}
        for key, cut in zip(spec.device, product(*cuts), strict=True):
            region = list(self._everything(spec.tensor_name))
            for axis, part in cut:
                region[axis] = part
            found |= dict.fromkeys(groups.get(key, [key]), tuple(region))
        return found

    def _read(self, tensor: str, region: Region, device: int, node: str) -> Array:
        """Gather part of a tensor from where it is, at home first; keep what moved."""
        shards = sorted(self.shards[tensor], key=lambda shard: shard.device != device)
        dtype = shards[0].array.dtype if shards else np.float32
        result = np.empty([s.stop - s.start for s in region], dtype)
        missing = np.ones(result.shape, bool)
        moved = False
        for shard in shards:
            common = [
                slice(max(a.start, b.start), min(a.stop, b.stop))
                for a, b in zip(region, shard.region, strict=True)
            ]
            if any(s.start >= s.stop for s in common):
                continue
            here, there = _within(common, region), _within(common, shard.region)
            if (needed := missing[here].copy()).any():
                result[here] = np.where(needed, shard.array[there], result[here])
                missing[here] = False
                if HOST not in (device, shard.device) and device != shard.device:
                    size = int(needed.sum()) * result.itemsize
                    self.transfers.append(Transfer(node, shard.device, device, size))
                    moved = True
        if missing.any():
            raise SimulationError(f"{node}: no device holds all of {tensor}")
        if moved:
            self.shards[tensor].append(Shard(device, region, result))
        return result


def _all(shape: Sequence[int]) -> Region:
    return tuple(slice(0, length) for length in shape)


def _within(part: Sequence[slice], region: Region) -> Region:
    return tuple(
        slice(p.start - r.start, p.stop - r.start)
        for p, r in zip(part, region, strict=True)
    )


def compute(
    node: NodeProto, inputs: Sequence[Array], outputs: Sequence[Region]
) -> list[Array]:
    """Run one node on a device's shards; its outputs are the device's regions."""
    local = NodeProto()
    local.CopyFrom(node)
    local.ClearField("device_configurations")
    local.name = ""
    local.input[:] = [f"x{index}" for index in range(len(inputs))]
    local.output[:] = [f"y{index}" for index in range(len(outputs))]
    for attribute in local.attribute:
        if attribute.name == "group":  # this many of the groups are on this device
            x, weight = inputs[0], inputs[1]  # which has one group's channels on axis 1
            transposed = node.op_type == "ConvTranspose"
            made = outputs[0][1]
            channels = made.stop - made.start if transposed else x.shape[1]
            if channels % weight.shape[1]:
                raise SimulationError(f"{node.name}: {x.shape} with {weight.shape}")
            attribute.i = channels // weight.shape[1]
    kinds = tuple((helper.np_dtype_to_tensor_dtype(x.dtype), x.ndim) for x in inputs)
    try:
        found: list[Array] = _session(local.SerializeToString(), kinds).run(
            None, dict(zip(local.input, inputs, strict=True))
        )
    except Exception as error:  # onnxruntime's exceptions have no common base
        raise SimulationError(f"{node.name}: {error}") from None
    return found


@lru_cache(1000)
def _session(content: bytes, kinds: tuple[tuple[int, int], ...]) -> Any:
    node = NodeProto.FromString(content)
    inputs = [
        helper.make_tensor_value_info(name, kind, [None] * rank)
        for name, (kind, rank) in zip(node.input, kinds, strict=True)
    ]
    float32 = onnx.TensorProto.FLOAT
    outputs = [helper.make_tensor_value_info(y, float32, None) for y in node.output]
    graph = helper.make_graph([node], "node", inputs, outputs)
    opsets = [helper.make_opsetid("", 17)]
    model = helper.make_model(graph, ir_version=8, opset_imports=opsets)
    return session(model.SerializeToString())


def session(content: bytes) -> Any:
    """Return a session on one thread that logs nothing."""
    options = ort.SessionOptions()
    options.intra_op_num_threads = 1
    options.log_severity_level = 4
    return ort.InferenceSession(content, options, providers=["CPUExecutionProvider"])
