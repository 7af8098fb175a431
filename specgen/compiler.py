"""The whole way from a spec's source to the content of the generated files."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from copy import deepcopy
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, TypeVar

from specgen.diagnostics import Diagnostic, SpecError
from specgen.frontend.lower import check_names, lower
from specgen.frontend.overlay import load
from specgen.frontend.validate import validate
from specgen.graph import Graph, PlacedGraph
from specgen.names import stem_problem, variant_name
from specgen.ops.weighted import Weighted, check_default
from specgen.passes.budget import check_budget
from specgen.passes.placement import place, resolve
from specgen.passes.shapes import check_ending, infer_shapes
from specgen.source import Source
from specgen.spec import Spec, data, training

T = TypeVar("T")


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
    problems: list[Diagnostic] = []
    if problem := stem_problem(path.stem):
        problems.append(Diagnostic("bad-name", problem))
    program = _collect(problems, lambda: compile_source(source, path.stem))
    if program is None or problems:
        raise SpecError(source.locate(problems))
    return program


def compile_source(source: Source, stem: str) -> Program:
    """Compile what was read.

    Raises:
        SpecError: everything that is wrong with it, by path.
    """
    try:
        spec = validate(source, Spec)
    except SpecError as error:
        found = error.diagnostics
        raise SpecError((*found, *_what_else(source, found))) from None
    problems = list(_check_recipe(spec))
    program = _collect(problems, lambda: compile_spec(spec, source, stem))
    if program is None or problems:
        raise SpecError(problems)
    return program


def compile_spec(spec: Spec, source: Source, stem: str) -> Program:
    """Compile a spec that has the right form; comments come from its source.

    Raises:
        SpecError: what is wrong with the network and its placement.
    """
    problems = list(check_names(spec.name, spec.layers, spec.placement.devices))
    graph = _collect(problems, lambda: lower(spec, source.comments))
    if graph is None:
        raise SpecError(problems)
    problems += check_default(spec.init, spec.layers.values())
    if not any(isinstance(op, Weighted) and op.bias for op in spec.layers.values()):
        problems += training.check_biases(spec.training)
    shaped = _collect(problems, lambda: infer_shapes(graph))
    if shaped is None:  # names in the placement can be wrong as well
        _collect(problems, lambda: resolve(spec.layers, spec.placement))
        raise SpecError(problems)
    _collect(problems, lambda: check_ending(shaped))
    placed = _collect(problems, lambda: place(shaped, spec.placement))
    if placed is not None:
        _collect(problems, lambda: check_budget(placed, spec))
    if placed is None or problems:
        raise SpecError(problems)
    return Program(stem, spec, source, shaped, placed)


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


def _check_recipe(spec: Spec) -> Iterator[Diagnostic]:
    """Yield what is wrong with the data and training sections."""
    size = spec.input
    yield from data.check(spec.data, size.channels, size.height, size.width)
    yield from training.check(spec.training)


def _collect(problems: list[Diagnostic], step: Callable[[], T]) -> T | None:
    """Run a step and keep what it refuses."""
    try:
        return step()
    except SpecError as error:
        problems += error.diagnostics
        return None


def _what_else(source: Source, found: Sequence[Diagnostic]) -> Sequence[Diagnostic]:
    """Find what is wrong beside values that the schema refuses.

    Unknown keys are left out, and so are other sections that have an error. The layers
    from the first wrong one on are left out as well: their shapes are unknown.
    """
    content: dict[str, Any] = deepcopy(source.data)
    layers = content.get("layers")
    if not isinstance(layers, dict):
        return ()
    names = list(layers)
    cut = len(names)
    for problem in found:
        path = problem.path or ()
        if problem.code == "unknown-key":
            _remove(content, path)
        elif len(path) > 1 and path[0] == "layers":
            cut = min(cut, names.index(str(path[1])))
        elif path:
            content.pop(str(path[0]), None)
    content["layers"] = {name: layers[name] for name in names[:cut]}
    known = {problem.path for problem in found}
    problems: list[Diagnostic] = []
    spec = _collect(
        [], lambda: validate(replace(source, data=content, problems=()), Spec)
    )
    if spec is None:
        return ()
    if cut == len(names):
        _collect(problems, lambda: compile_spec(spec, source, ""))
    else:
        problems += check_names(spec.name, names, spec.placement.devices)
        _collect(problems, lambda: resolve(names, spec.placement))
        if cut:
            _collect(problems, lambda: infer_shapes(lower(spec, {})))
    problems += _check_recipe(spec)
    return [problem for problem in problems if problem.path not in known]


def _remove(content: Any, path: Sequence[str | int]) -> None:
    """Remove what is at a path, if it is still there."""
    for key in path[:-1]:
        content = content.get(key, {})
    content.pop(path[-1], None)
