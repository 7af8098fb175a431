"""The names that an expression can use in its place, and which of them are used."""

from __future__ import annotations

import keyword
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field, replace

from specgen.diagnostics import short
from specgen.frontend.expressions import WORDS
from specgen.names import identifier_problem

SHAPE = ("in.channels", "in.height", "in.width")
REPEAT = ("index", "count")


@dataclass(slots=True)
class Known:
    """Params of the spec and, in a block, its own, each with whether it is used.

    `of` names the block, `inputs` what it reads. `repeats` says that `index` and
    `count` have values.
    """

    names: dict[str, bool]
    of: str | None = None
    own: dict[str, bool] = field(default_factory=dict)
    inputs: tuple[str, ...] = ()
    repeats: bool = False
    incomplete: bool = False  # a param of the spec may be missing here

    def block(self, name: str, inputs: Iterable[str]) -> Known:
        """Return what a block knows."""
        return Known(self.names, name, inputs=tuple(inputs), incomplete=self.incomplete)

    def repeated(self) -> Known:
        """Return what is known where an entry repeats."""
        return replace(self, repeats=True)

    def use(self, name: str) -> bool:
        """Note the use of a name; tell whether it is known."""
        for names in (self.own, self.names):
            if name in names:
                names[name] = True
                return True
        is_known = name in SHAPE or (self.repeats and name in REPEAT)
        return is_known or (self.incomplete and name not in REPEAT and "." not in name)

    def unused(self) -> Iterator[str]:
        """Yield the params of the block, or of the spec, that nothing uses."""
        names: Mapping[str, bool] = self.own if self.of else self.names
        return (name for name, used in names.items() if not used)

    def used(self) -> list[str]:
        """Return the params that something uses: one of them may be meant."""
        return [name for name, used in (self.own | self.names).items() if used]

    def all(self) -> list[str]:
        """Return all that can be named."""
        return [*self.own, *self.names, *SHAPE, *(REPEAT if self.repeats else ())]

    def unknown(self, name: str) -> tuple[str, str | None]:
        """Return what to say about a name that is not known here, and the help."""
        if name in REPEAT:
            message = f"{name} is defined only where an entry repeats"
            return message, "pass it to a block: with: {NAME: $index}"
        if name.startswith("in."):
            return f"there is no {short(name)}", f"an input has {', '.join(SHAPE)}"
        if "." in name or name == "in":
            help = f"an input has {', '.join(SHAPE)}"
            return f"there is no {short(name)}", help
        where = (
            f"neither the block {self.of} nor the spec has" if self.of else "there is"
        )
        no = "a" if self.of else "no"
        return f"{where} {no} param {short(name)}", None

    @staticmethod
    def problem(name: str) -> str | None:
        """Why a param cannot have this name, or None."""
        if name in WORDS or name in REPEAT:
            return f"{name!r} already has a meaning in expressions"
        if name == "in_channels":
            return "'in_channels' cannot be a param: write in.channels"
        if keyword.iskeyword(name):
            return f"{name!r} is a Python keyword"
        return identifier_problem(name)
