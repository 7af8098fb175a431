"""The placement in model.onnx: run by its annotations alone, and checked."""

from __future__ import annotations

from collections import Counter
from functools import lru_cache
from pathlib import Path

import numpy as np
import onnx
import pytest
from annotations import cut, model, on, replace, spec, without_annotations
from helpers import compile_data, compile_text, spec_text
from hypothesis import given, settings
from onnx import ShardingSpecProto
from placed import PLACEMENTS, towers
from simulated_devices import Array, Simulation, SimulationError, session
from strategies import Data, placed_networks
from test_specs import SPECS

from specgen.backends import onnx as plain
from specgen.backends.onnx_devices import build, render
from specgen.compiler import Program, compile_file
from specgen.graph import Graph
from specgen.passes import cost

ROOT = Path(__file__).parent.parent
BATCH = 2


def feed(graph: Graph) -> dict[str, Array]:
    """Return images and parameters that keep the values of all layers near 1."""
    random = np.random.default_rng(0)
    shapes = {"input": (BATCH, *graph.input_shape)}
    for node in graph.nodes:
        shapes |= {key: own.shape for key, own in node.tensors.items() if own.shape}
    arrays = {}
    for name, shape in shapes.items():
        array = random.standard_normal(shape, np.float32)
        fan_in = np.prod(shape[1:]) if name.endswith("weight") else 2
        arrays[name] = array * np.float32(np.sqrt(2 / fan_in))
        if name.endswith("running_var"):
            arrays[name] = 1 + np.abs(array)
    return arrays


def reference(graph: Graph, inputs: dict[str, Array]) -> dict[str, Array]:
    """Run the whole graph in onnxruntime; return every tensor."""
    model = plain.build(graph, "net").SerializeToString()
    runtime = session(plain.with_all_outputs(model))
    names = [output.name for output in runtime.get_outputs()]
    return dict(zip(names, runtime.run(names, inputs), strict=True))


def compare(simulation: Simulation, expected: dict[str, Array]) -> None:
    for name, array in expected.items():
        found = simulation.whole(name)
        # Where large values cancel out, what is left has their rounding errors.
        within = max(1e-4, 1e-5 * float(np.abs(array).max(initial=0)))
        np.testing.assert_allclose(found, array, 1e-4, within, err_msg=name)


def check_simulation(
    program: Program, inputs: dict[str, Array], expected: dict[str, Array]
) -> None:
    """Every tensor is as onnxruntime has it, and what crossed is what was planned.

    Annotations cannot say that a device reads a part of a tensor which is not one of
    equal shards. What is joined or cut so is read whole.
    """
    content = render(program.placed, "net")["model.onnx"]
    simulation = Simulation(content, inputs)
    compare(simulation, expected)
    names = simulation.configuration.device
    crossed: Counter[tuple[str, str, str]] = Counter()
    for transfer in simulation.transfers:
        edge = names[transfer.source], names[transfer.target]
        layer = transfer.node.split("/")[1]
        crossed[(layer, *edge)] += transfer.bytes // BATCH
    planned = cost.traffic(program.placed)
    ops = {node.op.op for node in program.graph.nodes}
    if ops.isdisjoint({"concat", "chunk", "select"}):
        assert crossed == planned
    assert _arrived(crossed) >= _arrived(planned)


def _arrived(crossed: Counter[tuple[str, str, str]]) -> Counter[str]:
    """Bytes by target."""
    found: Counter[str] = Counter()
    for (_, _, target), count in crossed.items():
        found[target] += count
    return found


@lru_cache
def expected_of(graph: Graph) -> tuple[dict[str, Array], dict[str, Array]]:
    """Return inputs and every tensor; specs that differ in placement share them."""
    inputs = feed(graph)
    return inputs, reference(graph, inputs)


