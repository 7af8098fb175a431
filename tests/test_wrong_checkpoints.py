"""Checkpoints that do not fit, or make no sense: each reader names what is wrong."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file, save_file
from scripts import (
    LAYERS,
    generate,
    photos,
    read_run,
    refusal,
    run,
    write_checkpoint,
)

from specgen.runtime.errors import OTHER_CODE, CheckpointError
from specgen.runtime.prediction import Network, predict

BASE = {"epochs": 2, "batch_size": 8, "optimizer": {"lr": 0.01, "weight_decay": 5e-4}}


@pytest.fixture(scope="module")
def code(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return generate(tmp_path_factory.mktemp("code") / "tiny", BASE)


@pytest.mark.parametrize("size", [0, 7, 100, 5000])
def test_a_damaged_checkpoint(
    size: int, code: Path, data: Path, whole: Path, tmp_path: Path
) -> None:
    path = tmp_path / "checkpoint.safetensors"
    path.write_bytes((whole / path.name).read_bytes()[:size])
    assert "cannot be read" in refusal(code, "--data", data, "--resume", path)


def test_weights_without_a_run(code: Path, data: Path, tmp_path: Path) -> None:
    path = tmp_path / "weights.safetensors"
    save_file({"conv1.weight": torch.zeros(8, 3, 5, 5)}, path)
    assert "not written by train.py" in refusal(code, "--data", data, "--resume", path)


def test_another_network(data: Path, whole: Path, tmp_path: Path) -> None:
    wider = LAYERS | {"fc2": {"op": "linear", "out_features": 20}}
    code = generate(tmp_path / "wider", BASE, layers=wider)
    path = whole / "checkpoint.safetensors"
    error = refusal(code, "--data", data, "--resume", path, "--output", tmp_path)
    assert error.splitlines() == [
        f"error: {path} is from another network: different: fc2.weight is 16x128 "
        "there and 20x128 here, fc2.bias is 16 there and 20 here, "
        "fc3.weight is 4x16 there and 4x20 here",
        f"  = help: {OTHER_CODE}",
    ]


def test_another_recipe(code: Path, data: Path, whole: Path, tmp_path: Path) -> None:
    path = whole / "checkpoint.safetensors"
    train = (code, "--data", data, "--resume", path, "--output", tmp_path)
    error = refusal(*train, "--batch-size", 4, "--seed", 1, "--lr", 0.1)
    assert error.splitlines() == [
        f"error: {path} is from another recipe: batch_size is 8 there and 4 here, "
        "seed is 0 there and 1 here",
        "  = help: resume without --batch-size and --seed, or start a new run with "
        "another --output",
    ]
    optimizer = {"lr": 0.01, "weight_decay": 5e-4, "momentum": 0.5}
    cosine = BASE | {"optimizer": optimizer, "schedule": {"kind": "cosine"}}
    changed = generate(tmp_path / "changed", cosine)
    assert refusal(changed, *train[1:], "--epochs", 3).splitlines() == [
        f"error: {path} is from another recipe: epochs is 2 there and 3 here, "
        "momentum is 0.9 there and 0.5 here, final_lr is missing there and 0.0 "
        "here",
        "  = help: a cosine schedule depends on the number of epochs from the start: "
        "resume without --epochs and with the recipe.py that it began with, or "
        "start a new run with another --output",
    ]


def test_another_network_and_another_recipe(
    data: Path, whole: Path, tmp_path: Path
) -> None:
    wider = LAYERS | {"fc2": {"op": "linear", "out_features": 20}}
    code = generate(tmp_path / "wider", BASE | {"accumulate": 2}, layers=wider)
    path = whole / "checkpoint.safetensors"
    error = refusal(code, "--data", data, "--resume", path, "--output", tmp_path)
    network, recipe, advice = error.splitlines()
    assert "from another network: different: fc2.weight is" in network
    assert recipe.endswith("another recipe: accumulate is missing there and 2 here")
    assert advice == f"  = help: {OTHER_CODE}"


def test_other_classes(code: Path, whole: Path, tmp_path: Path) -> None:
    data = photos(tmp_path / "photos")
    for split in ("train", "val"):
        (data / split / "class1").rename(data / split / "zebra")
    path = whole / "checkpoint.safetensors"
    error = refusal(code, "--data", data, "--resume", path, "--output", tmp_path)
    assert "only the checkpoint has 'class1'; only the data has 'zebra'" in error


def test_other_images(code: Path, whole: Path, tmp_path: Path) -> None:
    data = photos(tmp_path / "photos", train=8)
    path = whole / "checkpoint.safetensors"
    error = refusal(code, "--data", data, "--resume", path, "--output", tmp_path)
    assert "27 training images, but now there are 24\n" in error
    assert (
        "\n  = help: give the images that it began with, or start a run with " in error
    )


@pytest.mark.parametrize("split", ["train", "val"])
def test_images_with_other_names(
    split: str, code: Path, whole: Path, tmp_path: Path
) -> None:
    data = photos(tmp_path / "photos")
    (data / split / "class0/0.jpg").rename(data / split / "class0/new.jpg")
    path = whole / "checkpoint.safetensors"
    error = refusal(code, "--data", data, "--resume", path, "--output", tmp_path)
    assert "the run began with images of different names\n  = help: give the" in error


Tensors = dict[str, torch.Tensor]


def altered(
    whole: Path,
    folder: Path,
    run: Callable[[dict[str, Any]], Any] = dict,
    tensors: Callable[[Tensors], Tensors] = dict,
) -> Path:
    """Write a copy of a checkpoint with other JSON or other tensors."""
    source = whole / "checkpoint.safetensors"
    path = folder / "altered.safetensors"
    write_checkpoint(path, tensors(load_file(source)), run(read_run(source)))
    return path


RUNS: dict[str, tuple[Callable[[dict[str, Any]], Any], str]] = {
    "a list": (lambda run: "[]", "not written by train.py"),
    "no bad": (
        lambda run: {k: v for k, v in run.items() if k != "bad"},
        "was written by another version of train.py: without bad",
    ),
    "what another version knows": (
        lambda run: (
            {k: v for k, v in run.items() if k not in ("names", "step")}
            | {"\x1b[31m": 1, "b": 1}
        ),
        "version of train.py: without names, without step, "
        "with '\\x1b[31m', and 1 more",
    ),
    "step -5": (lambda run: run | {"step": -5}, "its step cannot be -5"),
    "a huge step": (lambda run: run | {"step": 10**30}, "its step cannot be 1000"),
    "step NaN": (lambda run: run | {"step": float("nan")}, "its step cannot be NaN"),
    "step true": (lambda run: run | {"step": True}, "its step cannot be true"),
    "step in another epoch": (lambda run: run | {"step": 1}, "do not match"),
    "one sum": (lambda run: run | {"sums": [0.0]}, "its sums cannot be [0.0]"),
    "a formula in the table": (
        lambda run: (
            run
            | {
                "history": [
                    row | {"split": "=cmd|' /C calc'!A0"} for row in run["history"]
                ]
            }
        ),
        "its history cannot be",
    ),
    "text in the table": (
        lambda run: run | {"history": [row | {"lr": "=1+1"} for row in run["history"]]},
        "its history cannot be",
    ),
    "no classes": (lambda run: run | {"classes": []}, "its classes cannot be []"),
    "equal classes": (
        lambda run: run | {"classes": ["a", "a"]},
        'its classes cannot be ["a", "a"]',
    ),
    "escape sequences": (
        lambda run: run | {"classes": ["\x1b[31m", "a\nerror: b", "class2"]},
        r"only the checkpoint has '\x1b[31m', 'a\nerror: b'; "
        "only the data has 'class0', 'class1'",
    ),
    "escape sequences in a figure": (
        lambda run: run | {"data": run["data"] | {"size": "\x1b[31m\nerror: b"}},
        r"size is '\x1b[31m\nerror: b' there and 28 here",
    ),
    "rows of text": (
        lambda run: run | {"history": [{"split": "val"}]},
        "its history cannot be",
    ),
    "no recipe": (lambda run: run | {"recipe": {}}, "from another recipe: "),
    "no learning rate": (
        lambda run: run | {"recipe": {**run["recipe"], "lr": "\x1b[31m"}},
        r"lr is '\x1b[31m' there and 0.01 here",
    ),
    "no batch": (
        lambda run: run | {"recipe": run["recipe"] | {"batch_size": 0}},
        "batch_size is 0 there and 8 here",
    ),
}


@pytest.mark.parametrize("case", RUNS)
def test_a_run_that_makes_no_sense_is_refused(
    case: str, code: Path, data: Path, whole: Path, tmp_path: Path
) -> None:
    alter, expected = RUNS[case]
    path = altered(whole, tmp_path, run=alter)
    error = refusal(code, "--data", data, "--resume", path, "--output", tmp_path)
    what, *advice = error.splitlines()
    assert expected in what
    assert len(advice) <= 1


TENSORS: dict[str, tuple[Callable[[Tensors], Tensors], str]] = {
    "no mean": (
        lambda its: {k: v for k, v in its.items() if k != "data.mean"},
        "missing: data.mean",
    ),
    "no velocity": (
        lambda its: {k: v for k, v in its.items() if k != "momentum_buffer.fc3.bias"},
        "missing: momentum_buffer.fc3.bias",
    ),
    "a velocity that would broadcast": (
        lambda its: its | {"momentum_buffer.fc3.bias": torch.zeros(1)},
        "different: momentum_buffer.fc3.bias is 1 there and 4 here",
    ),
    "one velocity more": (
        lambda its: its | {"momentum_buffer.fc9.bias": torch.zeros(4)},
        "unexpected: momentum_buffer.fc9.bias",
    ),
    "half weights": (
        lambda its: its | {"fc3.bias": torch.zeros(4).half()},
        "different: fc3.bias is 4 float16 there and 4 here",
    ),
    "other weights and their velocities": (
        lambda its: {k.replace("fc3", "fc9"): v for k, v in its.items()},
        "missing: fc3.weight, fc3.bias; unexpected: fc9.bias, fc9.weight\n",
    ),
    "a value that is not finite": (
        lambda its: its | {"fc3.bias": torch.tensor([0, 1, torch.inf, 2])},
        "is damaged: values that are not finite in fc3.bias",
    ),
}


@pytest.mark.parametrize("case", TENSORS)
def test_tensors_of_another_run_are_refused(
    case: str, code: Path, data: Path, whole: Path, tmp_path: Path
) -> None:
    alter, expected = TENSORS[case]
    path = altered(whole, tmp_path, tensors=alter)
    flags = ("--data", data, "--resume", path, "--output", tmp_path)
    assert expected in refusal(code, *flags)
    image = data / "val" / "class0" / "0.jpg"
    for script, arguments in {
        "evaluate.py": (path, "--data", data),
        "predict.py": (image, "--model", path),
    }.items():
        ended = run(code / script, *arguments)
        assert ended.code == 1
        assert ended.err.startswith("error: ")
        assert expected in ended.err


def test_more_classes_than_outputs_are_refused() -> None:
    mean = torch.zeros(3, 28, 28)
    network = Network(lambda crops: torch.zeros(len(crops), 2), ["a", "b", "c"], mean)
    with pytest.raises(CheckpointError, match="it has more classes than outputs"):
        predict(network, mean.byte(), lambda images, _: [images])


@pytest.mark.parametrize(
    ("section", "expected"),
    [
        ({"size": 30}, "size is 28 there and 30 here"),
        ({"std": 32.0}, "std is 64.0 there and 32.0 here"),
        ({"flip": False}, "flip is True there and False here"),
        ({"color_noise": None}, "color_noise is 0.1 there and missing here"),
    ],
)
def test_a_checkpoint_from_data_prepared_differently_is_refused(
    section: dict[str, Any], expected: str, data: Path, whole: Path, tmp_path: Path
) -> None:
    section = {"size": 28, "flip": True, "color_noise": 0.1, "std": 64.0} | section
    section = {name: value for name, value in section.items() if value is not None}
    code = generate(tmp_path / "other", BASE, data=section)
    path = whole / "checkpoint.safetensors"
    flags = ("--data", data, "--resume", path, "--output", tmp_path)
    assert f"from other data: {expected}" in refusal(code, *flags)
    ended = run(code / "evaluate.py", path, "--data", data)
    assert ended.code == 1
    assert f"from other data: {expected}" in ended.err
