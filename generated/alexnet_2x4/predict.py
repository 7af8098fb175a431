"""Name the classes that AlexNet sees in images.

    python predict.py IMAGE...
    python predict.py IMAGE... --model FILE

FILE is a checkpoint, or an .onnx file that export.py made of one: the answers are the
same. It prints the five most probable classes of each image, and runs on the CPU.
"""

from __future__ import annotations

import argparse
import json
from base64 import b64decode
from collections.abc import Callable
from importlib import import_module
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

import checkpoint
import model
import parallel
from checkpoint import CheckpointError
from data import SETTINGS, SHAPES, center_crop, ten_crops
from images import DataError, ImageError, decode, explain

OUTPUTS = 1000  # of the network
# Where train.py writes it.
CHECKPOINT = "runs/alexnet_2x4/checkpoint.safetensors"


class Network(NamedTuple):
    """A trained network, and what to know of its data."""

    logits: Callable[[Tensor], Tensor]  # (N, 3, HEIGHT, WIDTH) -> (N, outputs)
    classes: list[str]
    mean: Tensor  # (3, SIZE, SIZE)


def main() -> None:
    """Predict as the arguments say."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    add = parser.add_argument
    add("images", type=Path, nargs="+", metavar="IMAGE", help="a file, not a folder")
    help = f"checkpoint, or .onnx file of export.py [{CHECKPOINT}]"
    add("--model", type=Path, default=CHECKPOINT, metavar="FILE", help=help)
    add("--ten-crop", action="store_true", help="average over corners, centre, mirrors")
    args = parser.parse_args()

    is_onnx = args.model.suffix == ".onnx"
    network = (open_onnx if is_onnx else open_checkpoint)(args.model)
    bad: dict[str, str] = {}
    for path in args.images:
        try:
            image = decode(path)
        except ImageError as error:
            bad[str(path)] = str(error)
            continue
        answer = predict(network, image, args.ten_crop)
        print(readable(str(path)))
        for name, probability in answer:
            print(f"  {probability:.4f}  {readable(name)}")
    if bad:
        raise DataError(*explain(bad))


def open_checkpoint(path: Path) -> Network:
    """Load what train.py has written. CheckpointError if it is not of this network."""
    tensors, run = checkpoint.load(path)
    checkpoint.refuse_differences(f"{path} is of other data", run.data, SETTINGS)
    net = model.AlexNet(["cpu"] * 4)
    checkpoint.restore(net, tensors, SHAPES, path)
    return Network(net.eval(), run.classes, tensors["data.mean"])


def open_onnx(path: Path) -> Network:
    """Load what export.py has written. CheckpointError if it is of other data."""
    if not path.is_file():
        raise CheckpointError(f"there is no file {path}")
    try:  # only here, as checkpoints do not need it
        onnxruntime: Any = import_module("onnxruntime")
    except ImportError:
        raise CheckpointError(f"{path} needs onnxruntime: install it") from None
    try:
        session = onnxruntime.InferenceSession(path, providers=["CPUExecutionProvider"])
    except Exception as error:
        raise CheckpointError(f"{path} cannot be read: {reason(error)}") from None
    try:
        metadata = session.get_modelmeta().custom_metadata_map
        classes, data = (json.loads(metadata[name]) for name in ("classes", "data"))
        mean = np.frombuffer(b64decode(metadata["mean"]), np.float32)
        mean = mean.reshape(SHAPES["mean"])
        if not checkpoint.fits(classes, list[str]) or not isinstance(data, dict):
            raise ValueError
    except (KeyError, ValueError, RecursionError):
        raise CheckpointError(f"{path} was not written by export.py") from None
    checkpoint.refuse_differences(f"{path} is of other data", data, SETTINGS)

    def logits(crops: Tensor) -> Tensor:
        try:
            (answer,) = session.run(["logits"], {"input": crops.numpy()})
            scores = torch.from_numpy(answer)
        except Exception as error:
            raise CheckpointError(f"{path} cannot be run: {reason(error)}") from None
        if scores.shape != (len(crops), OUTPUTS) or scores.dtype != torch.float32:
            raise CheckpointError(f"{path} is of another network")
        return scores

    return Network(logits, classes, torch.tensor(mean))


def reason(error: Exception) -> str:
    """Return what onnxruntime says first: its errors have no class in common."""
    return str(error).partition("\n")[0]


@torch.no_grad()
def predict(
    network: Network, image: Tensor, ten_crop: bool = False
) -> list[tuple[str, float]]:
    """Return the most probable classes, five at most, and their probabilities.

    `image` is what `decode` gives. Over ten crops, the probabilities are averaged.
    """
    images = image[None]
    if ten_crop:
        crops = torch.cat(list(ten_crops(images, network.mean)))
    else:
        crops = center_crop(images, network.mean)
    probabilities = F.softmax(network.logits(crops), dim=1).mean(0)
    if not probabilities.isfinite().all():
        raise CheckpointError("the answer is no number: the model is damaged")
    known = probabilities[: len(network.classes)]  # other outputs have no meaning
    order = known.argsort(descending=True, stable=True)[:5].tolist()
    return [(network.classes[label], float(known[label])) for label in order]


def readable(name: str) -> str:
    """Return a name, in Python's quotes if it has line breaks or bytes of no text."""
    return name if name.isprintable() else repr(name)


if __name__ == "__main__":
    parallel.run(main, CheckpointError, DataError, OSError)
