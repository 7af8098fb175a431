"""What differs between the layers of two networks, and how far each change reaches.

A change to a layer reaches whatever depends on it: the tensors of the layers below, if
those read another shape because of it, and the number of classes.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from typing import Any

from specgen.compiler import Program
from specgen.diagnostics import Path
from specgen.diff.function import meaning
from specgen.diff.match import Matching
from specgen.diff.tiers import Tier
from specgen.diff.values import differing, plain
from specgen.diff.wiring import Wiring
from specgen.graph import INPUT, Node
from specgen.ops.applied import Applied
from specgen.ops.base import Op, Refusal, Shape
from specgen.ops.start import Draw
from specgen.ops.weighted import DEFAULT_START, draws
from specgen.spec.entries import FROM


@dataclass(frozen=True, slots=True)
class Found:
    """A change, before its place in the spec is known."""

    path: Path
    before: Any
    after: Any
    tier: Tier


class Layers:
    """The changes to the input, the layers and their initial weights.

    Layers are walked in the new order. `_reshaping` has, by layer, the changes that
    gave its output another shape; if that reshapes a tensor, or the network's output,
    they are raised to that tier.
    """

    def __init__(self, old: Program, new: Program, matching: Matching) -> None:
        self._old, self._new, self._matching = old, new, matching
        self._before = {node.name: node for node in old.graph.nodes}
        self._after = {node.name: node for node in new.graph.nodes}
        self._was = {b: a for a, b in matching.pairs.items()}
        self._wiring = Wiring(old, new, matching)
        self._gone: dict[str, int] = {}
        self._rewired: dict[str, set[int]] = {}
        self._found: list[Found] = []
        self._reshaping: dict[str, set[int]] = {}

    def changes(self) -> list[Found]:
        """Return every change, each with its tier."""
        self._reshaping[INPUT] = {
            self._add(path, before, after, Tier.INTERFACE)
            for path, before, after in differing(
                self._old.spec.input, self._new.spec.input, ("input",)
            )
        }
        self._default_start()
        self._gone = {name: self._removed(name) for name in self._matching.removed}
        self._rewire()
        for name, node in self._after.items():
            causes = set().union(*(self._reshaping[value] for value in node.inputs))
            if name in self._was:
                self._kept(self._before[self._was[name]], node, causes)
            else:
                self._added(node, causes)
        last, was = self._new.graph.nodes[-1], self._old.graph.nodes[-1]
        if last.shape != was.shape:
            causes = self._reshaping[last.name] | self._behind([was.name])
            self._raise(causes, Tier.INTERFACE)
        return self._found

    def _add(self, path: Path, before: Any, after: Any, tier: Tier) -> int:
        self._found.append(Found(path, before, after, tier))
        return len(self._found) - 1

    def _raise(self, causes: set[int], tier: Tier) -> None:
        for index in causes:
            found = self._found[index]
            self._found[index] = replace(found, tier=max(found.tier, tier))

    def _removed(self, name: str) -> int:
        node = self._before[name]
        was = _as_written(node, self._old)
        return self._add(("layers", name), was, None, _own_tier(node))

    def _added(self, node: Node, causes: set[int]) -> None:
        path = ("layers", node.name)
        index = self._add(path, None, _as_written(node, self._new), _own_tier(node))
        own = {index} if _reshapes(node) else set()
        self._reshaping[node.name] = causes | own

    def _rewire(self) -> None:
        """Add what entries read, each once for all layers in it."""
        found: dict[Path, int] = {}
        for a, b in self._matching.pairs.items():
            self._rewired[b] = set()
            for change in self._wiring.changes(self._before[a], self._after[b]):
                if change.path not in found:
                    found[change.path] = self._add(*change)
                self._raise({found[change.path]}, change.tier)
                self._rewired[b].add(found[change.path])

    def _kept(self, old: Node, new: Node, causes: set[int]) -> None:
        """Compare a layer that both networks have."""
        if old.name != new.name:
            tier = Tier.CHECKPOINT if old.tensors else Tier.SAME
            self._add(("layers", old.name), old.name, new.name, tier)
        own = self._fields(old, new) if old.op != new.op else set()
        rewired = self._rewired[new.name]
        own |= rewired
        above = causes | rewired | self._behind(old.inputs)
        before, after = old.input_shapes, new.input_shapes
        if _tensors(old.op, before) != _tensors(new.op, after):
            blamed = {i for i in own if self._found[i].tier >= Tier.CHECKPOINT}
            if not blamed or _tensors(new.op, before) != _tensors(new.op, after):
                blamed |= above
            self._raise(blamed or own, Tier.CHECKPOINT)
        if new.name in self._wiring.moved:
            self._reshaping[new.name] = own | above
        elif old.shape != new.shape:
            self._reshaping[new.name] = own | (above if before != after else set())
        else:
            self._reshaping[new.name] = set()

    def _behind(self, values: Iterable[str]) -> set[int]:
        """The removals behind old values that can change their shapes."""
        found: set[int] = set()
        left, seen = [*values], {INPUT}
        while left:
            name = left.pop()
            if name in seen:
                continue
            seen.add(name)
            node = self._before[name]
            if name in self._gone:
                found |= {self._gone[name]} if _reshapes(node) else set()
            elif self._matching.pairs[name] not in self._wiring.moved:
                continue
            left += node.inputs
        return found

    def _fields(self, old: Node, new: Node) -> set[int]:
        """Add the fields that differ; return those that can change the output's shape.

        A field is tried by itself, in the old layer and in the new one; what reaches
        further counts.
        """
        path = ("layers", new.name)
        if old.op.op != new.op.op:
            tier = max(_own_tier(old), _own_tier(new))
            was, now = _as_written(old, self._old), _as_written(new, self._new)
            return {self._add(path, was, now, tier)}
        reshaping = set()
        for field in type(new.op).model_fields:
            values = getattr(old.op, field), getattr(new.op, field)
            for where, before, after in differing(*values, (*path, field)):
                if field == "init":
                    starts = self._start(old, self._old), self._start(new, self._new)
                    leaf = str(where[3])
                    same = starts[0].get(leaf) == starts[1].get(leaf)
                    tier = Tier.SAME if same else Tier.RECIPE
                    self._add(where, before, after, tier)
                    continue
                to, back = ({field: values[i]} for i in (1, 0))
                effects = (
                    _effect(old.op, old.op.model_copy(update=to), old),
                    _effect(new.op, new.op.model_copy(update=back), new),
                )
                tier = max(tier for tier, _ in effects)
                if tier == Tier.SAME and None in (before, after):  # a written default
                    continue
                index = self._add(where, before, after, tier)
                if any(reshapes for _, reshapes in effects):
                    reshaping.add(index)
        return reshaping

    def _default_start(self) -> None:
        """Add differences in the spec's own `init`; layers may still have the same."""
        pairs = self._matching.pairs.items()
        starts = [
            (
                self._start(self._before[a], self._old),
                self._start(self._after[b], self._new),
            )
            for a, b in pairs
        ]
        old, new = (
            DEFAULT_START | program.spec.init.given()
            for program in (self._old, self._new)
        )
        for leaf in DEFAULT_START:
            same = all(a.get(leaf) == b.get(leaf) for a, b in starts)
            tier = Tier.SAME if same else Tier.RECIPE
            for where, before, after in differing(old[leaf], new[leaf], ("init", leaf)):
                self._add(where, before, after, tier)

    def _start(self, node: Node, program: Program) -> dict[str, Draw]:
        """The initial values of a layer's tensors, by leaf.

        An `init` that depends on the size of a tensor counts as different.
        """
        return draws(node.applied.tensors, program.spec.init)


