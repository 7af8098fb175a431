"""The ops of the language: a new one needs a class, its name in `AnyOp`, and tests."""

from __future__ import annotations

from typing import Annotated

from pydantic import Field

from specgen.ops.activation import Dropout, Relu, Softmax
from specgen.ops.conv import Conv2d
from specgen.ops.join import Add, Chunk, Concat, Multiply
from specgen.ops.linear import Flatten, Linear
from specgen.ops.norm import LocalResponseNorm, SpatialResponseNorm
from specgen.ops.pool import AvgPool2d, MaxPool2d

AnyOp = Annotated[
    Conv2d
    | Linear
    | Relu
    | LocalResponseNorm
    | SpatialResponseNorm
    | MaxPool2d
    | AvgPool2d
    | Flatten
    | Dropout
    | Add
    | Multiply
    | Concat
    | Chunk
    | Softmax,
    Field(discriminator="op"),
]
