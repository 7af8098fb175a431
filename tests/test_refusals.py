"""What the generated scripts refuse: each with a sentence, and nothing half written."""

from __future__ import annotations

import functools
import importlib
import os
import shutil
import sys
from pathlib import Path

import pytest
import torch
from scripts import generate, importing, module, photos, refusal, run
from torch import nn

from specgen.runtime.dataset import SKIP

BASE = {"epochs": 2, "batch_size": 8, "optimizer": {"lr": 0.01, "weight_decay": 5e-4}}


@pytest.fixture(scope="module")
def code(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return generate(tmp_path_factory.mktemp("code") / "tiny", BASE)


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
            + f"  = help: {SKIP}"
        )
        assert list((tmp_path / "run").glob("[!.]*")) == []
        flags = ("--data", data, "--output", tmp_path / "run", "--bad-images", "skip")
        ended = run(code / "train.py", *flags, "--steps", 1)
        assert ended.code == 0, ended.err
        for name in names:
            assert f"left out: cannot read {name!r}: {reason}\n" in ended.out
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

    def test_a_file_in_place_of_the_output_before_images_are_read(
        self, code: Path, tmp_path: Path
    ) -> None:
        data = photos(tmp_path / "photos")
        (data / "train/class0/0.jpg").write_bytes(b"")
        (tmp_path / "file").touch()
        for output in (tmp_path / "file", tmp_path / "file" / "run"):
            error = refusal(code, "--data", data, "--output", output)
            assert error.startswith(f"error: cannot write to {output}: ")
            assert error.endswith(("it is not a folder", "Not a directory"))
            assert len(error.splitlines()) == 1


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
    with importing(code):
        devices = importlib.import_module("runtime.devices")
        elsewhere = nn.Linear(1, 1, device="meta")  # on CPUs, none is compiled
        compile_it = functools.partial(devices.compile_network, elsewhere)
        monkeypatch.setattr(devices, "compile_network", lambda _: compile_it())
        assert refusal(code, *flags) == expected
    assert not (tmp_path / "run").exists()  # said before all images are read


@pytest.mark.parametrize(
    ("raised", "exit_code", "said"),
    [
        ("KeyboardInterrupt", 130, ""),
        ("OSError(5, 'broken')", 1, "error: broken\n"),
    ],
)
def test_evaluate_ends_as_train_does(
    raised: str, exit_code: int, said: str, code: Path, data: Path, tmp_path: Path
) -> None:
    copy = shutil.copytree(code.parent, tmp_path / "copy")
    checkpoint = copy / "runtime" / "checkpoint.py"
    text = checkpoint.read_text()
    head = '    require_file(path, "checkpoint")\n'
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