@pytest.mark.parametrize("stem", SPECS)
def test_every_spec_on_simulated_devices(stem: str) -> None:
    program = compile_file(ROOT / "specs" / f"{stem}.yaml")
    check_simulation(program, *expected_of(program.graph))


@pytest.mark.parametrize("placement", PLACEMENTS)
def test_every_kind_of_placement_on_simulated_devices(placement: str) -> None:
    program = towers(placement)
    inputs = feed(program.graph)
    check_simulation(program, inputs, reference(program.graph, inputs))


@settings(max_examples=50)
@given(placed_networks())
def test_any_network_on_simulated_devices(data: Data) -> None:
    program = compile_data(data)
    inputs = feed(program.graph)
    check_simulation(program, inputs, reference(program.graph, inputs))


def test_a_reshape_is_split() -> None:
    """Each device makes its share of the channels, whose number no constant has."""
    program = compile_text("""
specgen: 1
name: Net
input: {channels: 3, height: 4, width: 4}
layers:
  conv: {op: conv2d, out_channels: 8, kernel_size: 1}
  shaped: {op: reshape, shape: [4, 8, -1]}
  flat: {op: reshape, shape: [-1]}
  fc: {op: linear, out_features: 2}
placement:
  devices: {gpu0: {}, gpu1: {}}
  layers: {conv..flat: split, fc: gpu0}
""")
    inputs = feed(program.graph)
    check_simulation(program, inputs, reference(program.graph, inputs))


@pytest.mark.parametrize("channels", [2, 4, 6])
@pytest.mark.parametrize("times", [2, 3, 5])
def test_a_value_that_is_joined_with_itself(channels: int, times: int) -> None:
    """There may be more parts of it than it has channels."""
    program = compile_text(f"""
specgen: 1
name: Net
input: {{channels: 3, height: 4, width: 4}}
layers:
  conv: {{op: conv2d, out_channels: {channels}, kernel_size: 3}}
  cat: {{op: concat, from: [{", ".join(["conv"] * times)}]}}
  flat: {{op: flatten}}
  fc: {{op: linear, out_features: 2}}
placement:
  devices: {{gpu0: {{}}, gpu1: {{}}}}
  layers: {{conv..flat: split, fc: gpu0}}
""")
    inputs = feed(program.graph)
    check_simulation(program, inputs, reference(program.graph, inputs))


@pytest.mark.parametrize(
    ("node", "tensor", "wrong"),
    [
        pytest.param("/conv1", "conv1", cut(1, 8, 1, 0), id="shards swapped"),
        pytest.param("/conv2", "pool1", on(0, 1), id="groups read the whole"),
        pytest.param("/conv2", "pool1", cut(1, 8, 1, 0), id="groups swapped"),
        pytest.param("/conv2", "conv2.weight", cut(1, 4, 0, 1), id="wrong axis"),
        pytest.param("/conv2", "conv2.bias", on(0, 1), id="bias not cut"),
        pytest.param("/fc3", "flat", cut(1, 144, 0, 1), id="a part of the features"),
        pytest.param("/fc3", "fc3.bias", on(0), id="bias on one device"),
        pytest.param("/relu3", "relu3", on(0), id="output on one device"),
        pytest.param("/drop3", "drop3.ratio", on(0), id="constant on one device"),
        pytest.param("/norm1/Split", "norm1.Split_1", on(1), id="group elsewhere"),
        pytest.param("/norm1/LRN_1", "norm1.Split_1", on(1), id="input elsewhere"),
        pytest.param("/norm1", "norm1.LRN_2", on(0), id="group joined elsewhere"),
        pytest.param("/prob", "prob", on(1), id="output without input"),
    ],
)
def test_a_planted_wrong_annotation_makes_a_run_fail(
    node: str, tensor: str, wrong: ShardingSpecProto
) -> None:
    program = towers("two towers")
    inputs = feed(program.graph)
    expected = reference(program.graph, inputs)
    proto = model()
    compare(Simulation(proto.SerializeToString(), inputs), expected)
    replace(spec(proto, node, tensor), wrong)
    with pytest.raises((SimulationError, AssertionError)):
        compare(Simulation(proto.SerializeToString(), inputs), expected)


