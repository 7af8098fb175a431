"""Batch norm in training: its statistics under placements, processes and accidents."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import onnxruntime
import pytest
import torch
from helpers import compile_text, load, refused
from safetensors.torch import load_file
from scripts import (
    assert_same_run,
    generate,
    module,
    read_run,
    rows,
    run,
    write_checkpoint,
)
from test_parallel import assert_same_run as assert_same_figures
from test_parallel import train
from torch import nn

from specgen.diff import Tier, compare
from specgen.graph import state_order
from specgen.runtime import batch_norm

# 27 images make batches of 13, 13 and 1; norm2 has one value per channel and image.
RECIPE = {"epochs": 2, "batch_size": 13, "optimizer": {"lr": 0.01}}
MEASURED = ["running_mean", "running_var", "num_batches_tracked"]
SPLIT = {
    "devices": {"gpu0": {}, "gpu1": {}},
    "layers": {"conv1..relu2": "split", "flat..prob": "gpu0"},
}


def code(
    folder: Path,
    *,
    split: bool = False,
    more: dict[str, Any] | None = None,
    **norm: Any,
) -> Path:
    layers = {
        "conv1": {"op": "conv2d", "out_channels": 8, "kernel_size": 5, "stride": 2},
        "norm1": {"op": "batch_norm2d", **norm},
        "relu1": {"op": "relu"},
        "pool1": {"op": "max_pool2d", "kernel_size": 3, "stride": 2},
        "conv2": {"op": "conv2d", "out_channels": 6, "kernel_size": 4},
        "norm2": {"op": "batch_norm2d", "affine": False, "eps": 0.1, **norm},
        "relu2": {"op": "relu"},
        "flat": {"op": "flatten"},
        "fc3": {"op": "linear", "out_features": 4},
        "prob": {"op": "softmax"},
    }
    layers["conv1"]["bias"] = layers["conv2"]["bias"] = False
    one = {"devices": {"gpu0": {}}, "layers": {"conv1..prob": "gpu0"}}
    placement = SPLIT if split else one
    recipe = RECIPE | {"optimizer": {"lr": 0.01} | (more or {})}
    return generate(folder, recipe, layers=layers, placement=placement)


@pytest.fixture(scope="module")
def codes(tmp_path_factory: pytest.TempPathFactory) -> dict[bool, Path]:
    """What is generated for one device, and for two."""
    folder = tmp_path_factory.mktemp("codes")
    return {
        split: code(folder / ("two" if split else "one"), split=split)
        for split in (False, True)
    }


def learn(code: Path, data: Path, output: Path, *more: object) -> Path:
    flags = ("--data", data, "--output", output, "--workers", 0, "--devices", "cpu")
    ended = run(code / "train.py", *flags, *more)
    assert ended.code == 0, ended.err
    return output


@pytest.fixture(scope="module")
def whole(
    codes: dict[bool, Path], data: Path, tmp_path_factory: pytest.TempPathFactory
) -> Path:
    """The folder of an uninterrupted run on two devices."""
    return learn(codes[True], data, tmp_path_factory.mktemp("whole"))


def test_a_checkpoint_has_what_was_measured_and_no_velocity_of_it(whole: Path) -> None:
    tensors = load_file(whole / "checkpoint.safetensors")
    learned = ["conv1.weight", "norm1.weight", "norm1.bias", "conv2.weight"]
    learned += ["fc3.weight", "fc3.bias"]
    measured = [f"{norm}.{leaf}" for norm in ("norm1", "norm2") for leaf in MEASURED]
    velocities = [f"momentum_buffer.{name}" for name in learned]
    others = [name for name in tensors if name.startswith("data.")]
    assert set(tensors) == {*learned, *measured, *velocities, *others}
    # A batch of one image is normalized as in evaluation, in each of the two epochs.
    for norm in ("norm1", "norm2"):
        assert tensors[f"{norm}.num_batches_tracked"].item() == 4
        assert tensors[f"{norm}.running_mean"].abs().min() > 0
    assert tensors["norm1.running_mean"].shape == (8,)


@pytest.mark.parametrize("steps", [1, 5])
def test_a_resumed_run_ends_with_the_same_bits(
    steps: int, codes: dict[bool, Path], data: Path, whole: Path, tmp_path: Path
) -> None:
    learn(codes[True], data, tmp_path, "--steps", steps)
    assert_same_run(learn(codes[True], data, tmp_path, "--resume"), whole)


def test_placements_learn_the_same_and_resume_each_other(
    codes: dict[bool, Path], data: Path, whole: Path, tmp_path: Path
) -> None:
    for split in (False, True, False):
        checkpoints = sorted(tmp_path.glob("*/checkpoint.safetensors"))
        resume = ("--resume", checkpoints[-1]) if checkpoints else ()
        steps = 2 * (len(checkpoints) + 1)
        output = tmp_path / str(steps)
        learn(codes[split], data, output, "--steps", steps, *resume)
    found = load_file(output / "checkpoint.safetensors")
    torch.testing.assert_close(
        found, load_file(whole / "checkpoint.safetensors"), rtol=1e-3, atol=1e-4
    )


def test_an_exported_network_computes_what_evaluation_does(
    codes: dict[bool, Path], data: Path, whole: Path, tmp_path: Path
) -> None:
    target = tmp_path / "net.onnx"
    ended = run(
        codes[True] / "export.py", whole / "checkpoint.safetensors", "--output", target
    )
    assert ended.code == 0, ended.err
    session = onnxruntime.InferenceSession(target, providers=["CPUExecutionProvider"])
    (images,) = session.get_inputs()
    x = np.random.default_rng(0).normal(size=(3, 3, 24, 24)).astype(np.float32)
    logits, *_ = session.run(["logits"], {images.name: x})
    tensors = load_file(whole / "checkpoint.safetensors")
    net = plain(tensors).eval()
    with torch.no_grad():
        np.testing.assert_allclose(logits, net(torch.from_numpy(x)), atol=1e-4)
    score = ("evaluate.py", whole / "checkpoint.safetensors", "--data", data)
    ended = run(codes[False] / score[0], *score[1:], "--workers", 0, "--devices", "cpu")
    last = rows(whole)[-1]
    assert f"loss {float(last['loss']):.4f}" in ended.out


@pytest.mark.parametrize("script", ["train", "evaluate", "predict", "export"])
def test_negative_variances_are_refused(
    script: str, codes: dict[bool, Path], data: Path, whole: Path, tmp_path: Path
) -> None:
    path = tmp_path / "crafted.safetensors"
    tensors = load_file(whole / "checkpoint.safetensors")
    tensors["norm1.running_var"][3] = -1e-3
    tensors["norm2.running_var"][:] = 0.0  # as of a map that is always the same
    write_checkpoint(path, tensors, read_run(whole / "checkpoint.safetensors"))
    arguments: dict[str, tuple[object, ...]] = {
        "train": ("--data", data, "--resume", path, "--output", tmp_path),
        "evaluate": (path, "--data", data),
        "predict": (data / "val/class0/0.jpg", "--model", path),
        "export": (path,),
    }
    ended = run(codes[True] / f"{script}.py", *arguments[script])
    expected = f"error: {path} is damaged: negative variances in norm1.running_var\n"
    assert (ended.code, ended.err) == (1, expected)
    assert not path.with_suffix(".onnx").exists()


def plain(tensors: dict[str, torch.Tensor]) -> nn.Module:
    """Return the network as torch's own modules, with these weights."""
    layers = {
        "conv1": nn.Conv2d(3, 8, 5, stride=2, bias=False),
        "norm1": nn.BatchNorm2d(8),
        "relu1": nn.ReLU(),
        "pool1": nn.MaxPool2d(3, 2),
        "conv2": nn.Conv2d(8, 6, 4, bias=False),
        "norm2": nn.BatchNorm2d(6, eps=0.1, affine=False),
        "relu2": nn.ReLU(),
        "flat": nn.Flatten(),
        "fc3": nn.Linear(6, 4),
    }
    net = nn.Sequential()
    for name, layer in layers.items():
        net.add_module(name, layer)
    net.load_state_dict({name: tensors[name] for name in net.state_dict()})
    return net


