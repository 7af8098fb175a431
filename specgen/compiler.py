"""The whole way from a spec's source to the content of the generated files."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from specgen.diagnostics import Diagnostic, Problems, SpecError, TooManyProblems
from specgen.frontend.elaborate import elaborate
from specgen.frontend.overlay import load
from specgen.frontend.validate import located
from specgen.graph import Graph, PlacedGraph
from specgen.names import stem_problem, variant_name
from specgen.passes.assign import assign
from specgen.passes.check import check
from specgen.passes.placement import place
from specgen.source import Source
from specgen.spec import Spec


@dataclass(frozen=True, slots=True)
class Program:
    """A compiled spec. `stem` names its folder and its ONNX graph."""

    stem: str
    spec: Spec
    source: Source
    graph: Graph
    placed: PlacedGraph

    @property
    def variant(self) -> str:
        """Names the folder of a training run: each variant has its own."""
        return variant_name(self.stem, self.source.options)


def compile_file(
    path: Path, sets: Sequence[str] = (), root: Path | None = None
) -> Program:
    """Read and compile a spec file, with `--set` options; its bases lie in `root`.

    Raises:
        SpecError: everything that is wrong with it, each with its place.
    """
    source = load(path, sets, root)
    problems = Problems()
    if problem := stem_problem(path.stem):
        problems.add(Diagnostic("bad-name", problem, help="rename the spec's file"))
    program = compile_source(source, path.stem, problems)
    if program is None:
        raise SpecError(located(source, problems))
    return program


def compile_source(source: Source, stem: str, problems: Problems) -> Program | None:
    """Compile what was read, once: each step goes on with what is sound.

    What is wrong is in `problems`; there is a program only if nothing is.
    """
    placed = None
    try:
        draft = elaborate(source, problems)
        if draft.placement:
            where = assign(draft.placement, draft.layers, draft.unplaced, problems)
            if draft.graph:
                placed = place(draft.graph, where, problems)
        check(draft, placed if draft.network else None, problems)
    except TooManyProblems:
        return None
    if problems or source.problems:
        return None
    assert draft.graph, "what is unknown has been reported"
    assert placed, "what is unknown has been reported"
    return Program(stem, draft.spec(), source, draft.graph, placed)


def render(program: Program, *, onnx_devices: bool = False) -> dict[str, bytes]:
    """Return the content of every generated file, by name.

    With `onnx_devices`, the ONNX files say where everything is placed.
    """
    from specgen.backends import torch

    texts = torch.render(program.spec, program.source, program.variant, program.placed)
    files = {name: text.encode() for name, text in texts.items()}
    if onnx_devices:
        from specgen.backends import onnx_devices as annotated

        return files | annotated.render(program.placed, program.stem)
    from specgen.backends import onnx

    return files | onnx.render(program.graph, program.stem)
