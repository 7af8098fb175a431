"""What the generated scripts refuse: each with a sentence, and nothing half written."""

from __future__ import annotations

import os
import shutil
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file, save_file
from scripts import (
    LAYERS,
    finished,
    generate,
    module,
    photos,
    read_run,
    run,
    write_checkpoint,
)

from specgen.runtime.dataset import SKIP

BASE = {"epochs": 2, "batch_size": 8, "optimizer": {"lr": 0.01, "weight_decay": 5e-4}}


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return photos(tmp_path_factory.mktemp("photos"))


@pytest.fixture(scope="module")
def code(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return generate(tmp_path_factory.mktemp("code") / "tiny", BASE)


@pytest.fixture(scope="module")
def whole(code: Path, data: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder of an uninterrupted run."""
    return finished(code, data, tmp_path_factory.mktemp("whole"))


def refusal(code: Path, *arguments: object) -> str:
    """Return the sentences that train.py refuses with, and nothing else on stderr."""
    ended = run(code / "train.py", *arguments)
    assert ended.code == 1
    assert all(line.startswith("error: ") for line in ended.err.splitlines())
    return ended.err


class TestRefusals:
    def test_a_missing_data_folder(self, code: Path, tmp_path: Path) -> None:
        output = tmp_path / "run"
        assert "nowhere" in refusal(
            code, "--data", tmp_path / "nowhere", "--output", output
        )
        assert not output.exists()

    def test_more_classes_than_outputs(self, code: Path, tmp_path: Path) -> None:
        data = photos(tmp_path / "photos", classes=5, train=1, val=1)
        error = refusal(code, "--data", data, "--output", tmp_path / "run")
        assert "5 classes are too many for 4 outputs" in error

    def test_devices_that_do_not_exist(self, code: Path, data: Path) -> None:
        assert "cuda:99" in refusal(code, "--data", data, "--devices", "cuda:99")
        assert "nonsense" in refusal(code, "--data", data, "--devices", "nonsense")
        for name in ("meta", "hpu", "privateuseone"):
            error = refusal(code, "--data", data, "--devices", name)
            assert error.startswith(f"error: device {name} cannot be used: ")
            assert len(error.splitlines()) == 1
        assert "2 devices, or one" in refusal(
            code, "--data", data, "--devices", "cpu,cpu,cpu"
        )

    def test_unreadable_images_all_at_once(self, code: Path, tmp_path: Path) -> None:
        data = photos(tmp_path / "photos")
        names = ("train/class0/3.jpg", "train/class2/1.jpg", "val/class1/0.jpg")
        for name in names:
            (data / name).write_bytes(b"")
        reason = "it is not one of JPEG, PNG, GIF, BMP, WEBP, TIFF, PPM"
        assert refusal(code, "--data", data, "--output", tmp_path / "run") == (
            "".join(f"error: cannot read {name!r}: {reason}\n" for name in names)
            + f"error: {SKIP}"
        )
        assert list((tmp_path / "run").glob("[!.]*")) == []
        flags = ("--data", data, "--output", tmp_path / "run", "--bad-images", "skip")
        ended = run(code / "train.py", *flags, "--steps", 1)
        assert ended.code == 0, ended.err
        for name in names:
            assert f"left out cannot read {name!r}: {reason}\n" in ended.out
        assert "3 images are left out; 25 remain for training\n" in ended.out

    def test_an_output_that_contains_a_run(
        self, code: Path, data: Path, whole: Path
    ) -> None:
        before = (whole / "checkpoint.safetensors").read_bytes()
        assert "--resume" in refusal(code, "--data", data, "--output", whole)
        assert (whole / "checkpoint.safetensors").read_bytes() == before

    def test_a_missing_checkpoint(self, code: Path, data: Path, tmp_path: Path) -> None:
        path = tmp_path / "none.safetensors"
        assert f"there is no checkpoint {path}" in refusal(
            code, "--data", data, "--resume", path
        )

    @pytest.mark.parametrize("size", [0, 7, 100, 5000])
    def test_a_damaged_checkpoint(
        self, size: int, code: Path, data: Path, whole: Path, tmp_path: Path
    ) -> None:
        path = tmp_path / "checkpoint.safetensors"
        path.write_bytes((whole / path.name).read_bytes()[:size])
        assert "cannot be read" in refusal(code, "--data", data, "--resume", path)

    def test_weights_without_a_run(
        self, code: Path, data: Path, tmp_path: Path
    ) -> None:
        path = tmp_path / "weights.safetensors"
        save_file({"conv1.weight": torch.zeros(8, 3, 5, 5)}, path)
        assert "not written by train.py" in refusal(
            code, "--data", data, "--resume", path
        )

    def test_another_network(self, data: Path, whole: Path, tmp_path: Path) -> None:
        wider = LAYERS | {"fc2": {"op": "linear", "out_features": 20}}
        code = generate(tmp_path / "wider", BASE, layers=wider)
        path = whole / "checkpoint.safetensors"
        error = refusal(code, "--data", data, "--resume", path, "--output", tmp_path)
        assert "another network: fc2.weight is 16x128 there and 20x128 here" in error

    def test_another_recipe(
        self, code: Path, data: Path, whole: Path, tmp_path: Path
    ) -> None:
        path = whole / "checkpoint.safetensors"
        train = (code, "--data", data, "--resume", path, "--output", tmp_path)
        assert "batch_size is 8 there and 4 here" in refusal(*train, "--batch-size", 4)
        assert "seed is 0 there and 1 here" in refusal(*train, "--seed", 1)

    def test_other_classes(self, code: Path, whole: Path, tmp_path: Path) -> None:
        data = photos(tmp_path / "photos")
        for split in ("train", "val"):
            (data / split / "class1").rename(data / split / "zebra")
        path = whole / "checkpoint.safetensors"
        error = refusal(code, "--data", data, "--resume", path, "--output", tmp_path)
        assert "missing now 'class1', new 'zebra'" in error

    def test_other_images(self, code: Path, whole: Path, tmp_path: Path) -> None:
        data = photos(tmp_path / "photos", train=8)
        path = whole / "checkpoint.safetensors"
        error = refusal(code, "--data", data, "--resume", path, "--output", tmp_path)
        assert "27 training images, but now there are 24" in error

    @pytest.mark.parametrize("split", ["train", "val"])
    def test_images_with_other_names(
        self, split: str, code: Path, whole: Path, tmp_path: Path
    ) -> None:
        data = photos(tmp_path / "photos")
        (data / split / "class0/0.jpg").rename(data / split / "class0/new.jpg")
        path = whole / "checkpoint.safetensors"
        error = refusal(code, "--data", data, "--resume", path, "--output", tmp_path)
        assert "the run began with images of different names" in error

    def test_a_file_in_place_of_the_output_before_images_are_read(
        self, code: Path, tmp_path: Path
    ) -> None:
        data = photos(tmp_path / "photos")
        (data / "train/class0/0.jpg").write_bytes(b"")
        (tmp_path / "file").touch()
        for output in (tmp_path / "file", tmp_path / "file" / "run"):
            error = refusal(code, "--data", data, "--output", output)
            assert error.startswith(f"error: cannot write to {output}: ")
            assert len(error.splitlines()) == 1


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
        "not written by this train.py",
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
    "escape sequences": (
        lambda run: run | {"classes": ["\x1b[31m", "a\nerror: b", "class2"]},
        r"missing now '\x1b[31m', 'a\nerror: b', new 'class0', 'class1'",
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
    assert expected in error
    assert len(error.splitlines()) == 1


TENSORS: dict[str, tuple[Callable[[Tensors], Tensors], str]] = {
    "no mean": (
        lambda its: {k: v for k, v in its.items() if k != "data.mean"},
        "data.mean is missing there and 3x28x28 here",
    ),
    "no velocity": (
        lambda its: {k: v for k, v in its.items() if k != "momentum_buffer.fc3.bias"},
        "momentum_buffer.fc3.bias is missing there and 4 here",
    ),
    "a velocity that would broadcast": (
        lambda its: its | {"momentum_buffer.fc3.bias": torch.zeros(1)},
        "momentum_buffer.fc3.bias is 1 there and 4 here",
    ),
    "one velocity more": (
        lambda its: its | {"momentum_buffer.fc9.bias": torch.zeros(4)},
        "momentum_buffer.fc9.bias is 4 there and missing here",
    ),
    "half weights": (
        lambda its: its | {"fc3.bias": torch.zeros(4).half()},
        "fc3.bias is 4 float16 there and 4 here",
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
    ended = run(code / "evaluate.py", path, "--data", data)
    assert ended.code == 1
    assert ended.err.startswith("error: ")
    assert expected in ended.err


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


@pytest.mark.parametrize(
    ("script", "flag", "value"),
    [
        ("evaluate.py", "--batch-size", 0),
        ("evaluate.py", "--batch-size", -3),
        ("evaluate.py", "--workers", -1),
        ("pack.py", "--workers", -1),
        ("train.py", "--batch-size", 0),
        ("train.py", "--batch-size", 2**20 + 1),
        ("train.py", "--workers", 100_000_000),
    ],
)
def test_a_number_out_of_range_is_refused(
    script: str, flag: str, value: int, code: Path, tmp_path: Path
) -> None:
    others: dict[str, tuple[object, ...]] = {
        "evaluate.py": (tmp_path, "--data", tmp_path),
        "pack.py": (tmp_path, tmp_path / "out"),
        "train.py": ("--data", tmp_path),
    }
    ended = run(code / script, *others[script], flag, value)
    assert ended.code == 2
    least, most = {
        "--workers": (0, 16 * (os.cpu_count() or 1)),
        "--batch-size": (1, 2**20),
    }[flag]
    expected = f"error: {flag} cannot be {value}, only {least} to {most}\n"
    assert ended.err.endswith(expected)


def test_a_network_that_cannot_be_compiled_is_refused(
    code: Path, data: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(_: object) -> None:
        raise RuntimeError("there is no compiler\nand this is where it was missed")

    monkeypatch.setattr(torch, "compile", fail)
    flags = ("--data", data, "--output", tmp_path / "run", "--compile")
    expected = "error: --compile does not work here: there is no compiler"
    assert refusal(code, *flags) == expected
    assert not (tmp_path / "run").exists()  # said before all images are read


@pytest.mark.parametrize(
    ("raised", "exit_code", "said"),
    [
        ("KeyboardInterrupt", 130, ""),
        ("OSError(5, 'broken')", 1, "error: [Errno 5] broken"),
    ],
)
def test_evaluate_ends_as_train_does(
    raised: str, exit_code: int, said: str, code: Path, data: Path, tmp_path: Path
) -> None:
    copy = shutil.copytree(code.parent, tmp_path / "copy")
    checkpoint = copy / "runtime" / "checkpoint.py"
    text = checkpoint.read_text()
    head = "    if not path.is_file():\n"
    assert text.count(head) == 1
    checkpoint.write_text(text.replace(head, f"    raise {raised}\n{head}"))
    ended = run(copy / code.name / "evaluate.py", tmp_path / "any", "--data", data)
    assert (ended.code, ended.err) == (exit_code, said)


def test_bfloat16_over_devices_of_two_types(
    data: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    training = BASE | {"precision": "bfloat16"}
    script = module(generate(tmp_path / "tiny", training), "train")
    devices = [torch.device("cuda", 0), torch.device("cpu")]
    monkeypatch.setattr(script, "choose_devices", lambda *_: devices)
    monkeypatch.setattr(sys, "argv", ["train.py", "--data", str(data)])
    with pytest.raises(script.UserError, match="bfloat16 needs devices of one type"):
        script.main()
