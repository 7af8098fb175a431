"""What differs between the instances of a class: the arguments of its constructor."""

from __future__ import annotations

import builtins
import keyword
import math
import re
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache

from specgen.backends.frame import Frame
from specgen.frontend.expressions import Name, Number, Term, Value
from specgen.frontend.formulas import (
    names_of,
    python,
    replaced,
    rounds_alike,
    value_of,
)
from specgen.names import GLOBALS

LONGEST = 40  # of a formula, in characters: a longer one is passed as a number
# A parameter of a class that is called so would seem to be the width of its output.
WIDTHS = frozenset({"out_channels", "out_features"})
Texts = tuple[str, ...]  # of each instance
Terms = tuple[Term | None, ...]


@dataclass(frozen=True, slots=True)
class Argument:
    """An argument of a call, as source text; a keyword's default is left out.

    `term` says how it follows from the names of the frame that the call is in.
    """

    name: str
    text: str
    positional: bool = False
    default: str | None = None
    owner: str = ""  # what it is for, in its class: conv1, or branch2_0 in a list
    term: Term | None = None

    def __str__(self) -> str:
        return self.text if self.positional else f"{self.name}={self.text}"


class Parameters:
    """The parameters of a class, found from the arguments that its instances write.

    What all instances have in common is written as it is. What differs is written as
    the spec has it: as a formula of the block's params and of the sizes that it reads.
    Where there is no formula, or a long one, it becomes a parameter of its own.
    """

    def __init__(
        self,
        frames: Sequence[Frame],
        defaults: Mapping[str, float],
        devices: Collection[str],
    ) -> None:
        self._frames, self._devices = frames, devices
        self._usual = {name: _number(value) for name, value in defaults.items()}
        first = frames[0]
        # Those that there can be: what each is in each instance.
        self._texts: dict[str, Texts] = {}
        self._terms: dict[str, Terms] = {}
        self._called: dict[str, str] = {}  # what they are called, by name in formulas
        self._used: set[str] = set()
        for name in (*first.params, *first.sizes):
            called = name.replace(".", "_")
            while called in self._texts:
                called += "_"
            if not _reserved(called, devices):
                texts = tuple(_number(frame.values[name]) for frame in frames)
                self._add(name, called, texts, (Name(name),) * len(frames))
        order = [*map(self._called.get, (*first.sizes, *first.params))]
        self._needed = [name for name in order if name and name not in self._usual]
        self._constant: dict[Term, Term] = {
            Name(name): Number(value)
            for name, value in first.values.items()
            if all(frame.values.get(name) == value for frame in frames)
        }
        self._named: dict[Term, Term] = {}  # parameters of their own, by formula
        self._made: dict[Terms, str] = {}

    def _add(self, name: str, called: str, texts: Texts, terms: Terms) -> None:
        self._called[name] = called
        self._texts[called], self._terms[called] = texts, terms

    def write(self, arguments: Sequence[Sequence[Argument]]) -> list[str]:
        """Return what the class writes for each argument; all instances have as many.

        Arguments that are the same in all instances may still follow from parameters.
        """
        columns = [*zip(*arguments, strict=True)]
        differ = [len({argument.text for argument in column}) > 1 for column in columns]
        found = [
            self._differing(c) if d else ""
            for c, d in zip(columns, differ, strict=True)
        ]
        return [text or self._same(c) for c, text in zip(columns, found, strict=True)]

    def _differing(self, column: Sequence[Argument]) -> str:
        terms = self._settled(column)
        if found := self._made.get(terms) or self._formula(terms, column):
            return found
        name = _new(column[0], self._texts, self._devices)
        self._add(name, name, tuple(argument.text for argument in column), terms)
        self._used.add(name)
        if None not in terms:
            self._made[terms] = name
            if (term := self._common(terms)) is not None:
                self._named[term] = Name(name)
        return name

    def _same(self, column: Sequence[Argument]) -> str:
        found = self._formula(self._settled(column), column, self._used)
        return found or column[0].text

    def _settled(self, column: Sequence[Argument]) -> Terms:
        return tuple(
            None if argument.term is None else frame.settled(argument.term)
            for frame, argument in zip(self._frames, column, strict=True)
        )

    def _common(self, terms: Terms) -> Term | None:
        """Return the formula of all instances, if they have one."""
        if terms[0] is None:
            return None
        found = {
            t and replaced(replaced(t, self._constant), self._named) for t in terms
        }
        return found.pop() if len(found) == 1 else None

    def _formula(
        self,
        terms: Terms,
        column: Sequence[Argument],
        names: Collection[str] | None = None,
    ) -> str | None:
        """Return a formula of these parameters, or of any, as it is in Python."""
        term = self._common(terms)
        if term is None:
            return None
        called = {name: self._called.get(name, "") for name in names_of(term)}
        known = self._texts if names is None else names
        if not called or not all(name in known for name in called.values()):
            return None
        text = python(term, called)
        if len(text) > LONGEST or not self._gives(term, column):
            return None
        self._used.update(called.values())
        return text

    def _gives(self, term: Term, column: Sequence[Argument]) -> bool:
        """Whether a formula gives what each instance writes."""
        for index, (frame, argument) in enumerate(
            zip(self._frames, column, strict=True)
        ):
            made = {n: _value(self._texts[n][index]) for n in self._made.values()}
            values = frame.values | made
            if not _is_written(value_of(term, values), argument.text):
                return False
            if not rounds_alike(term, values):
                return False
        return True

    @property
    def signature(self) -> list[str]:
        """The parameters of the constructor: what must be given is positional."""
        found = [f"{name}: {_type(self._texts[name])}" for name in self._positional]
        found += ["*"] if self._keywords else []
        for name in self._keywords:
            default = f" = {self._usual[name]}" if name in self._usual else ""
            found.append(f"{name}: {_type(self._texts[name])}{default}")
        return found

    @property
    def _positional(self) -> list[str]:
        return [name for name in self._needed if name in self._used]

    @property
    def _keywords(self) -> list[str]:
        return [n for n in self._texts if n in self._used and n not in self._needed]

    def arguments(self, index: int) -> tuple[Argument, ...]:
        """Return the arguments of an instance, with formulas for where it is made."""
        frame = self._frames[index]
        found = []
        for name in (*self._positional, *self._keywords):
            text, term = self._texts[name][index], self._terms[name][index]
            positional, default = name in self._needed, self._usual.get(name)
            outside = term and frame.leave(frame.settled(term))
            found.append(Argument(name, text, positional, default, term=outside))
        return tuple(found)


