"""Runs model.onnx in onnxruntime."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import onnxruntime
from torch import Tensor, from_numpy, get_num_threads

from specgen.backends.onnx import tensor_names, with_all_outputs
from specgen.compiler import Program
from specgen.graph import INPUT
from specgen.verify.measure import images, without_batch


def outputs(
    path: Path, program: Program, weights: Mapping[str, Tensor]
) -> dict[str, Tensor]:
    """Run a batch and return the outputs by name."""
    return _run(path.read_bytes(), program, weights)


def shapes(
    path: Path, program: Program, weights: Mapping[str, Tensor]
) -> dict[str, list[int]]:
    """Run a batch with every tensor as an output; return the shape of each layer's."""
    names = [node.name for node in program.graph.nodes]
    found = layers(path, program, weights, names)
    return {name: list(without_batch(x)) for name, x in found.items()}


def layers(
    path: Path, program: Program, weights: Mapping[str, Tensor], some: Sequence[str]
) -> dict[str, Tensor]:
    """Run a batch with every tensor as an output; return those of some layers."""
    tensors = _run(with_all_outputs(path.read_bytes()), program, weights)
    names = tensor_names(program.graph)
    return {layer: tensors[names[layer]] for layer in some}


def _run(
    model: bytes, program: Program, weights: Mapping[str, Tensor]
) -> dict[str, Tensor]:
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = get_num_threads()  # as many as torch was given
    options.add_session_config_entry("session.intra_op.allow_spinning", "0")
    session = onnxruntime.InferenceSession(
        model, options, providers=["CPUExecutionProvider"]
    )
    names = [output.name for output in session.get_outputs()]
    found = {INPUT: images(program), **weights}
    feed = {each.name: found[each.name].numpy() for each in session.get_inputs()}
    arrays: Any = session.run(names, feed)
    return {name: from_numpy(x) for name, x in zip(names, arrays, strict=True)}