def test_synchronized_processes_learn_what_one_does(data: Path, tmp_path: Path) -> None:
    """Shares are of 7 and 6 images, and of 1 and none."""
    folder = code(tmp_path / "code" / "tiny", split=True, synchronized=True)
    for processes in (1, 2):
        output = tmp_path / str(processes)
        for ended in train(processes, folder, data, output):
            assert ended.code == 0, ended.err
    assert_same_figures(tmp_path / "1", tmp_path / "2")


def test_processes_evaluate_with_the_statistics_of_the_first(
    codes: dict[bool, Path], data: Path, tmp_path: Path
) -> None:
    flags = ("--epochs", "1", "--batch-size", "6")  # each evaluates a batch
    for ended in train(2, codes[False], data, tmp_path, *flags):
        assert ended.code == 0, ended.err
    path = tmp_path / "checkpoint.safetensors"
    single = {name: narrow(tensor) for name, tensor in load_file(path).items()}
    write_checkpoint(path, single, read_run(path))
    more = ("--data", data, "--workers", 0, "--devices", "cpu")
    ended = run(codes[False] / "evaluate.py", path, *more)
    loss = float(ended.out.partition("loss ")[2].partition(",")[0])
    assert loss == pytest.approx(float(rows(tmp_path)[-1]["loss"]), abs=1e-4)


