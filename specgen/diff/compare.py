"""Compares two compiled specs: what differs, how far it reaches, what it affects."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from itertools import groupby

from specgen.compiler import Program
from specgen.diagnostics import Path
from specgen.diff.difference import (
    Change,
    CheckpointChange,
    Difference,
    Figure,
    Reshaped,
    ShapeChange,
)
from specgen.diff.function import Meaning, computed, values
from specgen.diff.layers import Found, Layers
from specgen.diff.match import Matching, match
from specgen.diff.placement import placement_changes
from specgen.diff.tiers import Tier
from specgen.diff.values import differing
from specgen.frontend.merge import BASED_ON
from specgen.graph import around
from specgen.plan import LayerPlan, Plan, make_plan

TEXTS = ("name", "summary", "reference")


def compare(old: Program, new: Program) -> Difference:
    """Return everything that differs between two networks."""
    matching = match(old.graph, new.graph)
    plans = make_plan(old.spec, old.placed), make_plan(new.spec, new.placed)
    checkpoint = _checkpoint(*plans, matching)
    function = _function(old, new, checkpoint.renamed)
    found = sorted(
        [*_texts(old, new), *_sections(old, new, matching)],
        key=lambda change: _order(change.path, old, new),
    )
    # Changes may cancel each other out.
    found = [
        replace(change, tier=min(change.tier, function))
        if change.tier == Tier.FUNCTION
        else change
        for change in found
    ]
    whole = _whole(old, new, checkpoint, function)
    scopes = (*old.graph.scopes, *new.graph.scopes)
    uses = {scope.path: scope.block for scope in scopes if scope.block}
    return Difference(
        tier=max([whole, *(change.tier for change in found)]),
        changes=tuple(
            Change(
                ".".join(map(str, change.path)),
                change.tier,
                change.before,
                change.after,
                _place(change.path, new, old),
                *_use(change.path, uses),
            )
            for change in found
        ),
        figures=tuple(_figures(*plans)),
        shapes=tuple(_shapes(*plans, matching)),
        checkpoint=checkpoint,
        budgets={
            device.name: device.memory.budget
            for device in plans[1].devices
            if device.memory.budget
        },
    )


def _whole(
    old: Program, new: Program, checkpoint: CheckpointChange, function: Tier
) -> Tier:
    """How far all changes reach together, which can be further than any one alone."""
    ends = [
        (graph.input_shape, graph.nodes[-1].shape, graph.has_probabilities)
        for graph in (old.graph, new.graph)
    ]
    if ends[0] != ends[1]:
        return Tier.INTERFACE
    return function if checkpoint.fits else Tier.CHECKPOINT


def _function(old: Program, new: Program, names: Mapping[str, str]) -> Tier:
    """How far all layers together differ, if old tensors get new names."""
    for training, tier in ((True, Tier.SAME), (False, Tier.RECIPE)):
        numbers: dict[Meaning, int] = {}
        before = values(old.graph, numbers, names, training=training)
        after = values(new.graph, numbers, training=training)
        if computed(old.graph, before) == computed(new.graph, after):
            return tier
    return Tier.FUNCTION


def _texts(old: Program, new: Program) -> Iterator[Found]:
    """What only people read."""
    for name in TEXTS:
        before, after = getattr(old.spec, name), getattr(new.spec, name)
        # "Based on ..." follows from an overlay; it is not a change to the text.
        if before.removeprefix(BASED_ON) != after.removeprefix(BASED_ON):
            yield Found((name,), before or None, after or None, Tier.SAME)
    comments = old.source.comments, new.source.comments
    for path in {**comments[0], **comments[1]}:
        # The comments of an added or removed key do not count separately.
        if path in old.source.values and path in new.source.values:
            said = [c.get(path, ()) for c in comments]
            if " ".join(said[0]) != " ".join(said[1]):
                before, after = ("\n".join(f"# {s}" for s in c) or None for c in said)
                yield Found(path, before, after, Tier.SAME)


def _sections(old: Program, new: Program, matching: Matching) -> Iterator[Found]:
    yield from Layers(old, new, matching).changes()
    yield from _blocks(old, new)
    yield from placement_changes(old, new, matching)
    sizes = {_decoded_size(program) for program in (old, new)}
    for section in ("data", "training"):
        pairs = differing(
            getattr(old.spec, section), getattr(new.spec, section), (section,)
        )
        for path, before, after in pairs:
            if path != ("data", "size") or len(sizes) > 1:
                yield Found(path, before, after, Tier.RECIPE)


def _decoded_size(program: Program) -> int:
    """The side of a decoded image, written or not."""
    size = program.spec.input
    return program.spec.data.side(size.height, size.width)


def _blocks(old: Program, new: Program) -> Iterator[Found]:
    """Yield the uses of another block, of which the layers may be the same."""
    before = {scope.path: scope.block for scope in old.graph.scopes}
    for scope in new.graph.scopes:
        was = before.get(scope.path, scope.block)
        if was != scope.block:
            yield Found(("layers", scope.path, "block"), was, scope.block, Tier.SAME)


def _order(path: Path, old: Program, new: Program) -> tuple[int, float, str]:
    """In the order of the sections, layers as they run, the rest by name."""
    names = list(type(new.spec).model_fields)
    section = names.index(str(path[0]))
    if path[0] != "layers":
        return section, 0, str(path[1:])
    if len(path) == 1:  # a comment on all of them
        return section, -1, ""
    before, layers = list(old.spec.layers), list(new.spec.layers)
    first = _index(layers, str(path[1]))
    if first is not None:
        return section, first, ""
    for name in reversed(before[: _index(before, str(path[1]))]):
        if name in new.spec.layers:
            return section, layers.index(name) + 0.5, ""
    return section, -0.5, ""


def _use(path: Path, uses: Mapping[str, str]) -> tuple[str, str]:
    """Return the innermost use of a block that a layer is in, and the block's name."""
    if path[0] == "layers" and len(path) > 1:
        for use in around(str(path[1])):
            if use in uses:
                return use, uses[use]
    return "", ""


