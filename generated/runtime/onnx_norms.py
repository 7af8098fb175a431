"""Replaces the nodes of response norms with nodes that run faster."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import groupby

import numpy as np
import onnx
import onnx.parser
from onnx import helper, numpy_helper

BETA = 0.75  # the usual power


def decompose_norms(graph: onnx.GraphProto) -> None:
    """Replace every LRN and every power of 0.75.

    On a CPU, onnxruntime takes ten times as long for an LRN, and four times as long for
    the power. A layer of several LRNs, with a Split and a Concat, is replaced as one.
    """
    channels = {
        value.name: value.type.tensor_type.shape.dim[1].dim_value
        for value in (*graph.value_info, *graph.output)
    }
    nodes: list[onnx.NodeProto] = []
    for _, group in groupby(graph.node, _layer):
        layer = list(group)
        if any(node.op_type == "LRN" for node in layer):
            layer, constants = _decompose(layer, channels[layer[-1].output[0]])
            graph.initializer.extend(constants)
        nodes += layer
    scalars = {
        c.name: numpy_helper.to_array(c) for c in graph.initializer if not c.dims
    }
    del graph.node[:]
    for node in nodes:
        usual = node.op_type == "Pow" and scalars.get(node.input[1]) == BETA
        graph.node.extend(_roots(node) if usual else [node])
    used = {name for node in graph.node for name in (*node.input, *node.output)}
    for values in (graph.initializer, graph.value_info):
        kept = [value for value in values if value.name in used]
        del values[:]
        values.extend(kept)


def _layer(node: onnx.NodeProto) -> str:
    """The layer that a node is part of: `norm1` of `/norm1/Split`."""
    name: str = node.name.split("/")[1]
    return name


def _decompose(
    layer: Sequence[onnx.NodeProto], channels: int
) -> tuple[list[onnx.NodeProto], list[onnx.TensorProto]]:
    """Return a layer's LRNs as x / (k + window sum of squares) ** beta, and constants.

    The sum, times alpha / size, is a 1x1 convolution with a band around the diagonal.
    """
    norms = [node for node in layer if node.op_type == "LRN"]
    norm = {f.name: helper.get_attribute_value(f) for f in norms[0].attribute}
    channel = np.arange(channels // len(norms))
    near = abs(channel[:, None] - channel) <= norm["size"] // 2
    band = near[:, :, None, None] * (norm["alpha"] / norm["size"])
    constants = {
        "band": np.tile(band, (len(norms), 1, 1, 1)),
        "k": np.full(channels, norm["bias"]),
        "beta": np.array(norm["beta"]),
    }
    steps = _nodes(
        "squares = Mul(x, x)",
        f"base = Conv <group: int = {len(norms)}> (squares, band, k)",
        "power = Pow(base, beta)",
        "y = Div(x, power)",
        layer=_layer(layer[0]),
        x=layer[0].input[0],
        y=layer[-1].output[0],
    )
    return steps, [
        numpy_helper.from_array(array.astype(np.float32), f"{_layer(layer[0])}.{name}")
        for name, array in constants.items()
    ]


def _roots(power: onnx.NodeProto) -> list[onnx.NodeProto]:
    """Return a power of 0.75 as three cheap steps."""
    return _nodes(
        "root = Sqrt(base)",
        "cube = Mul(root, base)",
        "power = Sqrt(cube)",
        layer=_layer(power),
        base=power.input[0],
        power=power.output[0],
    )


def _nodes(*texts: str, layer: str, **names: str) -> list[onnx.NodeProto]:
    """Return nodes of a layer: tensors are called as in `names`, or after the layer."""
    steps = [onnx.parser.parse_node(text) for text in texts]
    for step in steps:
        (made,) = step.output
        step.name = f"/{layer}" if made == "y" else f"/{layer}/{made}"
        for tensors in (step.input, step.output):
            tensors[:] = [names.get(name, f"{layer}.{name}") for name in tensors]
    return steps
