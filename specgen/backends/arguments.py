"""What differs between the instances of a class: the arguments of its constructor."""

from __future__ import annotations

import builtins
import keyword
import re
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache

from specgen.names import GLOBALS

KINDS = {r"-?\d+": "int", r"True|False": "bool", r"-?[\d.]+(e-?\d+)?": "float"}
IN_CHANNELS = "in_channels"
FACTORS = range(2, 33)  # between widths of a block
# A parameter of a class that is called so would seem to be the width of its output.
WIDTHS = frozenset({"out_channels", "out_features"})
Texts = tuple[str, ...]  # of each instance


@dataclass(frozen=True, slots=True)
class Argument:
    """An argument of a call, as source text; a keyword's default is left out."""

    name: str
    text: str
    positional: bool = False
    default: str | None = None
    owner: str = ""  # what it is for, in its class: conv1, or branch2_0 in a list

    def __str__(self) -> str:
        return self.text if self.positional else f"{self.name}={self.text}"


@dataclass(frozen=True, slots=True)
class Parameters:
    """The parameters of a constructor: `signature`, and `arguments` of each instance.

    `texts` are what the class writes for each of the arguments in it.
    """

    signature: list[str]
    arguments: list[tuple[Argument, ...]]
    texts: list[str]


def parametrize(
    arguments: Sequence[Sequence[Argument]],
    channels: Sequence[int],
    params: Sequence[Mapping[str, float]],
    defaults: Mapping[str, float],
    devices: Collection[str],
) -> Parameters:
    """Find the parameters of a class from the arguments that its instances write.

    Each instance has as many arguments; `channels` are those of its input, and `params`
    the values of its block's parameters, some of which have `defaults`. What must be
    given, by the block, is positional. After these come the `devices`.
    """
    known = {name: tuple(_number(p[name]) for p in params) for name in params[0]}
    known = {n: texts for n, texts in known.items() if not _reserved(n, devices)}
    known.setdefault(IN_CHANNELS, tuple(map(str, channels)))
    values: dict[str, Texts] = {}
    written = []
    for column in zip(*arguments, strict=True):
        texts = tuple(argument.text for argument in column)
        if len(set(texts)) == 1:
            written.append(texts[0])
            continue
        text, name = _expression(texts, known)
        if not name:
            text = name = _new(column[0], known, devices)
            known[name] = texts
        values[name] = known[name]
        written.append(text)
    usual = {name: _number(value) for name, value in defaults.items()}
    needed = [n for n in (IN_CHANNELS, *params[0]) if n in values and n not in usual]
    others = [name for name in known if name in values and name not in needed]
    signature = [f"{name}: {_type(values[name])}" for name in needed]
    signature += ["*"] if others else []
    for name in others:
        default = f" = {usual[name]}" if name in usual else ""
        signature.append(f"{name}: {_type(values[name])}{default}")
    given = [
        tuple(
            Argument(name, values[name][index], name in needed, usual.get(name))
            for name in (*needed, *others)
        )
        for index in range(len(params))
    ]
    return Parameters(signature, given, written)


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


def _expression(texts: Texts, known: Mapping[str, Texts]) -> tuple[str, str]:
    """Return what gives these values, and the parameter in it; or nothing."""
    for name, values in known.items():
        if values == texts:
            return name, name
    for name, values in known.items():
        if not all(text.isdecimal() for text in (*texts, *values)):
            continue
        pairs = [(int(w), int(v)) for w, v in zip(texts, values, strict=True)]
        for factor in FACTORS:
            if all(wanted == factor * value for wanted, value in pairs):
                return f"{factor} * {name}", name
        for factor in FACTORS:
            if all(wanted == value // factor for wanted, value in pairs):
                return f"{name} // {factor}", name
    return "", ""


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


def _type(texts: Texts) -> str:
    kinds = set()
    for text in texts:
        found = (kind for form, kind in KINDS.items() if re.fullmatch(form, text))
        pair = "tuple[int, int]" if text.startswith("(") else "str"
        kinds.add(next(found, pair))
    return " | ".join(sorted(kinds))
