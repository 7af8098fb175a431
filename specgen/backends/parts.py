"""What a class of model.py builds in its constructor: modules, and uses of blocks."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from itertools import groupby

from specgen.backends.arguments import Argument, from_call
from specgen.backends.expression import (
    Called,
    Expression,
    Numbered,
    Repeated,
    assign,
    statement,
)
from specgen.backends.frame import Frame
from specgen.backends.layout import INDENT, comments
from specgen.frontend.formulas import read
from specgen.graph import Placed, Scope
from specgen.ops.base import Call, TorchForm
from specgen.passes.routine import Routine

BODY = 2 * len(INDENT)
SEQUENTIAL, ORDERED = "nn.Sequential", "OrderedDict"
INDEX = re.compile(r"(.*?)([0-9]+)")


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
    frame: Frame
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


def modules(layer: Placed, frame: Frame | None, *, listed: bool) -> Iterator[Part]:
    """One module per share with parameters, else one for all shares."""
    said = layer.node.comments
    for share in layer.shares:
        form = share.applied.form
        call = _built(form, listed)
        if call is None:
            yield Part(layer.node.leaf, comments=said)
            return
        own = bool(layer.node.applied.tensors)
        leaf = (share.name if own else layer.node.name).rpartition(".")[2]
        arguments = _arguments(call)
        if frame:
            traced = _built(frame.form(layer, share), listed)
            arguments = _with_terms(arguments, traced, layer, frame)
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


def _built(form: TorchForm, listed: bool) -> Call | None:
    """What the constructor builds; `listed`, for nn.Sequential."""
    return form.module or (form.item if listed else None)


def _arguments(call: Call) -> tuple[Argument, ...]:
    return from_call(call.args, call.names, tuple(call.defaults.items()))


def _with_terms(
    arguments: Iterable[Argument], traced: Call | None, layer: Placed, frame: Frame
) -> tuple[Argument, ...]:
    """The arguments with their formulas: a size has one, or the field of this name."""
    assert traced
    found = []
    for argument, formula in zip(arguments, _arguments(traced), strict=True):
        if argument.text != formula.text:
            term = read(formula.text)
        else:
            term = frame.written(layer.node, argument.name)
        found.append(replace(argument, term=term) if term else argument)
    return tuple(found)


def flat(parts: Iterable[Part]) -> Iterator[Part]:
    """The parts and the items in them."""
    for part in parts:
        yield part
        yield from flat(part.items)


def arguments_of(parts: Iterable[Part], above: str = "") -> Iterator[Argument]:
    """The arguments of all calls, each with the part that it is for."""
    for part in parts:
        owner = f"{above}{part.layer}"
        yield from (replace(argument, owner=owner) for argument in part.arguments)
        yield from arguments_of(part.items, f"{owner}_")


def finished(part: Part) -> Part:
    """The part, with the class that its block has been given."""
    if part.unit:
        made = part.unit.arguments
        return replace(part, call=part.unit.name, arguments=made, unit=None)
    if part.items:
        return replace(part, items=tuple(map(finished, part.items)))
    return part


def with_texts(part: Part, texts: Iterator[str]) -> Part:
    """The part as its class writes it, with the text of each argument in turn."""
    arguments = tuple(replace(a, text=next(texts)) for a in part.arguments)
    items = tuple(with_texts(item, texts) for item in part.items)
    return replace(part, arguments=arguments, items=items)


def structure(part: Part, roles: Mapping[str, str]) -> str:
    """The part without the values of its arguments."""
    names = ", ".join(argument.name for argument in part.arguments)
    on = ", ".join(roles[device] for device in part.devices)
    items = ", ".join(structure(item, roles) for item in part.items)
    return f"{part.leaf} = {part.call}({names}; {on}; {items})"


def attribute(leaf: str, *, parameter: bool = False) -> str:
    """How a module names one of its parts; a number is a key of nn.ModuleDict."""
    if leaf.isidentifier():
        return f"self.{leaf}"
    return f'self.get_parameter("{leaf}")' if parameter else f'self["{leaf}"]'


def statements(parts: Iterable[Part], roles: Mapping[str, str]) -> list[str]:
    """The statements of a constructor that build its modules."""
    lines: list[str] = []
    for part in parts:
        lines += comments(part.comments, BODY)
        if not part.leaf:
            continue
        value = construct(part, roles)
        if part.parameter and not part.leaf.isidentifier():
            named = Called("self.register_parameter", (f'"{part.leaf}"', value))
            lines += statement(named, BODY)
        else:
            lines += assign(attribute(part.leaf), value, BODY, "")
    return lines


def construct(part: Part, roles: Mapping[str, str], keyword: str = "") -> Called:
    """The call that makes a part."""
    part = finished(part)
    arguments = [
        str(a) for a in part.arguments if a.default is None or a.text != a.default
    ]
    alone = len(part.devices) == 1
    for device in part.devices:
        arguments.append(f"{'device' if alone else device}={roles[device]}")
    leaves = [item.leaf for item in part.items]
    items: list[Expression] = []
    if leaves == [str(index) for index in range(len(leaves))]:
        values = (construct(item, roles) for item in part.items)
        for value, same in groupby(values):
            count = len([*same])
            items.append(Repeated(value, count) if count > 1 else value)
    else:
        items = [Called(ORDERED, _named(part.items, roles))]
    return Called(keyword + part.call, (*arguments, *items))


def _named(items: Sequence[Part], roles: Mapping[str, str]) -> tuple[Expression, ...]:
    """What makes an OrderedDict of items: a loop if they are numbered and equal."""
    values = [construct(item, roles) for item in items]
    first = INDEX.fullmatch(items[0].leaf)
    if first and values.count(values[0]) == len(values) > 1:
        name, start = first[1], int(first[2])
        stop = start + len(items)
        if [item.leaf for item in items] == [f"{name}{i}" for i in range(start, stop)]:
            return (Numbered(name, values[0], start, stop),)
    return tuple(construct(item, roles, f"{item.leaf}=") for item in items)