def _index(layers: Sequence[str], name: str) -> int | None:
    """Return where a layer is, or the first of a group."""
    inside = f"{name}."
    found = (n for n, it in enumerate(layers) if it == name or it.startswith(inside))
    return next(found, None)


def _place(path: Path, *programs: Program) -> str:
    """Return the place in the first of the specs whose file, not an option, has it.

    A path that no file has gets the place of its nearest ancestor.
    """
    paths = [_written(path, program) for program in programs]
    while any(paths):
        for at, program in zip(paths, programs, strict=True):
            span = program.source.keys.get(at) or program.source.values.get(at)
            if at and span and not span.file.startswith("--set "):
                return f"{span.file}:{span.line}"
        paths = [at[:-1] for at in paths]
    return ""


def _written(path: Path, program: Program) -> Path:
    """Return where a layer is written that is in a group or a block."""
    of_layer = path[0] == "layers" and len(path) > 1
    return program.place(str(path[1])).of(path[2:]) if of_layer else path


def _figures(old: Plan, new: Plan) -> Iterator[Figure]:
    yield Figure("parameters", old.parameters, new.parameters)
    yield Figure("macs", old.macs, new.macs)
    for name in ("bytes_per_image", "bytes_per_step"):
        before, after = (
            sum(getattr(edge, name) for edge in plan.traffic) for plan in (old, new)
        )
        yield Figure(f"traffic_{name}", before, after)
    yield Figure("images", old.images, new.images)
    before_by, after_by = (
        {device.name: device.memory for device in plan.devices} for plan in (old, new)
    )
    for name in {**before_by, **after_by}:
        for what in ("training", "inference"):
            numbers = (
                getattr(memory[name], what) if name in memory else None
                for memory in (before_by, after_by)
            )
            yield Figure(f"{what}_bytes.{name}", *numbers)


def _layers(plan: Plan) -> dict[str, LayerPlan]:
    return {layer.name: layer for layer in plan.layers}


def _checkpoint(old: Plan, new: Plan, matching: Matching) -> CheckpointChange:
    before, after = _layers(old), _layers(new)
    loads: list[str] = []
    reshaped: list[Reshaped] = []
    missing: list[str] = []
    unexpected: list[str] = []
    renamed: dict[str, str] = {}
    new_names = {b: a for a, b in matching.pairs.items()}
    for name, layer in after.items():
        known = before[new_names[name]] if name in new_names else None
        for tensor, shape in layer.tensors.items():
            was = f"{known.name}{tensor.removeprefix(name)}" if known else ""
            if known is None or was not in known.tensors:
                missing.append(tensor)
                continue
            if was != tensor:
                renamed[was] = tensor
            if known.tensors[was] != shape:
                reshaped.append(Reshaped(tensor, known.tensors[was], shape))
            elif was == tensor:
                loads.append(tensor)
    here = {*loads, *renamed, *(tensor.name for tensor in reshaped)}
    for layer in old.layers:
        unexpected += [tensor for tensor in layer.tensors if tensor not in here]
    return CheckpointChange(
        tuple(loads), tuple(reshaped), tuple(missing), tuple(unexpected), renamed
    )


def _shapes(old: Plan, new: Plan, matching: Matching) -> Iterator[ShapeChange]:
    """Outputs with a new shape, and layers that turn it back into the old one."""
    before, after = _layers(old), _layers(new)
    rows: list[tuple[str, bool, tuple[int, ...], tuple[int, ...]]] = []
    for was, name in matching.pairs.items():
        a, b = before[was], after[name]
        if a.output_shape != b.output_shape:
            rows.append((name, False, a.output_shape, b.output_shape))
        elif len(a.input_shapes) == len(b.input_shapes) and (
            sorted(a.input_shapes) != sorted(b.input_shapes)
        ):
            for x, y in zip(a.input_shapes, b.input_shapes, strict=True):
                if x != y:
                    rows.append((name, True, x, y))
    for key, group in groupby(rows, lambda row: row[1:]):
        yield ShapeChange(tuple(name for name, *_ in group), *key)
