"""The classes of model.py: one for the network, and one for each block.

Uses of a block that would have equal code are one class. What differs between them,
like a number of channels, follows from arguments of its constructor, as it follows from
params in the spec. Another structure, by `when` or by a split, is a class of its own.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Collection, Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import TypeVar

from specgen.backends.arguments import Parameters
from specgen.backends.expression import Called, statement
from specgen.backends.forward import Forward
from specgen.backends.frame import Frame
from specgen.backends.layout import INDENT, bracketed, fits, sentences
from specgen.backends.parts import (
    BODY,
    ORDERED,
    SEQUENTIAL,
    Part,
    Unit,
    arguments_of,
    construct,
    finished,
    flat,
    modules,
    statements,
    structure,
    with_texts,
)
from specgen.graph import INPUT, PlacedGraph, Scope, around
from specgen.names import LONGEST, class_problem, end_of_path
from specgen.ops.base import Call
from specgen.passes.routine import Apply, Fetch, Routine, Run

T = TypeVar("T")
LONG = 32  # of a class: with a longer name, calls need several lines


@dataclass(frozen=True, slots=True)
class Class:
    """A class of model.py for the template, as lines."""

    name: str
    base: str
    about: list[str]
    signature: list[str]
    devices: tuple[str, ...]  # that it keeps, since its `forward` moves tensors
    modules: list[str]
    call: list[str]
    returns: str
    forward: Forward


class Classes:
    """What model.py defines for a network: its own `modules`, and other `classes`."""

    def __init__(self, placed: PlacedGraph, routine: Routine, name: str) -> None:
        self._placed = placed
        graph = placed.graph
        self._shapes = {INPUT: graph.input_shape}
        self._shapes |= {node.name: node.shape for node in graph.nodes}
        self._scopes = {scope.path: scope for scope in graph.scopes}
        self._taken = {name}
        self._units: list[Unit] = []
        parts = self._parts(routine, None)
        found: dict[str, Class] = {}
        bases = _grouped(self._units, self._base)
        common = {b: set.intersection(*map(_layers, u)) for b, u in bases.items()}
        # Names that classes of blocks may get. The class of a group does not take one.
        self._reserved = {
            base + own
            for base, units in bases.items()
            for unit in units
            if unit.scope.block and (own := _own(unit, common[base]))
        }
        for height in sorted({unit.height for unit in self._units}):
            for base, units in bases.items():
                level = [unit for unit in units if unit.height == height]
                found |= {e.name: e for e in self._define(base, level, common[base])}
        self.classes = [found[name] for name in {u.name: 0 for u in self._units}]
        self.modules = statements(parts, {d: f"self.{d}" for d in placed.devices})

    @property
    def ordered(self) -> bool:
        """Whether lists of modules have names."""
        every = [self.modules, *(each.modules for each in self.classes)]
        return any(f"{ORDERED}(" in line for lines in every for line in lines)

    def _parts(self, routine: Routine, frame: Frame | None) -> list[Part]:
        """Return what the class of a routine builds, in the order of the spec."""
        parts: list[Part] = []
        for step in routine.steps:
            if isinstance(step, Apply):
                for layer in step.layers:
                    if frame:
                        frame.add(layer.node)
                    parts += modules(layer, frame, listed=routine.sequence)
            elif isinstance(step, Run):
                parts.append(self._part(step.routine, frame))
        return parts

    def _part(self, routine: Routine, frame: Frame | None) -> Part:
        """Return what a scope is in the class around it."""
        scope = routine.scope
        assert scope, "the network is in no class"
        if routine.sequence and not scope.block:
            items = tuple(self._parts(routine, frame))
            return Part(
                scope.leaf, scope.leaf, SEQUENTIAL, items=items, comments=scope.comments
            )
        wholes = self._placed.wholes
        called = {wholes[value]: name for name, value in reversed(routine.arguments)}
        names = scope.arguments
        if not scope.block:
            names = tuple(called.get(value, "") for value in scope.inputs)
        own = Frame(scope, self._shapes, self._scopes, names, frame)
        unit = Unit(routine, scope, own)
        self._units.append(unit)
        unit.parts = self._parts(routine, own)
        own.finish()
        moved = [
            move.device
            for step in routine.steps
            if isinstance(step, Fetch)
            for move in step.moves
            if not move.local
        ]
        inner = [*flat(unit.parts)]
        used = {*moved, *(device for part in inner for device in part.devices)}
        unit.devices = tuple(d for d in self._placed.devices if d in used)
        unit.moves = bool(moved)
        unit.height = 1 + max((p.unit.height for p in inner if p.unit), default=0)
        return Part(scope.leaf, scope.leaf, devices=unit.devices, unit=unit)

    def _define(
        self, base: str, units: Sequence[Unit], common: Collection[str]
    ) -> Iterator[Class]:
        """Yield the classes of a block, all of whose parts have classes.

        Where only some have a layer, their classes are called after that, too. If that
        is not enough, they are called after modules and functions that only some have,
        or after a param that is another number for each.
        """
        for unit in units:
            unit.parts = [finished(part) for part in unit.parts]
        kinds = [*_grouped(units, self._code).values()]
        firsts = _grouped((kind[0] for kind in kinds), lambda unit: _own(unit, common))
        for own, alike in firsts.items():
            called = [_called(unit) for unit in alike]
            counts = Counter(word for words in called for word in words)
            for unit, words in zip(alike, called, strict=True):
                some = [word for word in words if counts[word] < len(alike)]
                some = [word for word in some if not word.startswith(base)]
                alone = [word for word in some if counts[word] == 1]
                name = "".join([base, own, *(alone[:1] or some)])
                unit.name = name if len(name) <= LONG else base + own
                if not unit.scope.block and unit.name in self._reserved:
                    unit.name += "Group"
        for same in _grouped(kinds, lambda kind: kind[0].name).values():
            _distinguish(same)
        for kind in kinds:
            first = kind[0]
            split = first.scope.block and len(first.routine.results) > 1
            name = self._unused(first.name + ("Split" if split else ""))
            yield self._class(name, kind)

    def _base(self, unit: Unit) -> str:
        """What a class is called unless there are several: like its block.

        A group has its own name, after that of the block that it is in.
        """
        scope = unit.scope
        if scope.block:
            return _capwords(scope.block)
        outer = next(filter(None, self._blocks(scope)), "")
        return _capwords(f"{outer}_{end_of_path(scope.path)}")

    def _code(self, unit: Unit) -> str:
        """What is the same in all instances of a class."""
        forward = Forward(self._placed, unit.routine, shown=False)
        parts = [structure(part, unit.roles) for part in unit.parts]
        # Names of two blocks, or of a group in each, may be the same in CapWords.
        block = next(filter(None, self._blocks(unit.scope)), "")
        return "\n".join([block, *_call(unit.routine), *forward.lines, *parts])

    def _blocks(self, scope: Scope) -> Iterator[str | None]:
        """Yield the block of each scope around one, from the inside outward."""
        return (self._scopes[path].block for path in around(scope.path))

    def _class(self, name: str, units: Sequence[Unit]) -> Class:
        """Define the class of these uses, and say how each is made."""
        first = units[0]
        frames = [unit.frame for unit in units]
        devices = {"device", *first.roles.values()}
        parameters = Parameters(frames, first.scope.defaults, devices)
        written = parameters.write([[*arguments_of(unit.parts)] for unit in units])
        for index, unit in enumerate(units):
            unit.name, unit.arguments = name, parameters.arguments(index)
        typed = ["self", *parameters.signature]
        if first.devices and "*" not in typed:
            typed.append("*")
        typed += [f"{role}: torch.device" for role in first.roles.values()]
        texts = iter(written)
        parts = [with_texts(part, texts) for part in first.parts]
        shown = Forward(self._placed, first.routine)
        for unit in units[1:]:
            if Forward(self._placed, unit.routine).lines != shown.lines:
                shown = Forward(self._placed, first.routine, shown=False)
                break
        return Class(
            name,
            _kind(first),
            _about(first.scope),
            bracketed("def __init__(", typed, ") -> None:", len(INDENT)),
            first.devices if first.moves else (),
            _built(parts, first),
            [] if first.routine.sequence else _call(first.routine),
            _returns(first.routine, len(self._shapes[first.scope.output])),
            shown,
        )

    def _unused(self, name: str) -> str:
        """Return a name for a class, with a number if it is taken."""
        name = name[: LONGEST - 4]  # with room for the number
        found, number = name, 2
        while found in self._taken or class_problem(found):
            found, number = f"{name}{number}", number + 1
        self._taken.add(found)
        return found


def _kind(unit: Unit) -> str:
    """The class of torch that a class extends."""
    if unit.routine.sequence:
        return SEQUENTIAL
    modules = (part.leaf for part in unit.parts if part.leaf and not part.parameter)
    return "nn.Module" if all(map(str.isidentifier, modules)) else "nn.ModuleDict"


def _built(parts: Sequence[Part], unit: Unit) -> list[str]:
    """The constructor's statements, with those that torch's own class needs."""
    if not unit.routine.sequence:
        roles = unit.roles.items() if unit.moves else ()
        kept = [f"self.{device} = {role}" for device, role in roles]
        own = [" " * BODY + line for line in ("super().__init__()", *kept)]
        return own + statements(parts, unit.roles)
    items = tuple(construct(part, unit.roles) for part in parts)
    return statement(Called("super().__init__", items), BODY)


def _call(routine: Routine) -> list[str]:
    """The signature of `forward`."""
    takes = [f"{variable}: Tensor" for variable, _ in routine.arguments]
    gives = ["Tensor"] * len(routine.results)
    result = gives[0] if len(gives) == 1 else f"tuple[{', '.join(gives)}]"
    return bracketed("def forward(", ["self", *takes], f") -> {result}:", len(INDENT))


def _about(scope: Scope) -> list[str]:
    """The docstring: what the spec says above the block."""
    pad = " " * len(INDENT)
    kind, name = ("Block", scope.block) if scope.block else ("Group", scope.leaf)
    what = f"{kind} `{name}` of the spec."
    said = sentences(" ".join(scope.comments), indent=len(INDENT))
    if len(said) == 1 and fits(f'"""{said[0].strip()}"""', len(INDENT)):
        return [f'{pad}"""{said[0].strip()}"""']
    return (
        [f'{pad}"""{what}', "", *said, f'{pad}"""'] if said else [f'{pad}"""{what}"""']
    )


def _returns(routine: Routine, rank: int) -> str:
    """The docstring of `forward`."""
    if len(routine.results) > 1:
        return "Return the share of each device."
    shapes = {1: "features (N, F)", 2: "tokens (N, L, E)", 3: "maps (N, C, H, W)"}
    return f"Return {shapes.get(rank, 'values (N, *)')}."


def _layers(unit: Unit) -> set[str]:
    return {part.layer for part in unit.parts}


def _own(unit: Unit, common: Collection[str]) -> str:
    """The first layer that not all uses of a block have, in CapWords."""
    own = (part.layer for part in unit.parts if part.layer not in common)
    return _capwords(next(own, ""))


def _distinguish(kinds: Sequence[Sequence[Unit]]) -> None:
    """Add a param to names that are the same, unless it has its default: Expand1."""
    scope = kinds[0][0].scope
    for param in scope.params if len(kinds) > 1 else ():
        numbers = [_whole(param, kind) for kind in kinds]
        if None not in numbers and len({*numbers}) == len(kinds):
            for (first, *_), number in zip(kinds, numbers, strict=True):
                if number != scope.defaults.get(param):
                    first.name += f"{_capwords(param)}{number}"
            return


def _whole(param: str, units: Iterable[Unit]) -> int | None:
    """The number that a param is in all units, if it can be in a name."""
    value, *others = {unit.scope.params.get(param) for unit in units}
    whole = isinstance(value, int) and value >= 0 and not others
    return int(value) if whole and value is not None else None


def _called(unit: Unit) -> list[str]:
    """What it calls, in CapWords: Conv2d, ReLU."""
    calls = [part.call for part in flat(unit.parts)]
    for step in unit.routine.steps:
        for layer in step.layers if isinstance(step, Apply) else ():
            form = layer.node.applied.form
            function = form.item or form.function
            if not form.module and isinstance(function, Call):
                calls.append(function.name)
    leaves = (call.rpartition(".")[2] for call in calls if call)
    return [*dict.fromkeys(map(_capwords, leaves))]


def _capwords(name: str) -> str:
    words = name.replace("-", "_").split("_")
    return "".join(word[:1].upper() + word[1:] for word in words)


def _grouped(items: Iterable[T], key: Callable[[T], str]) -> dict[str, list[T]]:
    found: dict[str, list[T]] = {}
    for item in items:
        found.setdefault(key(item), []).append(item)
    return found
