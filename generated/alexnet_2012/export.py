"""Bind trained weights of AlexNet into an ONNX file.

    python export.py CHECKPOINT
    python export.py CHECKPOINT --output FILE

The file computes what model.onnx, beside this script, shows for review. Its metadata
holds the names of the classes (`classes`, JSON) and the mean image (`mean`, float32 in
base64, (3, 256, 256)): its crop is subtracted from that of the pixels.
"""

from __future__ import annotations

import argparse
import json
import os
import sys
from base64 import b64encode
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import BinaryIO

import numpy as np
import onnx
import onnx.parser
from numpy.typing import NDArray
from onnx import TensorProto, helper, numpy_helper
from safetensors import SafetensorError, safe_open

Weights = dict[str, NDArray[np.float32]]

STRUCTURE = Path(__file__).with_name("model.onnx")
LARGE = 64 * 2**20  # bytes of weights that get a file of their own
PAGE = 4096  # bytes; each tensor begins on a page there, so that it can be mapped


class ExportError(Exception):
    """Why a checkpoint cannot be exported."""


def main() -> None:
    """Export as the flags say."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("checkpoint", type=Path, help="a file that train.py wrote")
    parser.add_argument("--output", type=Path, metavar="FILE", help="[CHECKPOINT.onnx]")
    args = parser.parse_args()
    output = args.output or args.checkpoint.with_suffix(".onnx")
    try:
        if output.resolve() in (args.checkpoint.resolve(), STRUCTURE):
            raise ExportError(f"{output} is what is read: give another --output")
        if not STRUCTURE.is_file():
            raise ExportError(f"there is no {STRUCTURE}")
        model = onnx.load(STRUCTURE)
        weights, metadata = load(args.checkpoint)
        check(args.checkpoint, weights, take_parameters(model.graph))
        helper.set_model_props(model, metadata)
        decompose_norms(model.graph)
        save(output, model, weights)
    except ExportError as error:
        sys.exit(f"error: {error}")
    print(f"wrote {output}")


def load(path: Path) -> tuple[Weights, dict[str, str]]:
    """Return a checkpoint's weights, and as metadata its classes and mean image.

    Raises ExportError if it is missing or damaged, or was not written by train.py.
    """
    if not path.is_file():
        raise ExportError(f"there is no checkpoint {path}")
    try:
        with safe_open(path, framework="numpy") as file:
            run = json.loads((file.metadata() or {})["run"])
            mean = b64encode(file.get_tensor("data.mean").tobytes()).decode()
            weights = {
                name: file.get_tensor(name).astype(np.float32, copy=False)
                for name in list(file.keys())
                if not name.startswith(("optimizer.", "data."))
            }
            metadata = {"classes": json.dumps(run["classes"]), "mean": mean}
            return weights, metadata
    except KeyError:
        raise ExportError(f"{path} was not written by train.py") from None
    except (SafetensorError, OSError, TypeError, ValueError) as error:
        raise ExportError(f"{path} cannot be read: {error}") from None


def take_parameters(graph: onnx.GraphProto) -> dict[str, tuple[int, ...]]:
    """Take the parameters from the graph's inputs; return their names and shapes."""
    parameters = graph.input[1:]  # the images come first
    del graph.input[1:]
    return {
        value.name: tuple(dim.dim_value for dim in value.type.tensor_type.shape.dim)
        for value in parameters
    }


def check(path: Path, weights: Weights, wanted: dict[str, tuple[int, ...]]) -> None:
    """Raise ExportError, naming all that differs, unless the weights are as wanted."""
    problems = [f"{name} is missing" for name in wanted if name not in weights]
    for name, array in weights.items():
        if name not in wanted:
            problems.append(f"{name} is unknown")
        elif array.shape != wanted[name]:
            problems.append(f"{name} is {array.shape}, not {wanted[name]}")
    if problems:
        raise ExportError("\n  ".join([f"{path} is of another network:", *problems]))


