"""The content of a source: its sections, and its layers with their shapes.

What is wrong is reported and is unknown from then on. What reads something unknown is
unknown as well, silently. So a wrong layer or section does not hide errors elsewhere.
"""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from specgen.diagnostics import Diagnostic, Path, Problems
from specgen.frontend.network import LAYERS, Entry, Network, entry
from specgen.frontend.validate import validate_fields
from specgen.graph import INPUT, Graph
from specgen.names import attribute_problem, class_problem
from specgen.ops.base import Op
from specgen.ops.weighted import Init
from specgen.source import Source
from specgen.spec import Input, Placement, Spec
from specgen.spec.data import Data
from specgen.spec.training import Training

KNOWN = ("input", "init", "placement", "data", "training")  # what later steps read


@dataclass(frozen=True, slots=True)
class Draft:
    """A spec as far as it is known: None is what is wrong, or reads what is wrong.

    `graph` has the layers that are sound, perhaps with gaps between them. `reads` has
    the layers that each layer reads, as far as these exist. It is unclear where in the
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
    entries = {
        name: entry(name, value, problems) for name, value in (written or {}).items()
    }
    # A stand-in replaces what could not be read.
    unread = [problem.path for problem in source.problems if problem.path]
    for section, *inner in unread:
        if section == LAYERS and inner:
            entries[str(inner[0])] = Entry(str(inner[0]), None, {})
        elif section in sections:
            sections[str(section)] = None
    layers = {name: each.op for name, each in entries.items()}
    placement: Placement | None = sections["placement"]
    devices = placement.devices if placement else {}
    problems.add(*_check_names(sections["name"], layers, devices))
    network = Network(sections["input"], source.comments, problems)
    network.add_all(entries)
    unplaced = frozenset(str(path[1]) for path in unread if path[:-1] == (LAYERS,))
    del sections[LAYERS]
    known = {key: sections.pop(key) for key in KNOWN}
    return Draft(
        layers=layers,
        reads=network.reads,
        others=sections,
        graph=network.graph(),
        unplaced=unplaced,
        **known,
    )


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