@lru_cache(maxsize=1024)  # most layers are equal
def from_call(
    args: Sequence[str], names: Sequence[str], defaults: Sequence[tuple[str, str]]
) -> tuple[Argument, ...]:
    """Return the arguments of a call, those left at their defaults included."""
    given = dict(arg.split("=", 1) for arg in args if _is_keyword(arg))
    positional = [arg for arg in args if not _is_keyword(arg)]
    usual = dict(defaults)
    found = [
        Argument(names[i] if i < len(names) else f"value{i}", arg, True)
        for i, arg in enumerate(positional)
    ]
    for name in usual | given:
        default = usual.get(name)
        text = given.get(name, default or "")
        found.append(Argument(name, text, default=default))
    return tuple(found)


def _is_keyword(text: str) -> bool:
    return bool(re.match(r"[A-Za-z_]\w*=", text))


def _new(argument: Argument, taken: Collection[str], devices: Collection[str]) -> str:
    """Name a parameter that the block has not: stride, or conv2_stride."""
    name, owner = argument.name, argument.owner.lower()
    if name in taken or name in WIDTHS or _reserved(name, devices):
        name = f"{owner}_{name}" if owner.isidentifier() else f"layer{owner}_{name}"
    while name in taken or _reserved(name, devices):
        name += "_"
    return name


def _reserved(name: str, devices: Collection[str]) -> bool:
    """Whether a parameter cannot have this name; those of classes have capitals."""
    taken = name in GLOBALS or name == "self" or name in devices
    taken = taken or name != name.lower() or keyword.iskeyword(name)
    return taken or hasattr(builtins, name)


def _number(value: float) -> str:
    if isinstance(value, bool):
        return repr(value)
    return repr(int(value)) if value == int(value) else repr(value)


def _value(text: str) -> Value:
    """Return what a text stands for: a number, true, false, or itself."""
    if text in ("True", "False"):
        return text == "True"
    if re.fullmatch(r"-?\d+", text):
        return int(text)
    return float(text) if re.fullmatch(r"-?[\d.]+(e-?\d+)?", text) else text


def _is_written(value: Value | None, text: str) -> bool:
    """Whether a formula gives what is written; fractions are rounded in a spec."""
    wanted = _value(text)
    if isinstance(value, float) and isinstance(wanted, float):
        return math.isclose(value, wanted, rel_tol=1e-14)
    return type(value) is type(wanted) and value == wanted


def _type(texts: Texts) -> str:
    kinds = {
        "tuple[int, int]" if text.startswith("(") else type(_value(text)).__name__
        for text in texts
    }
    return " | ".join(sorted(kinds))
