"""Infers the shape of every tensor, and refuses what does not fit together."""

from __future__ import annotations

from dataclasses import replace
from itertools import pairwise

from specgen.diagnostics import Diagnostic, SpecError
from specgen.graph import INPUT, Graph, Node
from specgen.ops.base import Refusal, Shape


def infer_shapes(graph: Graph) -> Graph:
    """Set `input_shapes` and `shape` of every node.

    Raises:
        SpecError: every layer that cannot work. Behind a layer without an output shape
            nothing more can be said.
    """
    shapes: dict[str, Shape] = {INPUT: graph.input_shape}
    nodes: list[Node] = []
    problems: list[Diagnostic] = []
    for node in graph.nodes:
        inputs = tuple(shapes[name] for name in node.inputs)
        try:
            shape = node.op.output(inputs[0])
        except Refusal as refusal:
            problems.append(_located(node, refusal.diagnostic))
            break
        problems += [_located(node, found) for found in node.op.check(inputs[0])]
        shapes[node.name] = shape
        nodes.append(replace(node, input_shapes=inputs, shape=shape))
    if problems:
        raise SpecError(problems)
    return replace(graph, nodes=tuple(nodes))


def _located(node: Node, found: Diagnostic) -> Diagnostic:
    """Name the layer and complete the path."""
    path = ("layers", node.name, *(found.path or ()))
    return replace(found, message=f"{node.name}: {found.message}", path=path)


def check_ending(graph: Graph) -> None:
    """The loss and `probabilities` need one score a class at the end.

    Raises:
        SpecError: the network ends otherwise.
    """
    nodes = graph.nodes
    problems = [
        Diagnostic(
            "softmax-inside",
            f"{node.name}: softmax ends a network, and here {after.name} reads it",
            ("layers", node.name, "op"),
            help="move it to the end; `forward` gives the logits before it",
        )
        for node, after in pairwise(nodes)
        if node.op.after_logits
    ]
    if not any(node.parameters() for node in nodes):
        problems.append(
            Diagnostic(
                "no-layers", "no layer has parameters: nothing can learn", ("layers",)
            )
        )
    last = nodes[-1]
    if graph.has_probabilities and len(nodes) == 1:
        problems.append(
            Diagnostic("no-layers", "nothing comes before the softmax", ("layers",))
        )
    if len(last.shape) != 1:
        problems.append(
            Diagnostic(
                "no-classes",
                f"the network ends in maps {last.shape}, not in one score a class",
                ("layers", last.name),
                help="end it with flatten, linear and softmax layers",
            )
        )
    if problems:
        raise SpecError(problems)
