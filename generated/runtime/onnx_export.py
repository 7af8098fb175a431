"""Writes trained weights into an ONNX file.

Its metadata has what else prediction needs: the names of the classes (`classes`, JSON),
how images become input (`data`, JSON), and the mean image (`mean`, float32 in base64,
(channels, size, size)). Large weights are in a file next to it, named by their
checksum, so that the ONNX file, which is written last, is never paired with those of
another export.
"""

from __future__ import annotations

import hashlib
import json
import os
from base64 import b64encode
from collections.abc import Iterator, Mapping
from glob import escape
from pathlib import Path
from typing import Any

import numpy as np
import onnx
from numpy.typing import NDArray
from onnx import TensorProto, helper
from safetensors import SafetensorError, safe_open

from . import console
from .checksums import (
    ONNX_KIND,
    OTHER_KIND,
    check_tensors,
    read_run,
    why_unreadable,
)
from .compare import (
    STATISTICS,
    VELOCITY,
    are_classes,
    describe,
    impossible,
    shorten,
    tensor_differences,
)
from .console import shown
from .errors import OTHER_CODE, ExportError
from .files import atomic_write, exclusive, no_folder_for, require_file
from .onnx_norms import decompose_norms
from .onnx_seal import seal

Shape = tuple[int, ...]
Weights = dict[str, NDArray[np.float32]]

COUNT = ".num_batches_tracked"  # of a batch norm; only training reads it
LARGE = 64 * 2**20  # bytes; weights of this size or more get their own file
PAGE = 4096  # bytes; each tensor begins on a page there, so that it can be mapped


def main(doc: str | None, structure: Path, size: int) -> None:
    """Export as the command line says; `structure` is the network's model.onnx."""
    parser = console.parser(doc, "CHECKPOINT [--output FILE]")
    help = "written by train.py"
    parser.add_argument("checkpoint", metavar="CHECKPOINT", type=Path, help=help)
    help = "[CHECKPOINT.onnx]"
    parser.add_argument("--output", type=console.target, metavar="FILE", help=help)
    args = console.parse(parser)
    require_file(args.checkpoint, "checkpoint")
    output = args.output or args.checkpoint.with_suffix(".onnx")
    if not args.output and output == args.checkpoint:
        raise ExportError(f"{shown(output)} is {OTHER_KIND}; {ONNX_KIND}")
    check_output(output, args.checkpoint, structure)
    model = load_structure(structure)
    shapes = take_parameters(model.graph)
    channels = model.graph.input[0].type.tensor_type.shape.dim[1].dim_value
    shapes["data.mean"] = channels, size, size
    weights, metadata = load(args.checkpoint, shapes)
    helper.set_model_props(model, metadata)
    decompose_norms(model.graph)
    save(output, model, weights)
    console.say(f"wrote {shown(output)}")


def check_output(output: Path, checkpoint: Path, structure: Path) -> None:
    """Raise ExportError if the output cannot be a file, or is an input."""
    if output.is_dir():
        raise ExportError(f"{shown(output)} is a folder: give a file as --output")
    if output.exists() and not output.is_file():  # a pipe or a device would be lost
        raise ExportError(f"{shown(output)} is not a file: give another --output")
    if os.path.realpath(output) in map(os.path.realpath, (checkpoint, structure)):
        raise ExportError(f"{shown(output)} is an input file: give another --output")
    if missing := no_folder_for(output):
        raise ExportError(f"cannot write {shown(output)}: {missing}")


def load_structure(path: Path) -> onnx.ModelProto:
    """Return model.onnx. Raises ExportError if it cannot be read."""
    require_file(path, "file")
    try:
        return onnx.load(path)
    except Exception as error:  # protobuf's, which onnx does not name
        raise ExportError(f"{shown(path)} cannot be read: {error}") from None


def take_parameters(graph: onnx.GraphProto) -> dict[str, Shape]:
    """Take the parameters from the graph's inputs; return their names and shapes."""
    parameters = graph.input[1:]  # the images come first
    del graph.input[1:]
    return {
        value.name: tuple(dim.dim_value for dim in value.type.tensor_type.shape.dim)
        for value in parameters
    }


