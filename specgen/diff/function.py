"""What a layer computes in evaluation, as a value that can be compared.

It is the ONNX form, without what has no effect: padding and strides that no window
reaches.
"""

from __future__ import annotations

from collections.abc import Hashable, Mapping
from typing import Any

from specgen.graph import INPUT, Graph
from specgen.ops.base import OnnxNode, Op, Shape

Meaning = Hashable


def meaning(op: Op, x: Shape) -> Meaning:
    """Return what `op` makes of an input of shape `x`, given the values of its tensors.

    Raises:
        Refusal: it cannot read x.
    """
    shape = op.output(x)
    return shape, tuple(_node(node, node.shape or shape) for node in op.onnx(x))


def computed(graph: Graph, numbers: dict[Meaning, int]) -> int:
    """Return a number for everything that the network computes up to the logits.

    Two graphs with the same `numbers` get the same one if each value is the same
    function of the same tensors, whatever layers without tensors are called, and
    however independent layers are ordered.
    """
    values = {INPUT: numbers.setdefault((INPUT, graph.input_shape), len(numbers))}
    logits = values[INPUT]
    for node in graph.nodes:
        inputs = tuple(values[name] for name in node.inputs)
        if node.op.training_only:
            values[node.name] = inputs[0]
            continue
        key = (meaning(node.op, node.x), inputs, tuple(node.tensors))
        values[node.name] = numbers.setdefault(key, len(numbers))
        if not node.op.after_logits:
            logits = values[node.name]
    return logits


def _node(node: OnnxNode, output: Shape) -> Meaning:
    attributes = dict(node.attributes)
    if "kernel_shape" in attributes:
        attributes |= _window(attributes, output)
    return (
        node.op_type,
        node.inputs,
        tuple(sorted(attributes.items())),
        tuple(sorted(node.constants.items())),
        tuple(node.results),
    )


def _window(attributes: Mapping[str, Any], output: Shape) -> dict[str, Hashable]:
    """The attributes of a window whose number of places is known to be `output`.

    So padding counts only where the first window begins, a stride only if there is a
    second window, a dilation only if a window has a second value.
    """
    ones = (1, 1)
    strides = attributes.get("strides", ones)
    dilations = attributes.get("dilations", ones)
    return {
        "pads": tuple(attributes.get("pads", (0, 0)))[:2],
        "strides": tuple(
            stride if size > 1 else 1
            for stride, size in zip(strides, output[1:], strict=True)
        ),
        "dilations": tuple(
            dilation if size > 1 else 1
            for dilation, size in zip(
                dilations, attributes["kernel_shape"], strict=True
            )
        ),
    }