def narrow(tensor: torch.Tensor) -> torch.Tensor:
    return tensor.float() if tensor.is_floating_point() else tensor


@pytest.mark.parametrize("rates", [{}, {"bias": 2.0}, {"weight": 0.5, "bias": 2.0}])
@pytest.mark.parametrize("biases", [True, False])
def test_norms_are_spared_from_decay(
    rates: dict[str, float], biases: bool, tmp_path: Path
) -> None:
    rule = {"weight_decay": 0.25, "decay_norms": False, "decay_biases": biases}
    folder = code(tmp_path / "tiny", more=rule | {"lr_multipliers": rates})
    recipe, net = module(folder, "recipe"), module(folder, "model").Tiny(["cpu"])
    sgd = recipe.optimizer(net, recipe.Recipe(), fused=True)
    names = {id(w): name for name, w in net.named_parameters()}
    found = {
        names[id(w)]: (group["weight_decay"], group["lr"])
        for group in sgd.param_groups
        for w in group["params"]
    }
    weight, bias = rates.get("weight", 1.0), rates.get("bias", 1.0)
    assert found == {
        "conv1.weight": (0.25, weight),
        "norm1.weight": (0.0, weight),
        "norm1.bias": (0.0, bias),
        "conv2.weight": (0.25, weight),
        "fc3.weight": (0.25, weight),
        "fc3.bias": (0.25 if biases else 0.0, bias),
    }
    for w in net.parameters():
        w.grad = torch.ones_like(w)
    recipe.update(sgd, 0.1)  # some groups may be empty


def test_a_norm_uses_the_batch_if_it_is_large_enough() -> None:
    class Synchronized(nn.BatchNorm2d):
        pass

    net = nn.Sequential(nn.BatchNorm2d(2), nn.Dropout(), Synchronized(2)).train()
    for images, total, expected in (
        (1, 3, [False, True, True]),
        (0, 1, [False, True, False]),
        (2, 2, [True, True, True]),
    ):
        batch_norm.use_batch_statistics(net, images, total, least=2)
        assert [module.training for module in net] == expected


