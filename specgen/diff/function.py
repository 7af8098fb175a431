"""What a layer computes in evaluation, as a value that can be compared.

It is the ONNX form, without what has no effect: padding and strides that no window
reaches.
"""

from __future__ import annotations

from collections.abc import Hashable, Mapping
from typing import Any

from specgen.graph import INPUT, Graph
from specgen.ops.applied import Applied
from specgen.ops.base import OnnxNode, Shape

Meaning = Hashable


def meaning(applied: Applied) -> Meaning:
    """Return what an op makes of its inputs, given the values of its tensors.

    Raises:
        Refusal: it cannot read them.
    """
    shape = applied.output
    return shape, tuple(_node(node, node.shape or shape) for node in applied.onnx)


def values(
    graph: Graph,
    numbers: dict[Meaning, int],
    names: Mapping[str, str] | None = None,
    *,
    training: bool = False,
) -> dict[str, int]:
    """Return a number for each value of a network, by its name.

    Of one or several graphs with the same `numbers`, values get the same number if they
    are the same function of the same tensors, whatever layers without tensors are
    called, however independent layers are ordered, and in whatever order a sum or a
    product reads its terms, which is the same up to rounding.

    Args:
        graph: the network.
        numbers: those given so far.
        names: other names to use for tensors.
        training: whether layers that act only in training count.
    """
    names = names or {}
    found = {INPUT: numbers.setdefault((INPUT, graph.input_shape), len(numbers))}
    for node in graph.nodes:
        inputs = [found[name] for name in node.inputs]
        if node.op.training_only and not training:
            found[node.name] = inputs[0]
            continue
        if node.op.commutes:
            inputs.sort()
        does = node.op if node.op.training_only else meaning(node.applied)
        tensors = tuple(names.get(name, name) for name in node.tensors)
        key = (does, tuple(inputs), tensors)
        found[node.name] = numbers.setdefault(key, len(numbers))
    return found


def computed(graph: Graph, found: Mapping[str, int]) -> int:
    """Return the number of what `forward` returns, of those of all values."""
    last = graph.nodes[-1]
    return found[last.inputs[0] if graph.has_probabilities else last.name]


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
