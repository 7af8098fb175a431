"""Replaces ONNX's LRN nodes with nodes that run faster."""

from __future__ import annotations

import numpy as np
import onnx
import onnx.parser
from onnx import helper, numpy_helper


def decompose_norms(graph: onnx.GraphProto) -> None:
    """Replace every LRN, which takes onnxruntime ten times as long on a CPU."""
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
