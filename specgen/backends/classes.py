"""The classes of model.py: one for the network, and one for each block.

Uses of a block that would have equal code are one class. What differs between them,
like a number of channels, becomes an argument of its constructor, which is called as in
the spec where a parameter of the block has these values. Another structure, by `when`
or by a split, is a class of its own.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from itertools import groupby

from specgen.backends.arguments import Argument, from_call, parametrize
from specgen.backends.expression import Called, Expression, Repeated, assign, statement
from specgen.backends.forward import Forward
from specgen.backends.layout import INDENT, bracketed, comments, fits, sentences
from specgen.graph import INPUT, Placed, PlacedGraph, Scope, around
from specgen.names import LONGEST, class_problem, end_of_path
from specgen.ops.base import Call
from specgen.passes.routine import Apply, Fetch, Routine, Run

BODY = 2 * len(INDENT)
LONG = 32  # of a class: with a longer name, calls need several lines
SEQUENTIAL, ORDERED = "nn.Sequential", "OrderedDict"


@dataclass(frozen=True, slots=True)
class Part:
    """A module that a class builds in its constructor.

    `devices` are those of the placement that it gets, `items` those of nn.Sequential.
    Of a layer that is only a function, there are the comments. `layer` is the name in
    the spec, without the letter of a share. A `parameter` is no module.
    """

    layer: str
    leaf: str = ""
    call: str = ""
    arguments: tuple[Argument, ...] = ()
    devices: tuple[str, ...] = ()
    items: tuple[Part, ...] = ()
    comments: tuple[str, ...] = ()
    unit: Unit | None = None
    parameter: bool = False


@dataclass(slots=True)
class Unit:
    """A use of a block, or of a group that is no sequence: an instance of a class."""

    routine: Routine
    scope: Scope
    channels: int  # of its first input
    parts: list[Part] = field(default_factory=list)
    devices: tuple[str, ...] = ()
    moves: bool = False  # whether its `forward` moves tensors
    height: int = 0
    name: str = ""
    arguments: tuple[Argument, ...] = ()

    @property
    def roles(self) -> dict[str, str]:
        """What its class calls its devices."""
        if len(self.devices) == 1:
            return {self.devices[0]: "device"}
        return {device: device for device in self.devices}


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
        self._channels = {INPUT: graph.input_shape[0]}
        self._channels |= {node.name: node.shape[0] for node in graph.nodes}
        self._ranks = {node.name: len(node.shape) for node in graph.nodes}
        self._scopes = {scope.path: scope for scope in graph.scopes}
        self._taken = {name}
        self._units: list[Unit] = []
        parts = self._parts(routine)
        found: dict[str, Class] = {}
        for height in sorted({unit.height for unit in self._units}):
            for base, units in _grouped(self._units, self._base).items():
                common = set.intersection(*map(_layers, units))
                level = [unit for unit in units if unit.height == height]
                found |= {e.name: e for e in self._define(base, level, common)}
        self.classes = [found[name] for name in {u.name: 0 for u in self._units}]
        self.modules = _lines(parts, {d: f"self.{d}" for d in placed.devices})

    @property
    def ordered(self) -> bool:
        """Whether lists of modules have names."""
        every = [self.modules, *(each.modules for each in self.classes)]
        return any(f"{ORDERED}(" in line for lines in every for line in lines)

    def _parts(self, routine: Routine) -> list[Part]:
        """Return what the class of a routine builds, in the order of the spec."""
        parts: list[Part] = []
        for step in routine.steps:
            if isinstance(step, Apply):
                for layer in step.layers:
                    parts += _modules(layer, listed=routine.sequence)
            elif isinstance(step, Run):
                parts.append(self._part(step.routine))
        return parts

    def _part(self, routine: Routine) -> Part:
        """Return what a scope is in the class around it."""
        scope = routine.scope
        assert scope, "the network is in no class"
        if routine.sequence and not scope.block:
            items = tuple(self._parts(routine))
            return Part(
                scope.leaf, scope.leaf, SEQUENTIAL, items=items, comments=scope.comments
            )
        unit = Unit(routine, scope, self._channels[scope.inputs[0]])
        self._units.append(unit)
        unit.parts = self._parts(routine)
        moved = [
            move.device
            for step in routine.steps
            if isinstance(step, Fetch)
            for move in step.moves
            if not move.local
        ]
        inner = [*_flat(unit.parts)]
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
        is not enough, they are called after modules and functions that only some have.
        """
        for unit in units:
            unit.parts = [_finished(part) for part in unit.parts]
        kinds = [*_grouped(units, self._code).values()]
        for alike in _grouped((kind[0] for kind in kinds), _own(common)).values():
            called = [_called(unit) for unit in alike]
            counts = Counter(word for words in called for word in words)
            for unit, words in zip(alike, called, strict=True):
                some = [word for word in words if counts[word] < len(alike)]
                some = [word for word in some if not word.startswith(base)]
                alone = [word for word in some if counts[word] == 1]
                stem = base + _own(common)(unit)
                name = "".join([stem, *(alone[:1] or some)])
                unit.name = name if len(name) <= LONG else stem
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
        outer = (self._scopes[path].block for path in around(scope.path)[1:])
        own = end_of_path(scope.path)
        return _capwords(f"{next(filter(None, outer), '')}_{own}")

    def _code(self, unit: Unit) -> str:
        """What is the same in all instances of a class."""
        forward = Forward(self._placed, unit.routine, shown=False)
        parts = [_structure(part, unit.roles) for part in unit.parts]
        return "\n".join([*_call(unit.routine), *forward.lines, *parts])

    def _class(self, name: str, units: Sequence[Unit]) -> Class:
        """Define the class of these uses, and say how each is made."""
        first = units[0]
        found = parametrize(
            [[*_arguments(unit.parts)] for unit in units],
            [unit.channels for unit in units],
            [unit.scope.params for unit in units],
            first.scope.defaults,
            {"device", *first.roles.values()},
        )
        for unit, arguments in zip(units, found.arguments, strict=True):
            unit.name, unit.arguments = name, arguments
        typed = ["self", *found.signature]
        if first.devices and "*" not in typed:
            typed.append("*")
        typed += [f"{role}: torch.device" for role in first.roles.values()]
        texts = iter(found.texts)
        parts = [_with_texts(part, texts) for part in first.parts]
        shown = Forward(self._placed, first.routine)
        for unit in units[1:]:
            if Forward(self._placed, unit.routine).lines != shown.lines:
                shown = Forward(self._placed, first.routine, shown=False)
                break
        return Class(
            name,
            SEQUENTIAL if first.routine.sequence else "nn.Module",
            _about(first.scope),
            bracketed("def __init__(", typed, ") -> None:", len(INDENT)),
            first.devices if first.moves else (),
            _built(parts, first),
            [] if first.routine.sequence else _call(first.routine),
            _returns(first.routine, self._ranks[first.scope.output]),
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


def _modules(layer: Placed, *, listed: bool) -> Iterator[Part]:
    """One module per share with parameters, else one for all shares."""
    said = layer.node.comments
    for share in layer.shares:
        form = share.form
        call = form.module or (form.item if listed else None)
        if call is None:
            yield Part(layer.node.leaf, comments=said)
            return
        own = bool(layer.node.tensors())
        leaf = (share.name if own else layer.node.name).rpartition(".")[2]
        arguments = from_call(call.args, call.names, call.defaults)
        devices = (share.device,) if own else ()
        yield Part(
            layer.node.leaf,
            leaf,
            call.name,
            arguments,
            devices,
            comments=said,
            parameter=bool(form.module and form.function),
        )
        if not own:
            return
        said = ()


def _built(parts: Sequence[Part], unit: Unit) -> list[str]:
    """The constructor's statements, with those that torch's own class needs."""
    if not unit.routine.sequence:
        roles = unit.roles.items() if unit.moves else ()
        kept = [f"self.{device} = {role}" for device, role in roles]
        own = [" " * BODY + line for line in ("super().__init__()", *kept)]
        return own + _lines(parts, unit.roles)
    items = tuple(_expression(part, unit.roles) for part in parts)
    return statement(Called("super().__init__", items), BODY)


def _flat(parts: Iterable[Part]) -> Iterator[Part]:
    """The parts and the items in them."""
    for part in parts:
        yield part
        yield from _flat(part.items)


def _arguments(parts: Iterable[Part], above: str = "") -> Iterator[Argument]:
    """The arguments of all calls, each with the part that it is for."""
    for part in parts:
        owner = f"{above}{part.layer}"
        yield from (replace(argument, owner=owner) for argument in part.arguments)
        yield from _arguments(part.items, f"{owner}_")


def _finished(part: Part) -> Part:
    """The part, with the class that its block has been given."""
    items = tuple(map(_finished, part.items))
    if part.unit:
        made = part.unit.arguments
        return replace(part, call=part.unit.name, arguments=made, unit=None)
    return replace(part, items=items)


def _with_texts(part: Part, texts: Iterator[str]) -> Part:
    """The part as its class writes it, with the text of each argument in turn."""
    arguments = tuple(replace(a, text=next(texts)) for a in part.arguments)
    items = tuple(_with_texts(item, texts) for item in part.items)
    return replace(part, arguments=arguments, items=items)


def _structure(part: Part, roles: Mapping[str, str]) -> str:
    """The part without the values of its arguments."""
    names = ", ".join(argument.name for argument in part.arguments)
    on = ", ".join(roles[device] for device in part.devices)
    items = ", ".join(_structure(item, roles) for item in part.items)
    return f"{part.leaf} = {part.call}({names}; {on}; {items})"


def _lines(parts: Iterable[Part], roles: Mapping[str, str]) -> list[str]:
    """The statements of a constructor that build its modules."""
    lines: list[str] = []
    for part in parts:
        lines += comments(part.comments, BODY)
        if not part.leaf:
            continue
        value = _expression(part, roles)
        if part.leaf.isidentifier():
            lines += assign(f"self.{part.leaf}", value, BODY, "")
        else:
            kind = "register_parameter" if part.parameter else "add_module"
            named = Called(f"self.{kind}", (f'"{part.leaf}"', value))
            lines += statement(named, BODY)
    return lines


def _expression(part: Part, roles: Mapping[str, str], keyword: str = "") -> Called:
    """The call that makes a part."""
    part = _finished(part)
    arguments = [
        str(a) for a in part.arguments if a.default is None or a.text != a.default
    ]
    alone = len(part.devices) == 1
    for device in part.devices:
        arguments.append(f"{'device' if alone else device}={roles[device]}")
    leaves = [item.leaf for item in part.items]
    items: list[Expression] = []
    if leaves == [str(index) for index in range(len(leaves))]:
        values = (_expression(item, roles) for item in part.items)
        for value, same in groupby(values):
            count = len([*same])
            items.append(Repeated(value, count) if count > 1 else value)
    else:
        named = [_expression(item, roles, f"{item.leaf}=") for item in part.items]
        items = [Called(ORDERED, tuple(named))]
    return Called(keyword + part.call, (*arguments, *items))


def _call(routine: Routine) -> list[str]:
    """The signature of `forward`."""
    takes = [f"{variable}: Tensor" for variable, _ in routine.arguments]
    gives = ["Tensor"] * len(routine.results)
    result = gives[0] if len(gives) == 1 else f"tuple[{', '.join(gives)}]"
    return bracketed("def forward(", ["self", *takes], f") -> {result}:", len(INDENT))


def _about(scope: Scope) -> list[str]:
    """The docstring: what the spec says above the block."""
    pad = " " * len(INDENT)
    what = (
        f"A block `{scope.block}`." if scope.block else f"The layers in {scope.leaf}."
    )
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
    return "Return maps (N, C, H, W)." if rank == 3 else "Return features (N, F)."


def _layers(unit: Unit) -> set[str]:
    return {part.layer for part in unit.parts}


def _own(common: Collection[str]) -> Callable[[Unit], str]:
    """What finds the first layer that not all uses of a block have, in CapWords."""

    def first(unit: Unit) -> str:
        own = (part.layer for part in unit.parts if part.layer not in common)
        return _capwords(next(own, ""))

    return first


def _called(unit: Unit) -> list[str]:
    """What it calls, in CapWords: Conv2d, ReLU."""
    calls = [part.call for part in _flat(unit.parts)]
    for step in unit.routine.steps:
        for layer in step.layers if isinstance(step, Apply) else ():
            form = layer.node.form
            function = form.item or form.function
            if not form.module and isinstance(function, Call):
                calls.append(function.name)
    leaves = (call.rpartition(".")[2] for call in calls if call)
    return [*dict.fromkeys(map(_capwords, leaves))]


def _capwords(name: str) -> str:
    words = name.replace("-", "_").split("_")
    return "".join(word[:1].upper() + word[1:] for word in words)


def _grouped(
    units: Iterable[Unit], key: Callable[[Unit], str]
) -> dict[str, list[Unit]]:
    found: dict[str, list[Unit]] = {}
    for unit in units:
        found.setdefault(key(unit), []).append(unit)
    return found