def test_convolutions_read_their_own_maps_or_all_of_them() -> None:
    proto = build(compile_text(spec_text("alexnet")).placed, "alexnet")
    (configuration,) = proto.configuration
    assert configuration.name == "placement"
    assert configuration.num_devices == 2
    assert list(configuration.device) == ["gpu0", "gpu1"]
    expected = {
        ("/conv2", "pool1"): cut(1, 96, 0, 1),
        ("/conv2", "conv2.weight"): cut(0, 256, 0, 1),
        ("/conv2", "conv2.bias"): cut(0, 256, 0, 1),
        ("/conv2", "conv2"): cut(1, 256, 0, 1),
        ("/conv3", "pool2"): on(0, 1),
        ("/conv3", "conv3.weight"): cut(0, 384, 0, 1),
        ("/norm1/Split", "norm1.Split_1"): ShardingSpecProto(device=[1]),
        ("/norm1/LRN_1", "norm1.LRN_1"): ShardingSpecProto(device=[1]),
        ("/norm1", "norm1"): cut(1, 96, 0, 1),
        ("/drop7", "drop7.ratio"): on(0, 1),
        ("/fc8", "drop7"): ShardingSpecProto(device=[0]),
        ("/fc8", "fc8.weight"): ShardingSpecProto(device=[0]),
    }
    for (node, tensor), sharding in expected.items():
        sharding.tensor_name = tensor
        assert spec(proto, node, tensor) == sharding


def test_two_devices_that_read_the_same_group_share_its_maps() -> None:
    proto = build(towers("twice as many devices as groups").placed, "net")
    shared = ShardingSpecProto(tensor_name="pool1", device=[-1, -2])
    shared.index_to_device_group_map.add(key=-1, value=[0, 1])
    shared.index_to_device_group_map.add(key=-2, value=[2, 3])
    shared.sharded_dim.add(axis=1).simple_sharding.add(dim_value=8, num_shards=2)
    assert spec(proto, "/conv2", "pool1") == shared


@pytest.mark.parametrize("placement", PLACEMENTS)
def test_everything_else_is_the_graph_of_any_placement(placement: str) -> None:
    program = towers(placement)
    annotated = build(program.placed, "net")
    onnx.checker.check_model(annotated, full_check=True)
    assert annotated.ir_version == 11
    bare = without_annotations(annotated)
    bare.ir_version = plain.IR_VERSION
    assert bare == plain.build(program.graph, "net")


def test_onnxruntime_loads_it_and_computes_the_same() -> None:
    program = towers("two, then four")
    inputs = feed(program.graph)
    annotated = session(render(program.placed, "net")["model.onnx"])
    expected = reference(program.graph, inputs)
    for name, array in zip(
        ("logits", "prob"), annotated.run(None, inputs), strict=True
    ):
        np.testing.assert_array_equal(array, expected[name])


def test_the_text_form_has_the_annotations_as_comments() -> None:
    program = towers("two, then four")
    text = render(program.placed, "net")["model.onnx.txt"].decode()
    assert "\n   # gpu0 | gpu1 on axis 1: norm1, pool1\n" in text
    assert (
        """
   # gpu0, gpu1, gpu2, gpu3: flat
   # gpu0 | gpu1 | gpu2 | gpu3 on axis 0: fc3.weight, fc3.bias
   # gpu0 | gpu1 | gpu2 | gpu3 on axis 1: fc3
   ["/fc3"] fc3 = Gemm <transB: int = 1> (flat, "fc3.weight", "fc3.bias")
"""
        in text
    )
    proto = build(program.placed, "net")
    assert onnx.parser.parse_model(text) == without_annotations(proto)
