"""From a spec's source to the content of the generated files."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path

from specgen.diagnostics import (
    Diagnostic,
    Place,
    Problems,
    SpecError,
    TooManyProblems,
)
from specgen.frontend.elaborate import Draft, elaborate
from specgen.frontend.network import MOST_LAYERS
from specgen.frontend.origins import traced
from specgen.frontend.overlay import load
from specgen.frontend.validate import located
from specgen.graph import Graph, PlacedGraph
from specgen.names import stem_problem, variant_name
from specgen.passes import warnings
from specgen.passes.assign import assign
from specgen.passes.check import check
from specgen.passes.placement import place
from specgen.source import Source
from specgen.spec import Spec


@dataclass(frozen=True)
class Program:
    """A compiled spec. `stem` names its folder and its ONNX graph.

    `places` says where layers are written that are in blocks or groups.
    """

    stem: str
    spec: Spec
    source: Source
    graph: Graph
    placed: PlacedGraph
    places: Mapping[str, Place] = field(default_factory=dict)

    @cached_property
    def warnings(self) -> tuple[Diagnostic, ...]:
        """What is valid but probably a mistake, each with its place."""
        found = Problems(self.places)
        with suppress(TooManyProblems):
            found.add(*warnings.find(self.spec, self.graph, self.placed))
        return self.source.locate(traced(self.source, found.places, found))

    def place(self, entry: str) -> Place:
        """Where a layer, a group or a use of a block is written."""
        return self.places.get(entry, Place(("layers", entry)))

    @property
    def variant(self) -> str:
        """Names the folder of a training run: each variant has its own."""
        return variant_name(self.stem, self.source.options)


class Unfinished(SpecError):  # noqa: N818 - it names what the spec is
    """A spec does not compile. Has the sound parts along with the errors.

    `draft` is None if there were too many errors to check everything. `program` has all
    parts, if they are sound by themselves and only contradict each other.
    """

    def __init__(
        self,
        diagnostics: Iterable[Diagnostic],
        draft: Draft | None,
        program: Program | None,
    ) -> None:
        super().__init__(diagnostics)
        self.draft, self.program = draft, program

    @property
    def too_large(self) -> Program | None:
        """The network, if all that is wrong is that it does not fit its budgets."""
        only = all(found.code == "over-budget" for found in self.diagnostics)
        return self.program if only else None


def compile_file(
    path: Path,
    sets: Sequence[str] = (),
    root: Path | None = None,
    text: bytes | None = None,
    images: int | None = None,
) -> Program:
    """Read and compile a spec file, with `--set` options; its bases are in `root`.

    `text`, if given, is the content of the file, which is then not read. Budgets are
    for `images` at once; by default, for those of the recipe.

    Raises:
        Unfinished: all errors, each with its place.
        SpecError: a file cannot be read.
    """
    return compile_read(load(path, sets, root, text), path.stem, images)


def compile_read(source: Source, stem: str, images: int | None = None) -> Program:
    """Compile what was read from the file with this stem; `images` as above.

    Raises:
        Unfinished: all errors, each with its place.
    """
    problems = Problems()
    if problem := stem_problem(stem):
        problems.add(Diagnostic("bad-name", problem, help="rename the spec's file"))
    draft, placed = _compile(source, problems, images)
    program = None
    if draft and draft.graph and draft.whole and placed:
        program = Program(
            stem, draft.spec(), source, draft.graph, placed, problems.places
        )
    if problems or source.problems:
        found = traced(source, problems.places, problems)
        raise Unfinished(located(source, found), draft, program)
    assert program, "what is unknown has been reported"
    return program


def _compile(
    source: Source, problems: Problems, images: int | None
) -> tuple[Draft | None, PlacedGraph | None]:
    """Run each step once, on what is sound so far."""
    placed = None
    layers = source.data.get("layers")
    if isinstance(layers, dict) and len(layers) > MOST_LAYERS:
        message = f"a network can have {MOST_LAYERS:,} layers, not {len(layers):,}"
        problems.add(Diagnostic("too-large", message, ("layers",), at_key=True))
        return None, None
    try:
        draft = elaborate(source, problems)
        if draft.placement:
            where = assign(
                draft.placement,
                draft.layers,
                draft.left_out,
                draft.unplaced,
                problems,
            )
            if draft.graph:
                placed = place(draft.graph, where, problems)
        check(draft, placed if draft.network else None, problems, images)
    except TooManyProblems:
        return None, None
    return draft, placed if draft.network else None


def render(program: Program, *, onnx_devices: bool = False) -> dict[str, bytes]:
    """Return the content of every generated file, by name.

    With `onnx_devices`, the ONNX files say where everything is placed.
    """
    from specgen.backends import readme, torch
    from specgen.picture import draw
    from specgen.plan import make_plan

    plan = make_plan(program.spec, program.placed)
    texts = torch.render(program.spec, program.source, program.variant, program.placed)
    texts["architecture.svg"] = draw(plan)
    texts["README.md"] = readme.render(
        program.spec, program.source, program.variant, plan
    )
    files = {name: text.encode() for name, text in texts.items()}
    if onnx_devices:
        from specgen.backends import onnx_devices as annotated

        return files | annotated.render(program.placed, program.stem)
    from specgen.backends import onnx

    return files | onnx.render(program.graph, program.stem)
