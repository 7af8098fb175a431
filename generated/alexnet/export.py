"""Bind trained weights of AlexNet into an ONNX file.

    python export.py CHECKPOINT
    python export.py CHECKPOINT --output FILE

The file computes what model.onnx, beside this script, shows for review. Its metadata
holds what else prediction needs, as predict.py shows: the names of the classes
(`classes`, JSON), how images become input (`data`, JSON), and the mean image (`mean`,
float32 in base64, (3, 256, 256)).
"""

from __future__ import annotations

import argparse
import json
import sys
from base64 import b64encode
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import onnx.parser
from numpy.typing import NDArray
from onnx import TensorProto, helper, numpy_helper
from safetensors import SafetensorError, safe_open

from files import escape_output, whole

Shape = tuple[int, ...]
Weights = dict[str, NDArray[np.float32]]

MEAN = (3, 256, 256)  # the shape of the mean image
OTHERS = ("momentum_buffer.", "data.")  # what a checkpoint holds besides weights
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
    escape_output()
    try:
        if not args.checkpoint.is_file():
            raise ExportError(f"there is no checkpoint {args.checkpoint}")
        output = args.output or args.checkpoint.with_suffix(".onnx")
        check_output(output, args.checkpoint)
        model = load_structure()
        shapes = take_parameters(model.graph)
        weights, metadata = load(args.checkpoint, shapes)
        helper.set_model_props(model, metadata)
        decompose_norms(model.graph)
        save(output, model, weights)
    except (ExportError, OSError) as error:
        sys.exit(f"error: {error}")
    print(f"wrote {output}")


def check_output(output: Path, checkpoint: Path) -> None:
    """Raise ExportError if the output is no name for a file, or what is read."""
    if output.is_dir():
        raise ExportError(f"{output} is a folder: give a file as --output")
    if output.exists() and not output.is_file():  # a pipe, a device: it would be lost
        raise ExportError(f"{output} is no file: give another --output")
    written = {output.resolve(), beside(output).resolve()}
    if written & {checkpoint.resolve(), STRUCTURE.resolve()}:
        raise ExportError(f"{output} is what is read: give another --output")


def beside(output: Path) -> Path:
    """Return the file of large weights."""
    return output.with_name(output.name + ".data")


def load_structure() -> onnx.ModelProto:
    """Return model.onnx. Raises ExportError if it cannot be read."""
    if not STRUCTURE.is_file():
        raise ExportError(f"there is no {STRUCTURE}")
    try:
        return onnx.load(STRUCTURE)
    except Exception as error:  # protobuf's, which onnx does not name
        raise ExportError(f"{STRUCTURE} cannot be read: {error}") from None


def take_parameters(graph: onnx.GraphProto) -> dict[str, Shape]:
    """Take the parameters from the graph's inputs; return their names and shapes."""
    parameters = graph.input[1:]  # the images come first
    del graph.input[1:]
    return {
        value.name: tuple(dim.dim_value for dim in value.type.tensor_type.shape.dim)
        for value in parameters
    }


def load(path: Path, shapes: Mapping[str, Shape]) -> tuple[Weights, dict[str, str]]:
    """Return a checkpoint's weights, of these shapes, and what becomes metadata.

    Raises ExportError, naming all that is wrong, if it is damaged, was not written by
    train.py, or is of another network.
    """
    wanted = {**shapes, "data.mean": MEAN}
    try:
        with safe_open(path, framework="numpy") as file:
            run = json.loads((file.metadata() or {})["run"])
            names = file.keys()
            found = {
                name: file.get_slice(name)
                for name in names
                if name in wanted or not name.startswith(OTHERS)
            }
            refuse(f"{path} is of another network", differences(found, wanted))
            tensors = {name: file.get_tensor(name) for name in wanted}
    except KeyError:
        raise ExportError(f"{path} was not written by train.py") from None
    except (SafetensorError, OSError, ValueError, RecursionError) as error:
        raise ExportError(f"{path} cannot be read: {error}") from None
    refuse(f"{path} is damaged", damage(run, tensors))
    mean = b64encode(tensors.pop("data.mean").tobytes()).decode()
    metadata = {name: json.dumps(run[name]) for name in ("classes", "data")}
    return tensors, metadata | {"mean": mean}


def differences(found: Mapping[str, Any], wanted: Mapping[str, Shape]) -> list[str]:
    """Return what keeps the tensors of a file from being float32 of these shapes."""
    problems = [f"{name} is missing" for name in wanted if name not in found]
    for name, tensor in found.items():
        shape, kind = tuple(tensor.get_shape()), tensor.get_dtype()
        if name not in wanted:
            problems.append(f"{name} is unknown")
        elif shape != wanted[name]:
            problems.append(f"{name} is {shape}, not {wanted[name]}")
        elif kind != "F32":
            problems.append(f"{name} is of type {kind}, not F32")
    return problems


def damage(run: Any, tensors: Weights) -> list[str]:
    """Return what train.py would not have written."""
    problems = [
        f"{name} has values that are not finite"
        for name, array in tensors.items()
        if not np.isfinite(array).all()
    ]
    run = run if isinstance(run, dict) else {}
    classes, data = run.get("classes"), run.get("data")
    if not isinstance(classes, list) or not all(isinstance(c, str) for c in classes):
        problems.append("its classes are not a list of names")
    if not isinstance(data, dict):
        problems.append("it does not say how images become input")
    return problems


def refuse(what: str, problems: list[str]) -> None:
    """Raise ExportError if there are problems."""
    if problems:
        raise ExportError("\n  ".join([f"{what}:", *problems]))


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
    data = beside(path)
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
            file.flush()  # fails now, if the disk is full, and not after the data file
            if large:
                with whole(data) as tail:
                    for array in weights.values():
                        tail.write(array.data)
                        tail.write(bytes(-array.nbytes % PAGE))
    except OSError as error:
        raise ExportError(f"cannot write {path}: {error.strerror}") from None


if __name__ == "__main__":
    main()
