"""Generated scripts, run in this process: importing torch again would take seconds."""

from __future__ import annotations

import contextlib
import csv
import importlib
import io
import runpy
import signal
import sys
import zlib
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np
import pytest
import torch
from helpers import compile_data, write
from PIL import Image
from safetensors import safe_open
from safetensors.torch import load_file, save_file

from specgen.runtime import checksums
from specgen.runtime.checkpoint import as_bytes

LAYERS = {
    "conv1": {"op": "conv2d", "out_channels": 8, "kernel_size": 5, "stride": 2},
    "relu1": {"op": "relu"},
    "norm1": {
        "op": "local_response_norm",
        "size": 3,
        "alpha": 1e-4,
        "beta": 0.75,
        "k": 2.0,
        "groups": 2,
    },
    "pool1": {"op": "max_pool2d", "kernel_size": 3, "stride": 2},
    "flat": {"op": "flatten"},
    "fc2": {"op": "linear", "out_features": 16},
    "relu2": {"op": "relu"},
    "drop2": {"op": "dropout", "p": 0.5},
    "fc3": {"op": "linear", "out_features": 4},
    "prob": {"op": "softmax"},
}
TWO_DEVICES = {
    "devices": {"gpu0": {}, "gpu1": {}},
    "layers": {"conv1..drop2": "split", "fc3..prob": "gpu0"},
}
ONE_DEVICE = {"devices": {"gpu0": {}}, "layers": {"conv1..prob": "gpu0"}}
BASE = {"epochs": 2, "batch_size": 8, "optimizer": {"lr": 0.01, "weight_decay": 5e-4}}
STEPS = 4  # in an epoch of BASE: 27 images in batches of 8


def generate(
    folder: Path, training: dict[str, Any], stem: str = "tiny", **changes: Any
) -> Path:
    """Write the generated files of a tiny network, on two devices, and its recipe."""
    spec = {
        "specgen": 1,
        "name": "Tiny",
        "input": {"channels": 3, "height": 24, "width": 24},
        "layers": LAYERS,
        "init": {"weight": "kaiming_normal", "bias": 0.0},
        "placement": TWO_DEVICES,
        "data": {"size": 28, "flip": True, "color_noise": 0.1, "std": 64.0},
        "training": training,
    }
    return write(compile_data(spec | changes, stem), folder)


def generate_tiny(folder: Path) -> Path:
    """Write a tiny network whose learning rate drops when accuracy stalls."""
    schedule = {"kind": "plateau", "patience": 1, "drops": 3}
    return generate(folder / "tiny", BASE | {"epochs": 3, "schedule": schedule})


def photos(root: Path, classes: int = 3, train: int = 9, val: int = 4) -> Path:
    """Write an ImageFolder tree of small JPEGs, one color per class."""
    rng = np.random.default_rng(0)
    for split, count in (("train", train), ("val", val)):
        for label in range(classes):
            folder = root / split / f"class{label}"
            folder.mkdir(parents=True)
            for index in range(count):
                pixels = rng.integers(0, 120, (32, 40, 3))
                pixels[..., label % 3] += 100
                image = Image.fromarray(pixels.astype(np.uint8))
                image.save(folder / f"{index}.jpg")
    return root


def rows(output: Path) -> list[dict[str, str]]:
    """Return the rows of a run's metrics.csv."""
    with (output / "metrics.csv").open(newline="") as file:
        return list(csv.DictReader(file))


def assert_same_run(one: Path, other: Path) -> None:
    """Every tensor has the same bytes, and every figure but the speed is the same."""
    a, b = (load_file(path / "checkpoint.safetensors") for path in (one, other))
    assert a.keys() == b.keys()
    assert [
        name for name in a if a[name].numpy().tobytes() != b[name].numpy().tobytes()
    ] == []
    for row, its in zip(rows(one), rows(other), strict=True):
        speed = {"images_per_second": ""}
        assert row | speed == its | speed


@dataclass(frozen=True)
class Ended:
    """How a script ended and what it said."""

    code: int
    out: str
    err: str


def run(script: Path, *arguments: object, columns: int = 9999) -> Ended:
    """Run a script as `python SCRIPT ARGUMENTS` would, on a terminal of this width."""
    out, err = io.StringIO(), io.StringIO()
    code: Any = 0
    said = contextlib.redirect_stdout(out), contextlib.redirect_stderr(err)
    kept = importing(script.parent), _handlers_kept(), pytest.MonkeyPatch.context()
    with kept[0], kept[1], kept[2] as patch, said[0], said[1]:
        patch.setenv("COLUMNS", str(columns))
        sys.argv = [str(script), *map(str, arguments)]
        try:
            runpy.run_path(str(script), run_name="__main__")
        except SystemExit as ended:
            code = ended.code
    return Ended(code or 0, out.getvalue(), err.getvalue())


def refusal(code: Path, *arguments: object) -> str:
    """Return the sentences that train.py refuses with, and nothing else on stderr."""
    ended = run(code / "train.py", *arguments)
    assert ended.code == 1
    *problems, last = ended.err.splitlines()
    assert all(line.startswith("error: ") for line in problems)
    assert last.startswith(("error: ", "  = help: "))
    return ended.err.removesuffix("\n")


def read_run(checkpoint: Path) -> dict[str, Any]:
    """Return the state of the run in a checkpoint."""
    with safe_open(checkpoint, framework="pt") as file:
        run, _ = checksums.read_run(file.metadata())
    assert isinstance(run, dict)
    return run


def write_checkpoint(path: Path, tensors: dict[str, torch.Tensor], run: Any) -> None:
    """Write a checkpoint with anything in it, with correct checksums."""
    found = {name: checksums.checksum(as_bytes(x)) for name, x in tensors.items()}
    if isinstance(run, dict):
        metadata = checksums.write_run(run, found)
    else:  # JSON as text
        metadata = {"run": f"{run}\n{zlib.crc32(run.encode())}"}
    save_file(tensors, path, metadata)


def finished(code: Path, data: Path, output: Path) -> Path:
    """Let train.py run to the end; return its folder."""
    ended = run(code / "train.py", "--data", data, "--output", output, "--workers", 2)
    assert ended.code == 0, ended.err
    return output


def module(folder: Path, name: str) -> ModuleType:
    """Import a generated module, like train or runtime.images, with its siblings."""
    with importing(folder):
        return importlib.import_module(name)


@contextlib.contextmanager
def importing(folder: Path) -> Iterator[None]:
    """Import from `folder`, and forget those modules at the end."""
    path, argv = list(sys.path), list(sys.argv)
    own = {file.stem for file in folder.glob("*.py")} | {"runtime"}
    sys.path[:0] = [str(folder), str(folder.parent)]
    try:
        yield
    finally:
        sys.path[:], sys.argv[:] = path, argv
        if loading := sys.modules.get("runtime.loading"):
            loading.idle.clear()  # ends the processes that decode
        for name in list(sys.modules):
            if name.partition(".")[0] in own:
                del sys.modules[name]


@contextlib.contextmanager
def _handlers_kept() -> Iterator[None]:
    numbers = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)
    handlers = {number: signal.getsignal(number) for number in numbers}
    try:
        yield
    finally:
        for number, handler in handlers.items():
            signal.signal(number, handler)
