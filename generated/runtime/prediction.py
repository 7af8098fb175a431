"""The classes that a trained network sees in images."""

from __future__ import annotations

import argparse
import json
from base64 import b64decode
from collections.abc import Callable, Iterable, Sequence
from importlib import import_module
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from . import checkpoint, console
from .compare import are_classes
from .console import shown
from .errors import CheckpointError, DataError, ImageError
from .evaluation import Crops
from .files import require_file
from .images import decode, explain


class Network(NamedTuple):
    """A trained network, with the facts about its data."""

    logits: Callable[[Tensor], Tensor]  # (N, C, HEIGHT, WIDTH) -> (N, outputs)
    classes: list[str]
    mean: Tensor  # (C, size, size)


def parse_arguments(doc: str | None, model: str) -> argparse.Namespace:
    """Read the command line of predict.py; `model` is its default."""
    parser = console.parser(doc, "IMAGE ... [option...]")
    add = parser.add_argument
    add(
        "images",
        type=Path,
        nargs="+",
        metavar="IMAGE",
        help="image, or folder of images",
    )
    help = f"checkpoint, or .onnx file of export.py [{model}]"
    add("--model", type=Path, default=Path(model), metavar="FILE", help=help)
    add(
        "--ten-crop",
        action="store_true",
        help="average over corners, center, and their mirror images",
    )
    args = console.parse(parser)
    for path in args.images:
        if path.suffix.lower() in (".safetensors", ".onnx"):
            parser.error(f"{shown(path)} is not an image: give it as --model")
    if args.model == Path(model) and not args.model.exists():
        missing = f"there is no checkpoint {shown(args.model)}"
        raise CheckpointError(f"{missing}: train first, or give another as --model")
    args.images = list_files(args.images)
    return args


def list_files(paths: Iterable[Path]) -> list[Path]:
    """Return the files, with those of each folder, sorted, in its place.

    Hidden files are left out, as in training. Raises DataError if a folder has no
    files, and OSError if it cannot be read.
    """
    files: list[Path] = []
    for path in paths:
        if not path.is_dir():
            files.append(path)
            continue
        inside = [file for file in sorted(path.iterdir()) if file.is_file()]
        visible = [file for file in inside if not file.name.startswith(".")]
        if not visible:
            raise DataError(f"there are no images directly in {shown(path)}")
        files += visible
    return files


def answer(network: Network, paths: Iterable[Path], size: int, crops: Crops) -> None:
    """Print what is in each image. Raises DataError for those it cannot read."""
    bad: dict[str, str] = {}
    for path in paths:
        try:
            image = torch.from_numpy(decode(path, size, len(network.mean)))
        except ImageError as error:
            bad[str(path)] = str(error)
            continue
        classes = predict(network, image, crops)
        print(console.readable(str(path)))
        for name, probability in classes:
            print(f"  {probability:.4f}  {console.readable(name)}")
    if bad:
        raise DataError(*explain(bad))


def open_onnx(
    path: Path, settings: dict[str, Any], mean_shape: Sequence[int], outputs: int
) -> Network:
    """Load what export.py wrote.

    Raises CheckpointError if it is from other data than `settings`, or from a network
    with another number of `outputs`.
    """
    require_file(path, "file")
    try:  # only here, since checkpoints do not need them
        onnxruntime: Any = import_module("onnxruntime")
        onnx_seal: Any = import_module(".onnx_seal", __package__)
    except ImportError as error:
        raise CheckpointError(f"{shown(path)} needs {error.name}: install it") from None
    metadata = onnx_seal.verify(path)
    options = onnxruntime.SessionOptions()
    options.log_severity_level = (
        4  # it would log its errors, too, with names as they are
    )
    try:
        session = onnxruntime.InferenceSession(
            path, options, providers=["CPUExecutionProvider"]
        )
    except Exception as error:
        raise CheckpointError(
            f"{shown(path)} cannot be read: {reason(error)}"
        ) from None
    try:
        classes, data = (json.loads(metadata[name]) for name in ("classes", "data"))
        if not are_classes(classes) or not isinstance(data, dict):
            raise ValueError
        checkpoint.refuse_differences(
            f"{shown(path)} is from other data", data, settings
        )
        mean = np.frombuffer(b64decode(metadata["mean"]), np.float32)
        mean = mean.reshape(mean_shape)
    except (KeyError, ValueError, RecursionError):
        raise CheckpointError(f"{shown(path)} was not written by export.py") from None

    def logits(crops: Tensor) -> Tensor:
        try:
            (answer,) = session.run(["logits"], {"input": crops.numpy()})
            scores = torch.from_numpy(answer)
        except Exception as error:
            raise CheckpointError(
                f"{shown(path)} cannot be run: {reason(error)}"
            ) from None
        there = {"logits": checkpoint.describe(scores)}
        here = {"logits": checkpoint.describe(torch.empty(len(crops), outputs))}
        checkpoint.refuse_another_network(path, there, here)
        return scores

    return Network(logits, classes, torch.tensor(mean))


def reason(error: Exception) -> str:
    """Return the first line of an onnxruntime error; these have no common class."""
    return str(error).partition("\n")[0]


@torch.no_grad()
def predict(network: Network, image: Tensor, crops: Crops) -> list[tuple[str, float]]:
    """Return the most likely classes, five at most, and their probabilities.

    `image` is what `decode` returns. Probabilities are averaged over its crops.
    """
    inputs = torch.cat(list(crops(image[None], network.mean)))
    probabilities = F.softmax(network.logits(inputs), dim=1).mean(0)
    if not probabilities.isfinite().all():
        raise CheckpointError("the answer is not a number: the model is damaged")
    if len(network.classes) > len(probabilities):
        raise CheckpointError("it has more classes than outputs: the model is damaged")
    known = probabilities[: len(network.classes)]  # other outputs have no meaning
    order = known.argsort(descending=True, stable=True)[:5].tolist()
    return [(network.classes[label], float(known[label])) for label in order]
