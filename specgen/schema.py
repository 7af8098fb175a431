"""What every section of a spec has in common."""

from __future__ import annotations

from typing import Annotated

from pydantic import BaseModel, ConfigDict, Field


class Strict(BaseModel):
    """Refuses unknown keys, does not convert types, never changes once read."""

    model_config = ConfigDict(
        extra="forbid", frozen=True, strict=True, allow_inf_nan=False
    )


# A size that every backend can hold: ONNX and torch count in 64 bits, and a product of
# a few of these still fits.
Count = Annotated[int, Field(ge=1, le=2**20)]
