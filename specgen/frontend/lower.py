"""Spec -> logical graph: each layer reads the one before it; names are checked."""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping

from specgen.diagnostics import Diagnostic, Path, SpecError
from specgen.graph import INPUT, Graph, Node
from specgen.names import attribute_problem, class_problem
from specgen.spec import Spec


def lower(spec: Spec, comments: Mapping[Path, tuple[str, ...]]) -> Graph:
    """Build the graph; `comments` are those above each layer in the spec.

    Raises:
        SpecError: there are no layers.
    """
    if not spec.layers:
        message = "a network needs at least one layer"
        raise SpecError([Diagnostic("no-layers", message, ("layers",))])
    nodes, previous = [], INPUT
    for name, op in spec.layers.items():
        nodes.append(
            Node(name, op, (previous,), comments=comments.get(("layers", name), ()))
        )
        previous = name
    size = spec.input
    return Graph((size.channels, size.height, size.width), tuple(nodes))


def check_names(
    name: str, layers: Collection[str], devices: Collection[str]
) -> Iterator[Diagnostic]:
    """Yield the names that generated code cannot carry."""
    if problem := class_problem(name):
        yield Diagnostic("bad-name", problem, ("name",))
    for section, names in (
        (("layers",), layers),
        (("placement", "devices"), devices),
    ):
        for each in names:
            if each == INPUT:
                problem = f"{INPUT!r} already names the image that the network reads"
            else:
                problem = attribute_problem(each)
            if problem:
                yield Diagnostic("bad-name", problem, (*section, each), at_key=True)
    for each in devices:
        if each in layers:
            message = f"{each!r} is both a layer and a device"
            place = ("placement", "devices", each)
            yield Diagnostic("bad-name", message, place, at_key=True)
