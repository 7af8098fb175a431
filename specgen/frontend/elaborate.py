"""The content of a source: its sections, and its layers with their shapes.

What is wrong is reported and is unknown from then on. What reads something unknown is
unknown as well, silently. So a wrong layer or section does not hide errors elsewhere.
"""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from specgen.diagnostics import Diagnostic, Path, Problems
from specgen.frontend.definitions import BLOCKS, PARAMS
from specgen.frontend.entries import Ops, Reader
from specgen.frontend.known import Known
from specgen.frontend.layers import LAYERS
from specgen.frontend.network import Network
from specgen.frontend.slips import outside, unindented
from specgen.frontend.validate import validate_fields
from specgen.graph import INPUT, Graph
from specgen.names import attribute_problem, class_problem, write_instead
from specgen.ops.base import Op
from specgen.ops.weighted import Init
from specgen.source import Source
from specgen.spec import Input, Placement, Spec
from specgen.spec.data import Data
from specgen.spec.training import Training

WRITTEN = (LAYERS, BLOCKS, PARAMS)  # which are not of the final form
KNOWN = ("input", "init", "placement", "data", "training")  # what later steps read


@dataclass(frozen=True, slots=True)
class Draft:
    """A spec as far as it is known: None is what is wrong, or reads what is wrong.

    `graph` has the layers that are sound, perhaps with gaps between them. `reads` has
    the layers that each layer reads, as far as these exist. `left_out` has the paths of
    what `when` leaves out, with the index of the next layer. It is unclear where in the
    network the `unplaced` layers belong.
    """

    input: Input | None
    layers: Mapping[str, Op | None]
    reads: Mapping[str, tuple[str, ...]]
    init: Init | None
    placement: Placement | None
    data: Data | None
    training: Training | None
    others: Mapping[str, Any]
    graph: Graph | None
    left_out: Mapping[str, int]
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
    lost = unindented(source.data)
    data = {key: value for key, value in source.data.items() if key not in lost}
    instead = dict.fromkeys(WRITTEN, dict[str, Any])
    with problems.through(lambda problem: outside(problem, source.data)) as found:
        sections = validate_fields(Spec, data, found, instead=instead)
    # A stand-in replaces what could not be read.
    unread = [problem.path for problem in source.problems if problem.path]
    for section, *inner in unread:
        if section in sections and not (section in (LAYERS, BLOCKS) and inner):
            sections[str(section)] = None
    network = _network(sections, source, unread, problems)
    layers = network.layers
    placement: Placement | None = sections["placement"]
    devices = placement.devices if placement else {}
    problems.add(*_check_names(sections["name"], sections[LAYERS] or {}, devices))
    del sections[LAYERS]
    known = {key: sections.pop(key) for key in KNOWN}
    return Draft(
        layers=layers.ops,
        reads=layers.reads,
        others=sections,
        graph=network.graph(),
        left_out=network.left_out,
        unplaced=frozenset(str(path[1]) for path in unread if path[:-1] == (LAYERS,)),
        **known,
    )


def _network(
    sections: Mapping[str, Any],
    source: Source,
    unread: Collection[Path],
    problems: Problems,
) -> Network:
    """Return the layers that the sections define."""
    ops = Ops()
    reader = Reader(ops, unread, problems)
    before = len(problems)
    known = Known({}, incomplete=sections[PARAMS] is None)
    params = reader.params(sections[PARAMS] or {}, known)
    blocks = reader.blocks(sections[BLOCKS], known)
    layers = sections[LAYERS]
    entries = None if layers is None else reader.entries(layers, (LAYERS,), known)
    if entries and len(problems) == before and not unread:
        reader.check_used(known)
    network = Network(sections["input"], ops, blocks, params, source.comments, problems)
    network.expand(entries or ())
    if entries and not network.layers.ops:
        message = "`when` leaves out every layer"
        problems.add(Diagnostic("no-layers", message, (LAYERS,)))
    return network


def _check_names(
    name: str | None, layers: Collection[str], devices: Collection[str]
) -> Iterator[Diagnostic]:
    """Yield the names that generated code cannot use."""
    if name is not None and (problem := class_problem(name)):
        yield Diagnostic(
            "bad-name", problem, ("name",), help=write_instead(name, class_problem)
        )
    for each in devices:
        problem = attribute_problem(each)
        if each == INPUT:
            problem = f"{INPUT!r} already names the image that the network reads"
        if problem:
            place = ("placement", "devices", each)
            help = write_instead(each, attribute_problem)
            yield Diagnostic("bad-name", problem, place, at_key=True, help=help)
    for each in devices:
        if each in layers:
            message = f"{each!r} is both a layer and a device"
            place = ("placement", "devices", each)
            yield Diagnostic("bad-name", message, place, at_key=True)
