"""What every section of a spec has in common."""

from __future__ import annotations

import re
from decimal import Decimal
from typing import Annotated, Any

from pydantic import (
    BaseModel,
    BeforeValidator,
    ConfigDict,
    Field,
    WithJsonSchema,
    field_validator,
)
from pydantic_core import PydanticCustomError

# By magnitude; float32 can represent it and its square.
LEAST = 1e-15


class Strict(BaseModel):
    """Refuses unknown keys, does not convert types, never changes once read.

    None means a key that is left out: a spec cannot give a key that value. A figure is
    used in float32, and must not become 0 or 1 there.
    """

    model_config = ConfigDict(
        extra="forbid", frozen=True, strict=True, allow_inf_nan=False
    )

    @field_validator("*")
    @classmethod
    def _usable(cls, value: Any) -> Any:
        if value is None:
            raise PydanticCustomError("null", "expected a value")
        if isinstance(value, float):
            for whole, distance in ((0, LEAST), (1, 2**-24)):
                if 0 < abs(value - whole) < distance:
                    raise PydanticCustomError(
                        "out-of-range",
                        "{value} is too close to {whole} for float32",
                        {"value": value, "whole": whole},
                    )
        return value


# A figure that float32 can hold, with room for a sum of squares.
Figure = Annotated[float, Field(ge=-1e15, le=1e15)]
Positive = Annotated[float, Field(gt=0, le=1e15)]

# A size that every backend can take: ONNX and torch count in 64 bits, and a product of
# a few of these still fits.
Count = Annotated[int, Field(ge=1, le=2**20)]

UNITS = {"B": 1}
UNITS |= {f"{prefix}B": 10 ** (3 * n) for n, prefix in enumerate("kMGT", 1)}
UNITS |= {f"{prefix}iB": 2 ** (10 * n) for n, prefix in enumerate("KMGT", 1)}
SIZE = rf"([0-9]+(?:\.[0-9]+)?) ?({'|'.join(UNITS)})"


def _bytes(value: object) -> object:
    """A number of bytes, or a text such as 3GiB."""
    if isinstance(value, int) and not isinstance(value, bool):
        return value
    if isinstance(value, str) and (found := re.fullmatch(SIZE, value)):
        number, unit = found.groups()
        return int(Decimal(number) * UNITS[unit])
    raise PydanticCustomError(
        "bytes",
        "expected a number of bytes, or one with a unit: 3GiB, 512MiB, 3GB",
    )


Bytes = Annotated[
    int,
    Field(ge=1, le=2**60),
    BeforeValidator(_bytes),
    WithJsonSchema(
        {
            "anyOf": [
                {"type": "integer", "minimum": 1},
                {"type": "string", "pattern": f"^{SIZE}$"},
            ]
        }
    ),
]


def some(count: int, what: str) -> str:
    """A number of things: 1 image, 1,000 images."""
    return f"{count:,} {what}" + "s" * (count != 1)


def readable(count: int) -> str:
    """A number of bytes as people write it: 1.53 GiB."""
    for unit in ("GiB", "MiB", "KiB"):
        if count >= UNITS[unit]:
            return f"{count / UNITS[unit]:.2f} {unit}"
    return f"{count} B"
