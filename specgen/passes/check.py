"""Whether the parts of a spec fit together: ending, starts, recipe, images, budgets."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from specgen.diagnostics import Diagnostic, Problems
from specgen.frontend.elaborate import Draft
from specgen.graph import Graph, PlacedGraph
from specgen.names import TENSORS
from specgen.ops.base import Op, volume
from specgen.ops.normalization import BatchNorm2d, Norm
from specgen.ops.weighted import Weighted, check_default
from specgen.passes.budget import check_budget
from specgen.passes.placement import MOST_STEPS, TOO_LARGE
from specgen.spec import data, training
from specgen.spec.training import Training


def check(
    draft: Draft, placed: PlacedGraph | None, problems: Problems, images: int | None
) -> None:
    """Report contradictions between the parts that are known.

    Budgets are for `images` at once; by default, for those of the recipe.
    """
    refused = {problem.path for problem in problems}
    inside = list(_check_softmax(draft))
    for found in inside:
        if found.path and problems.place(found.path) not in refused:
            problems.add(found)
    if graph := draft.network:
        problems.add(*_check_ending(graph))
        problems.add(*_check_size(graph))
        problems.add(*_check_names(graph))
        if draft.training:
            problems.add(*_check_norms(graph, draft.training))
    if draft.ops is not None:
        problems.add(*_check_starts(draft, draft.ops))
    if draft.data and draft.input:
        size = draft.input
        problems.add(*data.check(draft.data, size.channels, size.height, size.width))
    if draft.training:
        problems.add(*training.check(draft.training))
    if placed and not inside:
        _check_whole(placed, problems)
        if draft.placement and draft.training:
            check_budget(placed, draft.placement, draft.training, problems, images)


def _check_softmax(draft: Draft) -> Iterator[Diagnostic]:
    readers: dict[str, str] = {}
    for after, names in draft.reads.items():
        for name in names if after not in draft.unplaced else ():
            readers.setdefault(name, after)
    for name, after in readers.items():
        op = draft.layers.get(name)
        if op and op.after_logits:
            yield Diagnostic(
                "softmax-inside",
                f"{name}: softmax must be the last layer, but {after} reads it",
                ("layers", name, "op"),
                help="move it to the end; `forward` gives the logits before it",
            )


def _check_size(graph: Graph) -> Iterator[Diagnostic]:
    """Each group of a norm, for example, is an ONNX node."""
    steps = 0
    for node in graph.nodes:
        steps += len(node.applied.onnx)
        if steps > MOST_STEPS:
            yield TOO_LARGE
            return


def _check_names(graph: Graph) -> Iterator[Diagnostic]:
    """A layer without a module would be taken for a tensor of one."""
    for node in graph.nodes:
        if "" in node.applied.tensors and node.leaf in TENSORS:
            yield Diagnostic(
                "bad-name",
                f"{node.name}: {node.leaf!r} already names a tensor of torch modules,"
                f" and {node.op.op} is itself a tensor",
                ("layers", node.name),
                at_key=True,
                help=f"write {node.leaf}1",
            )


def _check_ending(graph: Graph) -> Iterator[Diagnostic]:
    """The loss and `probabilities` need one score per class at the end."""
    nodes = graph.nodes
    if not any(node.applied.parameters for node in nodes):
        message = "no layer has parameters, so there is nothing to train"
        yield Diagnostic("no-layers", message, ("layers",))
    if graph.has_probabilities and len(nodes) == 1:
        yield Diagnostic("no-layers", "nothing comes before the softmax", ("layers",))
    last = nodes[-1]
    if len(last.shape) != 1:
        kinds = {2: ("tokens", "select"), 3: ("maps", "flatten")}
        what, first = kinds.get(len(last.shape), ("values", "reshape"))
        scores = first == "flatten" and volume(last.shape[1:]) == 1
        yield Diagnostic(
            "no-classes",
            f"the network ends in {what} {last.shape}, not in one score per class",
            ("layers", last.name),
            help=f"insert {{op: flatten}} after it: it has {last.shape[0]} scores"
            if scores
            else f"end it with {first}, linear and softmax layers",
        )
    if last.shape == (1,):
        made = next((n for n in reversed(nodes) if isinstance(n.op, Weighted)), last)
        sizes = ("out_features", "out_channels")
        key = next((size for size in sizes if hasattr(made.op, size)), "op")
        yield Diagnostic(
            "no-classes",
            "the network ends in a single score, so its loss is always 0",
            ("layers", made.name, key),
            help="there must be at least two classes",
        )


def _check_norms(graph: Graph, recipe: Training) -> Iterator[Diagnostic]:
    """A batch norm needs a variance, and processes in step if it is synchronized."""
    passes = recipe.accumulate
    place = ("training", "accumulate" if passes > 1 else "batch_size")
    for node in graph.nodes:
        if recipe.images < node.applied.least_images:
            message = f"{node.name} has no variance with one image at a time"
            help = "a batch norm of single pixels needs at least two images"
            yield Diagnostic("training-mismatch", message, place, help=help)
            return
        synchronized = isinstance(node.op, BatchNorm2d) and node.op.synchronized
        if passes > 1 and synchronized:
            message = f"{node.name} is synchronized, but processes may differ in passes"
            help = "leave out synchronized, or accumulate"
            yield Diagnostic("training-mismatch", message, place, help=help)
            return


def _check_starts(draft: Draft, ops: Sequence[Op]) -> Iterator[Diagnostic]:
    """A setting for parameters needs parameters that it applies to."""
    if draft.init:
        yield from check_default(draft.init, ops)
    norms = any(isinstance(op, Norm) and op.affine for op in ops)
    biases = any(isinstance(op, Weighted) and op.bias for op in ops)
    if draft.training and not (biases or norms):
        yield from training.check_biases(draft.training)
    if draft.training and not norms:
        yield from training.check_norms(draft.training)


def _check_whole(placed: PlacedGraph, problems: Problems) -> None:
    last = placed.layers[-1]
    if len(last.shares) > 1:
        name = last.node.name
        message = f"{name} is the last layer, and the loss needs its whole output"
        help = "place it on one device"
        place, causes = ("layers", name), (("placement", "layers"),)
        found = Diagnostic("cannot-split", message, place, help=help, causes=causes)
        problems.add(found)