def decompose_norms(graph: onnx.GraphProto) -> None:
    """Replace every LRN, for which onnxruntime takes ten times as long on a CPU."""
    channels = {
        value.name: value.type.tensor_type.shape.dim[1].dim_value
        for value in graph.value_info
    }
    nodes = list(graph.node)
    del graph.node[:]
    for node in nodes:
        if node.op_type != "LRN":
            graph.node.append(node)
            continue
        steps, constants = decompose(node, channels[node.output[0]])
        graph.node.extend(steps)
        graph.initializer.extend(constants)


def decompose(
    lrn: onnx.NodeProto, channels: int
) -> tuple[list[onnx.NodeProto], list[onnx.TensorProto]]:
    """Return an LRN as nodes and constants: x / (k + window sum of squares) ** beta.

    The sum, times alpha / size, is a 1x1 convolution with a band around the diagonal.
    The power is three cheap steps for the usual beta; a Pow takes four times as long.
    """
    norm = {field.name: helper.get_attribute_value(field) for field in lrn.attribute}
    channel = np.arange(channels)
    near = abs(channel[:, None] - channel) <= norm["size"] // 2
    constants = {
        "band": near[:, :, None, None] * (norm["alpha"] / norm["size"]),
        "k": np.full(channels, norm["bias"]),
    }
    power = ["root = Sqrt(base)", "cube = Mul(root, base)", "power = Sqrt(cube)"]
    if norm["beta"] != 0.75:
        constants["beta"] = np.array(norm["beta"])
        power = ["power = Pow(base, beta)"]
    base = ["squares = Mul(x, x)", "base = Conv(squares, band, k)"]
    steps = [onnx.parser.parse_node(s) for s in (*base, *power, "y = Div(x, power)")]
    (x,), (y,) = lrn.input, lrn.output
    names = {"x": x, "y": y}
    for step in steps:
        step.name = f"{lrn.name}/{step.output[0]}"
        step.input[:] = [names.get(name, f"{y}.{name}") for name in step.input]
        step.output[:] = [names.get(name, f"{y}.{name}") for name in step.output]
    return steps, [
        numpy_helper.from_array(array.astype(np.float32), f"{y}.{name}")
        for name, array in constants.items()
    ]


def save(path: Path, model: onnx.ModelProto, weights: Weights) -> None:
    """Write the model with its weights, if they are large to a data file beside it.

    Raises ExportError if it cannot; what was there before is then intact.
    """
    large = sum(array.nbytes for array in weights.values()) >= LARGE
    data = path.with_name(path.name + ".data")
    offset = 0
    for name, array in weights.items():
        tensor = model.graph.initializer.add(
            name=name, data_type=TensorProto.FLOAT, dims=array.shape
        )
        if large:
            tensor.data_location = TensorProto.EXTERNAL
            place = {"location": data.name, "offset": offset, "length": array.nbytes}
            for key, value in place.items():
                tensor.external_data.add(key=key, value=str(value))
            offset += array.nbytes + -array.nbytes % PAGE
        else:
            tensor.raw_data = array.tobytes()
    try:
        with whole(path) as file:
            file.write(model.SerializeToString())
            if large:
                with whole(data) as tail:
                    for array in weights.values():
                        tail.write(array.data)
                        tail.write(bytes(-array.nbytes % PAGE))
    except OSError as error:
        raise ExportError(f"cannot write {path}: {error.strerror}") from None


@contextmanager
def whole(path: Path) -> Iterator[BinaryIO]:
    """Open a file for writing that gets its name when all of it is on the disk."""
    partial = path.with_name(path.name + ".partial")
    try:
        with partial.open("wb") as file:
            yield file
            file.flush()
            os.fsync(file.fileno())
        partial.replace(path)
    finally:
        partial.unlink(missing_ok=True)


if __name__ == "__main__":
    main()
