"""Every op against PyTorch, onnxruntime and its plan, by its examples."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import get_args

import numpy as np
import pytest
import torch
from judges import ROOT, mypy, ruff
from op_examples import EXAMPLES, Data
from single import ONE, after_learner, alone, as_image, built, drawn, run, shared, text
from strategies import OPS
from test_memory import check as check_memory
from test_memory import check_inference
from test_onnx import check as check_onnx
from test_onnx import run as run_onnx

from specgen.backends import onnx_devices
from specgen.compiler import Program
from specgen.graph import tensor_name
from specgen.ops import AnyOp
from specgen.ops.base import Op, Part, Refusal, Shape

BATCH = 8
# A share of these would need what other devices draw or compute.
WHOLE = {
    *("channel_shuffle", "class_token", "layer_norm", "multi_head_attention"),
    *("select", "softmax", "stochastic_depth"),
}


def name(layer: Data) -> str:
    return " ".join(f"{key}={value}" for key, value in layer.items())[len("op=") :]


names = [name(layer) for layer, _ in EXAMPLES]
examples = pytest.mark.parametrize(("layer", "x"), EXAMPLES, ids=names)


def test_every_op_has_an_example() -> None:
    union, *_ = get_args(AnyOp)
    ops = [op for op in get_args(union) if op.inputs == (1, 1)]
    names = {get_args(op.model_fields["op"].annotation)[0] for op in ops}
    assert {layer["op"] for layer, _ in EXAMPLES} == names


def parsed(layer: Data, x: Shape) -> Op:
    op = OPS.validate_python(layer)
    assert [*op.check_fields(), *op.check(x)] == []
    return op


@examples
def test_its_shapes_are_pytorchs(layer: Data, x: Shape, tmp_path: Path) -> None:
    op = parsed(layer, x)
    net = built(alone(op, x), tmp_path, "meta")
    y = run(net, torch.empty(BATCH, *x, device="meta"))
    assert tuple(y.shape[1:]) == op.output(x)
    found = {name: tuple(tensor.shape) for name, tensor in net.state_dict().items()}
    assert found == {tensor_name(ONE, leaf): s for leaf, s in op.shapes(x).items()}


@examples
@torch.no_grad()
def test_its_onnx_nodes_compute_what_pytorch_does(
    layer: Data, x: Shape, tmp_path: Path
) -> None:
    program = alone(parsed(layer, x), x)
    proto = check_onnx(program.graph)
    net = built(program, tmp_path)
    state = {name: tensor.float() for name, tensor in drawn(net).items()}
    net.load_state_dict(state)
    # Values near 0, and as large as activations bend.
    images = torch.randn(BATCH, *x, generator=torch.Generator().manual_seed(2)) * 3
    *_, found = run_onnx(proto, state, as_image(images)).values()
    np.testing.assert_allclose(found, run(net, images), rtol=1e-5, atol=1e-5)


@examples
def test_its_shares_read_what_they_say_and_join_to_the_whole(
    layer: Data, x: Shape, tmp_path: Path
) -> None:
    op = parsed(layer, x)
    outputs = op.output(x)[0]
    whole = built(alone(op, x), tmp_path).double()
    weights = drawn(whole)
    whole.load_state_dict(weights)
    draw = torch.Generator().manual_seed(3)
    images = torch.randn(BATCH, *x, dtype=torch.float64, generator=draw)
    y = run(whole, images.requires_grad_())
    for devices in (n for n in (2, 3, 4) if outputs % n == 0):
        size = outputs // devices
        cuts = [range(start, start + size) for start in range(0, outputs, size)]
        parts = [part_of(op, x, share) for share in cuts]
        if None in parts:
            continue
        for share, part in zip(cuts, parts, strict=True):
            out = y[:, share.start : share.stop]
            direction = torch.randn(out.shape, dtype=torch.float64, generator=draw)
            (grad,) = torch.autograd.grad(out, images, direction, retain_graph=True)
            read = grad.movedim(1, 0).flatten(1).any(1).nonzero().flatten()
            assert part
            (reads,) = part.reads
            assert set(read.tolist()) == set(reads or ())
        net = built(shared(op, x, devices), tmp_path).double()
        net.load_state_dict(weights)
        torch.testing.assert_close(run(net, images), y, rtol=1e-12, atol=1e-12)


def part_of(op: Op, x: Shape, share: range) -> Part | None:
    """Return a share's part, or None if it is refused, which must have its help."""
    try:
        return op.part(share, x)
    except Refusal as refusal:
        found = refusal.diagnostic
    assert found.code == "cannot-split"
    assert found.help
    return None


@pytest.mark.parametrize(
    ("layer", "x"), [example for example in EXAMPLES if example[0]["op"] != "chunk"]
)
def test_its_onnx_annotations_are_sound_when_it_is_split(layer: Data, x: Shape) -> None:
    op = parsed(layer, x)
    half = range(op.output(x)[0] // 2)
    if op.output(x)[0] % 2 == 0 and part_of(op, x, half):
        model = onnx_devices.build(shared(op, x, 2).placed, "net")  # checks itself
        assert {len(node.device_configurations) for node in model.graph.node} == {1}


def test_only_some_ops_are_never_split() -> None:
    split = set()
    for layer, x in EXAMPLES:
        op = parsed(layer, x)
        half = range(op.output(x)[0] // 2)
        if layer.get("p") != 0 and part_of(op, x, half):  # else there is nothing to it
            split.add(layer["op"])
    assert {layer["op"] for layer, _ in EXAMPLES} - split == WHOLE


def in_precision(program: Program, precision: str) -> Program:
    training = program.spec.training.model_copy(update={"precision": precision})
    spec = program.spec.model_copy(update={"training": training})
    return replace(program, spec=spec)


@examples
@pytest.mark.parametrize("precision", ["float32", "bfloat16"])
def test_it_saves_what_is_planned(
    layer: Data, x: Shape, precision: str, tmp_path: Path
) -> None:
    program = in_precision(after_learner(parsed(layer, x), x), precision)
    check_memory(program, tmp_path, text(program))


@examples
def test_its_inference_takes_what_is_planned(
    layer: Data, x: Shape, tmp_path: Path
) -> None:
    program = after_learner(parsed(layer, x), x)
    check_inference(program, tmp_path, text(program))


def test_tools_have_nothing_to_say(tmp_path: Path) -> None:
    for index, (layer, x) in enumerate(EXAMPLES):
        code = text(after_learner(parsed(layer, x), x))
        (tmp_path / f"net{index}.py").write_text(code)
    ruff("format --check", tmp_path)
    ruff("check", tmp_path)
    mypy(*tmp_path.glob("net?*.py"), cwd=ROOT)
