"""The whole way from a source to the content of the generated files."""

from __future__ import annotations

from dataclasses import dataclass

from specgen.frontend.lower import lower
from specgen.graph import Graph, PlacedGraph
from specgen.passes.placement import place
from specgen.passes.shapes import infer_shapes
from specgen.source import Source
from specgen.spec import Spec


@dataclass(frozen=True, slots=True)
class Program:
    """A compiled spec. `stem` names its folder and its ONNX graph."""

    stem: str
    spec: Spec
    graph: Graph
    placed: PlacedGraph


def compile_spec(spec: Spec, source: Source, stem: str) -> Program:
    """Compile a valid spec.

    Raises:
        SpecError: what is wrong with the network or its placement.
    """
    graph = infer_shapes(lower(spec, source.comments))
    return Program(stem, spec, graph, place(graph, spec.placement))


def render(program: Program) -> dict[str, bytes]:
    """Return the content of every generated file, by name."""
    from specgen.backends import torch

    files = torch.render(program.spec, program.stem, program.placed)
    return {name: text.encode() for name, text in files.items()}
