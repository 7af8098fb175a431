"""The content of a source: its sections, and its layers with their shapes.

What is wrong is reported, and is unknown from then on; what reads an unknown is unknown
as well, silently. So one wrong layer or section hides nothing beside it.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Iterator, Mapping
from dataclasses import dataclass, replace
from functools import cache
from typing import Any

from specgen.diagnostics import LIMIT_HELP, Diagnostic, Path, Problems
from specgen.frontend.validate import Form, validate, validate_fields
from specgen.graph import INPUT, Graph, Node
from specgen.names import attribute_problem, class_problem
from specgen.ops import AnyOp
from specgen.ops.base import Op, Refusal, Shape, volume
from specgen.ops.weighted import Init
from specgen.source import Source
from specgen.spec import Input, Placement, Spec
from specgen.spec.data import Data
from specgen.spec.training import Training

LAYERS = "layers"
KNOWN = ("input", "init", "placement", "data", "training")  # what later steps read
# Values in one tensor, of one image: 4 TiB. With a batch, bytes still fit in 64 bits.
MOST_VALUES = 2**40


@dataclass(frozen=True, slots=True)
class Draft:
    """A spec as far as it is known: None is what is wrong, or reads what is wrong.

    `graph` has the layers that are sound, perhaps with gaps between them. Of the layers
    `unplaced` it is not clear where in the network they belong.
    """

    input: Input | None
    layers: Mapping[str, Op | None]
    init: Init | None
    placement: Placement | None
    data: Data | None
    training: Training | None
    others: Mapping[str, Any]
    graph: Graph | None
    unplaced: frozenset[str]

    @property
    def ops(self) -> list[Op] | None:
        """The ops of all layers, if none is wrong."""
        ops = [op for op in self.layers.values() if op]
        return ops if len(ops) == len(self.layers) else None

    @property
    def network(self) -> Graph | None:
        """The graph, if it has all layers."""
        graph, count = self.graph, len(self.layers)
        return graph if graph and count == len(graph.nodes) > 0 else None

    @property
    def whole(self) -> bool:
        """Whether every section is known, though they may contradict each other."""
        sections = [getattr(self, name) for name in KNOWN]
        return self.network is not None and None not in (*sections, self.others["name"])

    def spec(self) -> Spec:
        """Return the spec; nothing in it is unknown."""
        return Spec.model_construct(
            input=self.input,
            layers=self.layers,
            init=self.init,
            placement=self.placement,
            data=self.data,
            training=self.training,
            **self.others,
        )


def elaborate(source: Source, problems: Problems) -> Draft:
    """Check the form of all sections, and infer the shape of each layer."""
    sections = validate_fields(
        Spec, source.data, problems, instead={LAYERS: dict[str, Any]}
    )
    written: dict[str, Any] | None = sections[LAYERS]
    if written == {}:
        message = "a network needs at least one layer"
        problems.add(Diagnostic("no-layers", message, (LAYERS,)))
    layers = {
        name: validate(_op(), value, (LAYERS, name), problems)
        for name, value in (written or {}).items()
    }
    # A stand-in replaces what could not be read.
    unread = [problem.path for problem in source.problems if problem.path]
    for section, *inner in unread:
        if section == LAYERS and inner:
            layers[str(inner[0])] = None
        elif section in sections:
            sections[str(section)] = None
    placement: Placement | None = sections["placement"]
    devices = placement.devices if placement else {}
    problems.add(*_check_names(sections["name"], layers, devices))
    graph = _graph(sections["input"], layers, source.comments, problems)
    unplaced = frozenset(str(path[1]) for path in unread if path[:-1] == (LAYERS,))
    del sections[LAYERS]
    known = {key: sections.pop(key) for key in KNOWN}
    return Draft(
        layers=layers, others=sections, graph=graph, unplaced=unplaced, **known
    )


@cache
def _op() -> Form[Op]:
    return Form(AnyOp)


def _graph(
    size: Input | None,
    layers: Mapping[str, Op | None],
    comments: Mapping[Path, tuple[str, ...]],
    problems: Problems,
) -> Graph | None:
    """Return the layers whose shapes are known; each reads the one before it."""
    shapes: dict[str, Shape] = {}
    if size:
        image = (size.channels, size.height, size.width)
        found = list(_too_large({"the input": image}, ("input",)))
        problems.add(*found)
        shapes = {} if found else {INPUT: image}
    nodes, read = [], INPUT
    for name, op in layers.items():
        x = shapes.get(read)
        found = list(_of_layer(name, op.check_fields())) if op else []
        if op and x and (shape := _output(name, op, x, problems)):
            shapes[name] = shape
            found += _of_layer(name, op.check(x))
            if not found:
                above = comments.get((LAYERS, name), ())
                nodes.append(Node(name, op, (read,), (x,), shape, above))
        problems.add(*found)
        read = name
    return Graph(shapes[INPUT], tuple(nodes)) if shapes else None


def _output(name: str, op: Op, x: Shape, problems: Problems) -> Shape | None:
    """Return the shape of a layer's output for input x, if there is one."""
    try:
        shape = op.output(x)
    except Refusal as refusal:
        problems.add(*_of_layer(name, [refusal.diagnostic]))
        return None
    tensors = {"the output": shape} | {
        f"the {leaf}": whole for leaf, whole in op.shapes(x).items()
    }
    if found := list(_of_layer(name, _too_large(tensors, ()))):
        problems.add(*found)
        return None
    return shape


def _too_large(tensors: Mapping[str, Shape], path: Path) -> Iterator[Diagnostic]:
    for what, shape in tensors.items():
        if volume(shape) > MOST_VALUES:
            size = " x ".join(map(str, shape))
            message = f"{what}, {size}, has more than {MOST_VALUES} values"
            yield Diagnostic("out-of-range", message, path, help=LIMIT_HELP)


def _of_layer(name: str, found: Iterable[Diagnostic]) -> Iterator[Diagnostic]:
    """Name the layer, and complete the paths."""
    for problem in found:
        path = (LAYERS, name, *(problem.path or ()))
        yield replace(problem, message=f"{name}: {problem.message}", path=path)


def _check_names(
    name: str | None, layers: Collection[str], devices: Collection[str]
) -> Iterator[Diagnostic]:
    """Yield the names that generated code cannot use."""
    if name is not None and (problem := class_problem(name)):
        yield Diagnostic("bad-name", problem, ("name",))
    sections: dict[Path, Collection[str]] = {
        (LAYERS,): layers,
        ("placement", "devices"): devices,
    }
    for section, names in sections.items():
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
