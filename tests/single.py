"""Networks of one op, compiled and run without the rest of a spec."""

from __future__ import annotations

import warnings
from dataclasses import replace
from functools import cache
from pathlib import Path
from typing import Any

import torch
from helpers import compile_data, import_file
from op_examples import Data
from strategies import OPS
from torch import Tensor, nn

from specgen.backends import torch as backend
from specgen.compiler import Program
from specgen.graph import INPUT, Graph, Node
from specgen.ops.base import Op, Shape
from specgen.passes.placement import on_one_device

ONE = "one"


@cache
def _empty() -> Program:
    layers = {"flat": {"op": "flatten"}, "fc": {"op": "linear", "out_features": 2}}
    size = {"channels": 3, "height": 1, "width": 1}
    return compile_data({"specgen": 1, "name": "Net", "input": size, "layers": layers})


def alone(op: Op, x: Shape) -> Program:
    """Compile a network of this op; what comes before it has no parameters."""
    return _chain([*_reading(x), op], _image(x))


def after_learner(op: Op, x: Shape) -> Program:
    """Compile a network in which a layer with parameters makes what the op reads."""
    conv = {"op": "conv2d", "out_channels": x[0], "kernel_size": 1}
    return _chain([OPS.validate_python(conv), *_reading(x), op], _image(x))


def _image(x: Shape) -> Shape:
    """An image with as many values in each channel as x has."""
    return (*x, 1, 1)[:3]


def _reading(x: Shape) -> list[Op]:
    """Ops that make x of such an image; a softmax must not be the first."""
    maps: Data = {"op": "dropout", "p": 0}
    layer = maps if len(x) == 3 else {"op": "flatten"}
    return [OPS.validate_python(layer)]


def _chain(ops: list[Op], image: Shape) -> Program:
    nodes: list[Node] = []
    shape, read = image, INPUT
    for index, op in enumerate(ops, 1 - len(ops)):
        name = f"before{-index}" if index else ONE
        nodes.append(Node(name, op, (read,), (shape,), op.output(shape)))
        shape, read = nodes[-1].shape, name
    graph = Graph(image, tuple(nodes))
    return replace(_empty(), graph=graph, placed=on_one_device(graph))


def text(program: Program) -> str:
    """Return the generated model.py."""
    parts = program.spec, program.source, program.stem, program.placed
    return backend.render(*parts)["model.py"]


def built(program: Program, folder: Path, device: str = "cpu") -> Any:
    """Return the generated network, ready for inference."""
    path = folder / "model.py"
    path.write_text(text(program))
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", message=".*meta parameter")
        return import_file(path).Net([device]).eval()


def run(net: nn.Module, x: Tensor) -> Tensor:
    """Return what the op makes of x, be it a softmax."""
    function: Any = getattr(net, "probabilities", net)
    y: Tensor = function(as_image(x))
    return y


def as_image(x: Tensor) -> Tensor:
    """Return what the network makes x of."""
    return x.reshape(len(x), *_image(tuple(x.shape[1:])))


def drawn(net: nn.Module) -> dict[str, Tensor]:
    """Draw values of order 1 for all tensors of a network."""
    generator = torch.Generator().manual_seed(1)
    return {
        name: torch.randn(tensor.shape, generator=generator, dtype=torch.float64)
        for name, tensor in net.state_dict().items()
    }
