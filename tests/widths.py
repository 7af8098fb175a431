"""How wide values are in blocks, which fit whatever they read.

A width is a sum of multiples of the widths that a block knows, and of WIDE. All that is
known of heights is by which strides they are smaller.
"""

from __future__ import annotations

from dataclasses import dataclass
from fractions import Fraction
from typing import Any, NamedTuple

from strategies import WIDE, Data

Width = tuple[Fraction, ...]
TERMS = ("", "in.channels", "channels", "skip")
LARGEST = 8  # how many terms a width can have
PARAMS: Data = {"channels": None, "stride": 1, "size": 3, "act": "relu", "more": False}


def term(name: str, count: int = 1) -> Width:
    """A multiple of one of TERMS; the empty name is WIDE."""
    return tuple(Fraction(count * (each == name)) for each in TERMS)


class Value(NamedTuple):
    """How wide a value is, and by which strides it is smaller than what is read."""

    width: Width
    strides: tuple[str, ...] = ()

    @property
    def written(self) -> Any:
        """The width as it is written in a spec; None for that of a second input."""
        wide, *others = self.width
        if others[-1]:
            return None
        texts = [str(WIDE * wide)] if wide else []
        for count, name in zip(others, TERMS[1:], strict=True):
            times = f"{count.numerator} * {name}" if count.numerator > 1 else name
            over = f" // {count.denominator}" if count.denominator > 1 else ""
            texts += [f"{times}{over}"] if count else []
        return f"$({' + '.join(texts)})" if any(others) else int(WIDE * wide)

    @property
    def is_round(self) -> bool:
        """Whether a block can read it."""
        return all(part.denominator == 1 for part in self.width)


@dataclass
class Block:
    """A block as it is written, and what it gives."""

    data: Data
    output: Value
    inputs: int
    uses: set[str]

    def gives(self, x: Value, skip: Value, channels: Width, stride: str) -> Value:
        """Return what a use gives that reads these."""
        known = (term(""), x.width, channels, skip.width)
        width = tuple(
            sum(
                (c * w for c, w in zip(self.output.width, column, strict=True)),
                Fraction(),
            )
            for column in zip(*known, strict=True)
        )
        own = [stride if each == "stride" else each for each in self.output.strides]
        return Value(width, (*x.strides, *(each for each in own if each != "1")))


def sums(x: Value, y: Value) -> bool:
    """Whether both together are not too wide."""
    return sum((*x.width, *y.width)) <= LARGEST


def strided(width: Width, x: Value, stride: str) -> Value:
    return Value(width, (*x.strides, *([stride] if stride != "1" else [])))