SPEC = """
specgen: 1
name: Net
input: {channels: 3, height: 4, width: 4}
layers:
  conv1: {op: conv2d, out_channels: 8, kernel_size: 4, CONV}
  AFTER
  flat: {op: flatten}
  fc2: {op: linear, out_features: 2}
training: {batch_size: 8, accumulate: PASSES}
"""


def spec(norm: str, conv: str = "bias: false", passes: int = 1) -> str:
    text = SPEC.replace("AFTER", norm).replace("CONV", conv)
    return text.replace("PASSES", str(passes))


@pytest.mark.parametrize(
    ("norm", "message"),
    [
        ("", "norm1 has no variance with one image at a time"),
        (
            ", synchronized: true",
            "norm1 is synchronized, but not all processes run all passes",
        ),
    ],
)
def test_passes_that_a_norm_cannot_have(norm: str, message: str) -> None:
    passes = 2 if norm else 8
    (error,) = refused(spec(f"norm1: {{op: batch_norm2d{norm}}}", passes=passes))
    assert error.message == message
    assert error.path == ("training", "accumulate")


@pytest.mark.parametrize(
    ("norm", "rule", "message"),
    [
        ("relu1: {op: relu}", "weight_decay: 1", "no layer is a norm with a weight"),
        (
            "norm1: {op: batch_norm2d}",
            "lr: 1",
            "decay_norms has no effect without weight_decay",
        ),
    ],
)
def test_norms_that_cannot_be_spared(norm: str, rule: str, message: str) -> None:
    optimizer = f"optimizer: {{decay_norms: false, {rule}}}"
    (error,) = refused(spec(norm).replace("accumulate: 1", optimizer))
    assert error.message == message
    assert error.path == ("training", "optimizer", "decay_norms")


@pytest.mark.parametrize(
    ("norm", "conv", "passes", "expected"),
    [
        ("norm1: {op: batch_norm2d}", "bias: false", 1, []),
        ("norm1: {op: batch_norm2d}", "bias: false", 4, ["partial-statistics"]),
        ("norm1: {op: batch_norm2d}", "bias: true", 1, ["bias-before-norm"]),
        ("norm1: {op: batch_norm2d}", "init: {bias: 1}", 1, ["bias-before-norm"]),
        ("norm1: {op: group_norm, num_groups: 2}", "bias: true", 4, []),
        ("relu1: {op: relu}\n  norm1: {op: batch_norm2d}", "bias: true", 1, []),
        (
            "norm1: {op: batch_norm2d}\n  sum: {op: add, from: [norm1, conv1]}",
            "bias: true",
            1,
            [],
        ),
    ],
)
def test_warnings(norm: str, conv: str, passes: int, expected: list[str]) -> None:
    found = compile_text(spec(norm, conv, passes)).warnings
    assert [warning.code for warning in found] == expected


@pytest.mark.parametrize(
    ("change", "tier"),
    [
        ("momentum: 0.01", Tier.RECIPE),
        ("synchronized: true", Tier.RECIPE),
        ("init: {weight: 0}", Tier.RECIPE),
        ("eps: 0.001", Tier.FUNCTION),
        ("affine: false", Tier.CHECKPOINT),
    ],
)
def test_how_far_a_field_reaches(change: str, tier: Tier) -> None:
    old = compile_text(spec("norm1: {op: batch_norm2d}"))
    difference = compare(
        old, compile_text(spec(f"norm1: {{op: batch_norm2d, {change}}}"))
    )
    assert difference.tier == tier
    assert {found.tier for found in difference.changes} == {tier}


def test_a_state_dict_begins_with_a_module_s_own_tensors(tmp_path: Path) -> None:
    norm = "norm1: {op: batch_norm2d}\n  scale1: {op: layer_scale}"
    program = compile_text(spec(norm))
    names = [name for node in program.graph.nodes for name in node.tensors]
    net = load(program, tmp_path / "model.py").Net(["cpu"])
    assert list(net.state_dict()) == state_order(names) != names
    assert names.index("scale1") == 6
