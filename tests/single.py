"""Networks of one op, compiled and run without the rest of a spec."""

from __future__ import annotations

import warnings
from collections.abc import Mapping
from dataclasses import replace
from functools import cache
from pathlib import Path
from typing import Any

import torch
from helpers import compile_data, import_file
from strategies import OPS
from torch import Tensor, nn

from specgen.backends import torch as backend
from specgen.compiler import Program
from specgen.diagnostics import Problems
from specgen.graph import INPUT, Assignment, Graph, Node
from specgen.ops.applied import Applied
from specgen.ops.base import Op, Shape
from specgen.passes.placement import on_one_device, place

ONE = "one"
KEPT = OPS.validate_python({"op": "dropout", "p": 0})  # changes nothing


@cache
def _empty() -> Program:
    layers = {"flat": {"op": "flatten"}, "fc": {"op": "linear", "out_features": 2}}
    size = {"channels": 3, "height": 1, "width": 1}
    return compile_data({"specgen": 1, "name": "Net", "input": size, "layers": layers})


def alone(op: Op, x: Shape) -> Program:
    """Compile a network of this op; what comes before it has no parameters."""
    return _chain({"before": _reader(x), ONE: op}, x)


def after_learner(op: Op, x: Shape) -> Program:
    """Compile a network in which a layer with parameters makes what the op reads."""
    conv = {"op": "conv2d", "out_channels": x[0], "kernel_size": 1}
    learner = OPS.validate_python(conv)
    return _chain({"learner": learner, "before": _reader(x), ONE: op}, x)


def shared(op: Op, x: Shape, devices: int) -> Program:
    """Compile a network of this op, split over devices; what is around it is on one."""
    program = _chain({"before": _reader(x), ONE: op, "after": KEPT}, x)
    names = tuple(f"gpu{index}" for index in range(devices))
    where = {"before": names[:1], ONE: names, "after": names[:1]}
    problems = Problems()
    placed = place(program.graph, Assignment(names, where), problems)
    assert placed, list(problems)
    return replace(program, placed=placed)


def _chain(ops: Mapping[str, Op], x: Shape) -> Program:
    nodes: list[Node] = []
    shape, read = _image(x), INPUT
    for name, op in ops.items():
        nodes.append(Node(name, Applied(op, (shape,)), (read,)))
        shape, read = nodes[-1].shape, name
    graph = Graph(_image(x), tuple(nodes))
    return replace(_empty(), graph=graph, placed=on_one_device(graph))


def _image(x: Shape) -> Shape:
    """An image with as many values in each channel as x has."""
    return (*x, 1, 1)[:3]


def _reader(x: Shape) -> Op:
    """What makes x of such an image; there is one, as a softmax must not be first."""
    if len(x) == 3:
        return KEPT
    return OPS.validate_python({"op": "reshape", "shape": [*x]})


def text(program: Program) -> str:
    """Return the generated model.py."""
    parts = program.spec, program.source, program.stem, program.placed
    return backend.render(*parts, files=["model.py"])["model.py"]


def built(program: Program, folder: Path, device: str = "cpu") -> Any:
    """Return the generated network, ready for inference."""
    path = folder / "model.py"
    path.write_text(text(program))
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", message=".*meta parameter")
        return import_file(path).Net([device] * len(program.placed.devices)).eval()


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
    found = {}
    for name, tensor in net.state_dict().items():
        values = torch.randn(tensor.shape, generator=generator, dtype=torch.float64)
        if "_proj" in name:  # of scores that large, the exponentials are not exact
            values /= tensor.shape[-1] ** 0.5
        if name.endswith("running_var"):
            values = values.abs() + 0.5
        found[name] = values if tensor.is_floating_point() else tensor
    return found