def load(path: Path, wanted: Mapping[str, Shape]) -> tuple[Weights, dict[str, str]]:
    """Return a checkpoint's weights, of the wanted shapes, and what becomes metadata.

    Raises ExportError, listing all problems, if it is damaged, was not written by
    train.py, or is from another network.
    """
    try:
        with safe_open(path, framework="numpy") as file:
            run, checksums = read_run(file.metadata())
            names = file.keys()
            found = {name: file.get_slice(name) for name in names}
            if different := differences(found, wanted):
                what = f"{shown(path)} is from another network"
                raise ExportError(f"{what}: {different}", help=OTHER_CODE)
            tensors = {name: file.get_tensor(name) for name in wanted}
    except KeyError:
        raise ExportError(f"{shown(path)} was not written by train.py") from None
    except (SafetensorError, OSError, ValueError, RecursionError) as error:
        why = why_unreadable(path, error)
        raise ExportError(f"{shown(path)} cannot be read: {why}") from None
    if problems := damage(run, tensors, checksums):
        raise ExportError(
            *(f"{shown(path)} is damaged: {problem}" for problem in problems)
        )
    mean = b64encode(tensors.pop("data.mean").tobytes()).decode()
    metadata = {name: json.dumps(run[name]) for name in ("classes", "data")}
    return tensors, metadata | {"mean": mean}


def differences(found: Mapping[str, Any], wanted: Mapping[str, Shape]) -> str:
    """Return what keeps the tensors of a file from being float32 of these shapes."""
    there = {
        name: describe(tensor.get_shape(), tensor.get_dtype())
        for name, tensor in found.items()
        if name in wanted
        or (not name.startswith((VELOCITY, STATISTICS)) and not name.endswith(COUNT))
    }
    return tensor_differences(there, {k: describe(v, "F32") for k, v in wanted.items()})


def damage(
    run: Mapping[str, Any], tensors: Weights, checksums: Mapping[str, int]
) -> list[str]:
    """Return what train.py would not have written."""
    if wrong := check_tensors(tensors, checksums):
        return [f"wrong checksums of {shorten(wrong)}"]
    problems = impossible(tensors)
    if not are_classes(run.get("classes")):
        problems.append("its classes are not a list of different names")
    if not isinstance(run.get("data"), dict):
        problems.append("it does not say how to prepare images")
    return problems


def save(path: Path, model: onnx.ModelProto, weights: Weights) -> None:
    """Write the model and its weights; large ones go to a file next to it.

    Raises ExportError if it cannot; existing files are then intact.
    """
    large = sum(array.nbytes for array in weights.values()) >= LARGE
    try:
        with exclusive(path.parent) as alone:
            kept = None
            if large:
                kept = attach(path, model, weights)
            else:
                embed(model, weights)
            with atomic_write(path) as file:
                file.write(seal(model.SerializeToString()))
            if alone:  # left by earlier exports, some of which were killed
                digits = "[0-9a-f]" * 8
                data = f"{escape(path.name)}.{digits}.data"
                for pattern in (data, f"{data}.{digits}.partial"):
                    for left in path.parent.glob(pattern):
                        if left != kept:
                            left.unlink(missing_ok=True)
    except OSError as error:
        raise ExportError(f"cannot write {shown(path)}: {error.strerror}") from None


def embed(model: onnx.ModelProto, weights: Weights) -> None:
    """Put the weights into the model."""
    for name, array in weights.items():
        model.graph.initializer.add(
            name=name,
            data_type=TensorProto.FLOAT,
            dims=array.shape,
            raw_data=array.tobytes(),
        )


def attach(path: Path, model: onnx.ModelProto, weights: Weights) -> Path:
    """Write the weights of the model at `path` to a file next to it; return that."""
    digest = hashlib.sha256()
    for part in pages(weights):
        digest.update(part)
    checksum = digest.hexdigest()
    data = path.with_name(f"{path.name}.{checksum[:8]}.data")
    with atomic_write(data) as file:
        for part in pages(weights):
            file.write(part)
    offset = 0
    for name, array in weights.items():
        tensor = model.graph.initializer.add(
            name=name,
            data_type=TensorProto.FLOAT,
            dims=array.shape,
            data_location=TensorProto.EXTERNAL,
        )
        place = {"location": data.name, "offset": offset, "length": array.nbytes}
        for key, value in place.items():
            tensor.external_data.add(key=key, value=str(value))
        offset += array.nbytes + -array.nbytes % PAGE
    written = json.dumps({"file": data.name, "sha256": checksum})
    model.metadata_props.add(key="weights", value=written)
    return data


def pages(weights: Weights) -> Iterator[memoryview | bytes]:
    """Yield the bytes of the weights; each tensor is padded to whole pages."""
    for array in weights.values():
        yield array.data.cast("B") if array.size else b""
        yield bytes(-array.nbytes % PAGE)
