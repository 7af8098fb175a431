"""Trained weights bound into an ONNX file.

Its metadata holds what else prediction needs: the names of the classes (`classes`,
JSON), how images become input (`data`, JSON), and the mean image (`mean`, float32 in
base64, (3, size, size)).
"""

from __future__ import annotations

import json
from base64 import b64encode
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import onnx
from numpy.typing import NDArray
from onnx import TensorProto, helper
from safetensors import SafetensorError, safe_open

from . import console
from .errors import ExportError
from .files import atomic_write
from .onnx_norms import decompose_norms

Shape = tuple[int, ...]
Weights = dict[str, NDArray[np.float32]]

OTHERS = ("momentum_buffer.", "data.")  # as in checkpoint.py, which imports torch
LARGE = 64 * 2**20  # bytes of weights that get a file of their own
PAGE = 4096  # bytes; each tensor begins on a page there, so that it can be mapped


def main(doc: str | None, structure: Path, size: int) -> None:
    """Export as the command line says; `structure` is the network's model.onnx."""
    parser = console.parser(doc)
    parser.add_argument("checkpoint", type=Path, help="a file that train.py wrote")
    parser.add_argument("--output", type=Path, metavar="FILE", help="[CHECKPOINT.onnx]")
    args = console.parse(parser)
    if not args.checkpoint.is_file():
        raise ExportError(f"there is no checkpoint {args.checkpoint}")
    output = args.output or args.checkpoint.with_suffix(".onnx")
    check_output(output, args.checkpoint, structure)
    model = load_structure(structure)
    shapes = take_parameters(model.graph)
    weights, metadata = load(args.checkpoint, shapes, size)
    helper.set_model_props(model, metadata)
    decompose_norms(model.graph)
    save(output, model, weights)
    print(f"wrote {output}")


def check_output(output: Path, checkpoint: Path, structure: Path) -> None:
    """Raise ExportError if the output cannot be a file, or is read."""
    if output.is_dir():
        raise ExportError(f"{output} is a folder: give a file as --output")
    if output.exists() and not output.is_file():  # a pipe, a device: it would be lost
        raise ExportError(f"{output} is not a file: give another --output")
    written = {output.resolve(), beside(output).resolve()}
    if written & {checkpoint.resolve(), structure.resolve()}:
        raise ExportError(f"{output} is what is read: give another --output")


def beside(output: Path) -> Path:
    """Return the file of large weights."""
    return output.with_name(output.name + ".data")


def load_structure(path: Path) -> onnx.ModelProto:
    """Return model.onnx. Raises ExportError if it cannot be read."""
    if not path.is_file():
        raise ExportError(f"there is no {path}")
    try:
        return onnx.load(path)
    except Exception as error:  # protobuf's, which onnx does not name
        raise ExportError(f"{path} cannot be read: {error}") from None


def take_parameters(graph: onnx.GraphProto) -> dict[str, Shape]:
    """Take the parameters from the graph's inputs; return their names and shapes."""
    parameters = graph.input[1:]  # the images come first
    del graph.input[1:]
    return {
        value.name: tuple(dim.dim_value for dim in value.type.tensor_type.shape.dim)
        for value in parameters
    }


def load(
    path: Path, shapes: Mapping[str, Shape], size: int
) -> tuple[Weights, dict[str, str]]:
    """Return a checkpoint's weights, of these shapes, and what becomes metadata.

    Raises ExportError, naming all that is wrong, if it is damaged, was not written by
    train.py, or is of another network.
    """
    wanted = {**shapes, "data.mean": (3, size, size)}
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
        with atomic_write(path) as file:
            file.write(model.SerializeToString())
            file.flush()  # fails now, if the disk is full, and not after the data file
            if large:
                with atomic_write(data) as tail:
                    for array in weights.values():
                        tail.write(array.data)
                        tail.write(bytes(-array.nbytes % PAGE))
    except OSError as error:
        raise ExportError(f"cannot write {path}: {error.strerror}") from None