def _as_written(node: Node, program: Program) -> dict[str, Any]:
    """Return the fields of a layer in the order of the spec, and the names it reads."""
    written = program.source.value(program.place(node.name).path)
    fields: dict[str, Any] = plain(node.op)
    if FROM in written:
        fields[FROM] = written[FROM]
    return {key: fields[key] for key in (*written, *fields) if key in fields}


def _own_tier(node: Node) -> Tier:
    """How far adding or removing this layer reaches by itself."""
    if node.op.training_only:
        return Tier.RECIPE
    if node.op.after_logits:
        return Tier.INTERFACE
    return Tier.CHECKPOINT if node.tensors else Tier.FUNCTION


def _reshapes(node: Node) -> bool:
    return any(node.shape != x for x in node.input_shapes)


def _effect(old: Op, new: Op, node: Node) -> tuple[Tier, bool]:
    """How far a change to an op reaches by itself; whether it reshapes the output.

    Both ops read what a node does.
    """
    xs = node.input_shapes
    reshapes = _output(old, xs) != _output(new, xs)
    if _tensors(old, xs) != _tensors(new, xs):
        return Tier.CHECKPOINT, reshapes
    if reshapes:
        return Tier.FUNCTION, True
    if old.training_only:
        return Tier.RECIPE, False
    if _meaning(old, xs) != _meaning(new, xs):
        return Tier.FUNCTION, False
    trains = any(getattr(old, n) != getattr(new, n) for n in old.training_fields)
    return (Tier.RECIPE if trains else Tier.SAME), False


def _output(op: Op, xs: Sequence[Shape]) -> Shape | None:
    try:
        return op.output(*xs)
    except Refusal:
        return None


def _meaning(op: Op, xs: tuple[Shape, ...]) -> object:
    try:
        return meaning(Applied(op, xs))
    except Refusal:
        return None


def _tensors(op: Op, xs: Sequence[Shape]) -> dict[str, Shape] | None:
    """Shapes by leaf; None if the op cannot read these."""
    return None if _output(op, xs) is None else op.shapes(*xs)
