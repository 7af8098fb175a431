"""The ONNX graph: what it says about itself, and that it computes what torch does."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any, get_args

import numpy as np
import onnx
import onnxruntime as ort
import pytest
import torch
from helpers import ROOT, compile_data, compile_text, model, spec_text
from hypothesis import given, settings
from onnx import shape_inference
from strategies import Data, networks
from torch import Tensor

from specgen.backends.onnx import build, render, tensor_names
from specgen.compiler import Program
from specgen.graph import Graph, state_order
from specgen.ops import AnyOp
from specgen.ops.base import Op

OPS: tuple[type[Op], ...] = get_args(get_args(AnyOp)[0])

Shapes = dict[str, tuple[int | str, ...]]


def shapes(values: Any) -> Shapes:
    return {
        value.name: tuple(
            dim.dim_param or dim.dim_value for dim in value.type.tensor_type.shape.dim
        )
        for value in values
    }


def alexnet() -> Program:
    return compile_text(spec_text("alexnet"))


def check(graph: Graph) -> onnx.ModelProto:
    """Check the model against onnx's rules and its shapes against onnx's inference."""
    model = build(graph, "net")
    onnx.checker.check_model(model, full_check=True)
    ours = shapes((*model.graph.value_info, *model.graph.output))
    assert list(ours) == [name for node in model.graph.node for name in node.output]
    blank = onnx.ModelProto()
    blank.CopyFrom(model)
    blank.graph.ClearField("value_info")
    for output in blank.graph.output:
        output.type.tensor_type.ClearField("shape")
    inferred = shape_inference.infer_shapes(blank, check_type=True, strict_mode=True)
    theirs = shapes((*inferred.graph.value_info, *inferred.graph.output))
    if "Resize" in {node.op_type for node in model.graph.node}:
        # Onnx multiplies all sizes by the scales, and then does not know the batch.
        theirs = {
            name: ("N", *shape[1:]) if isinstance(shape[0], str) else shape
            for name, shape in theirs.items()
        }
    assert ours == theirs
    return model


def run(model: onnx.ModelProto, state: dict[str, Tensor], images: Tensor) -> Any:
    """Return the outputs by name; the parameters are fed."""
    options = ort.SessionOptions()
    options.intra_op_num_threads = 1
    session = ort.InferenceSession(
        model.SerializeToString(), options, providers=["CPUExecutionProvider"]
    )
    found = {"input": images, **state}
    names = [output.name for output in session.get_outputs()]
    arrays = {name: x.numpy() for name, x in found.items() if is_read(name)}
    return dict(zip(names, session.run(names, arrays), strict=True))


def is_read(name: str) -> bool:
    """Whether inference reads a tensor: a count of batches it does not."""
    return not name.endswith("num_batches_tracked")


@torch.no_grad()
def check_values(program: Program) -> None:
    """Run the generated model and the graph on the same weights and images.

    The graph's inputs are the images and what layers read of the state_dict.
    """
    proto = check(program.graph)
    with TemporaryDirectory() as folder:
        net = model(program, Path(folder)).eval()
    images, *parameters = shapes(proto.graph.input).items()
    state = net.state_dict()
    assert images == ("input", ("N", *program.graph.input_shape))
    assert state_order(name for name, _ in parameters) == [*filter(is_read, state)]
    assert dict(parameters) == {
        n: tuple(state[n].shape) for n in filter(is_read, state)
    }
    for batch_size in (1, 3):
        generator = torch.Generator().manual_seed(batch_size)
        shape = (batch_size, *program.graph.input_shape)
        x = torch.randn(shape, generator=generator)
        found = run(proto, state, x)
        expected = {"logits": net(x)}
        if hasattr(net, "probabilities"):
            expected["prob"] = net.probabilities(x)
        assert list(found) == list(expected)
        for name, tensor in expected.items():
            np.testing.assert_allclose(found[name], tensor, rtol=1e-4, atol=1e-4)


def test_alexnet_in_onnxruntime_gives_what_torch_gives() -> None:
    check_values(alexnet())


@settings(max_examples=100)
@given(networks())
def test_any_network_in_onnxruntime_gives_what_torch_gives(data: Data) -> None:
    check_values(compile_data(data))


@pytest.mark.parametrize("op", OPS, ids=lambda op: op.__name__)
@pytest.mark.parametrize("backend", ["torch", "onnx"])
def test_every_op_has_a_lowering_for_every_backend(op: type[Op], backend: str) -> None:
    assert getattr(op, backend) is not getattr(Op, backend)


def test_any_recent_runtime_can_load_it() -> None:
    model = build(alexnet().graph, "alexnet")
    assert model.ir_version == 8
    assert [(opset.domain, opset.version) for opset in model.opset_import] == [("", 17)]


def test_normalization_writes_all_its_attributes_once_per_tower() -> None:
    nodes = build(alexnet().graph, "alexnet").graph.node
    norms = [node for node in nodes if node.op_type == "LRN"]
    assert [node.output[0] for node in norms] == [
        f"norm{layer}.LRN_{tower}" for layer in (1, 2) for tower in (0, 1)
    ]
    for node in norms:
        found = {a.name: onnx.helper.get_attribute_value(a) for a in node.attribute}
        assert found == pytest.approx(
            {"size": 5, "alpha": 1e-4, "beta": 0.75, "bias": 2}
        )


def test_nodes_and_tensors_have_names_of_their_own() -> None:
    graph = build(alexnet().graph, "alexnet").graph
    nodes = [node.name for node in graph.node]
    tensors = [name for node in graph.node for name in node.output]
    tensors += [value.name for value in (*graph.input, *graph.initializer)]
    assert len({*nodes, *tensors}) == len(nodes) + len(tensors)


def test_layers_with_the_names_of_outputs_are_renamed() -> None:
    layers = {
        "prob": {"op": "relu"},
        "logits": {"op": "flatten"},
        "fc": {"op": "linear", "out_features": 2},
        "soft": {"op": "softmax"},
    }
    size = {"channels": 3, "height": 2, "width": 2}
    spec = {"specgen": 1, "name": "Net", "input": size, "layers": layers}
    program = compile_data(spec | {"init": {"bias": 0}})
    assert tensor_names(program.graph) == {
        "input": "input",
        "prob": "prob.output",
        "logits": "logits.output",
        "fc": "logits",
        "soft": "prob",
    }
    check_values(program)


def test_a_placement_changes_nothing() -> None:
    text = spec_text("alexnet")
    placement = text[text.index("placement:") : text.index("data:")]
    one_device = compile_text(text.replace(placement, ""))
    assert render(one_device.graph, "net") == render(alexnet().graph, "net")


@given(networks())
def test_the_text_form_says_everything(data: Data) -> None:
    files = render(compile_data(data).graph, "net")
    text = files["model.onnx.txt"].decode()
    assert text == "".join(f"{line.rstrip()}\n" for line in text.splitlines())
    model = onnx.parser.parse_model(text)
    assert model.SerializeToString(deterministic=True) == files["model.onnx"]


# Prints the hash of what a spec's text on standard input gives.
HASH = """
import hashlib, sys
from helpers import compile_text
from specgen.backends.onnx import render
files = render(compile_text(sys.stdin.read()).graph, "alexnet")
print(hashlib.sha256(repr(sorted(files.items())).encode()).hexdigest())
"""


def test_the_bytes_do_not_depend_on_the_hash_seed() -> None:
    path = os.pathsep.join(map(str, (ROOT, ROOT / "tests")))
    hashes = {
        subprocess.run(
            [sys.executable, "-c", HASH],
            input=spec_text("alexnet").encode(),
            env=os.environ | {"PYTHONHASHSEED": seed, "PYTHONPATH": path},
            capture_output=True,
            check=True,
        ).stdout
        for seed in ("1", "2")
    }
    assert len(hashes) == 1
