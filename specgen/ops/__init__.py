"""The ops of the language: a new one needs a class, its name in `AnyOp`, and tests."""

from __future__ import annotations

from typing import Annotated

from pydantic import Field

from specgen.ops.activation import (
    Elu,
    Gelu,
    Hardsigmoid,
    Hardswish,
    LeakyRelu,
    Mish,
    Relu,
    Relu6,
    Sigmoid,
    Silu,
    Softmax,
    Softplus,
    Tanh,
)
from specgen.ops.arrangement import ChannelShuffle, Identity, Permute, Reshape
from specgen.ops.attention import (
    ClassToken,
    MultiHeadAttention,
    PositionEmbedding,
)
from specgen.ops.conv import Conv2d
from specgen.ops.dropout import Dropout, Dropout2d, StochasticDepth
from specgen.ops.join import Add, Chunk, Concat, Multiply, Select
from specgen.ops.linear import Flatten, Linear
from specgen.ops.norm import LocalResponseNorm, SpatialResponseNorm
from specgen.ops.normalization import BatchNorm2d, GroupNorm, LayerNorm
from specgen.ops.pool import AdaptiveAvgPool2d, AdaptiveMaxPool2d, AvgPool2d, MaxPool2d
from specgen.ops.scale import LayerScale, Prelu
from specgen.ops.upsampling import ConvTranspose2d, Upsample

AnyOp = Annotated[
    Conv2d
    | ConvTranspose2d
    | Linear
    | Relu
    | Relu6
    | LeakyRelu
    | Elu
    | Gelu
    | Silu
    | Sigmoid
    | Tanh
    | Hardswish
    | Hardsigmoid
    | Softplus
    | Mish
    | Prelu
    | LayerScale
    | MultiHeadAttention
    | ClassToken
    | PositionEmbedding
    | BatchNorm2d
    | LayerNorm
    | GroupNorm
    | LocalResponseNorm
    | SpatialResponseNorm
    | MaxPool2d
    | AvgPool2d
    | AdaptiveAvgPool2d
    | AdaptiveMaxPool2d
    | Upsample
    | Flatten
    | Reshape
    | Permute
    | ChannelShuffle
    | Identity
    | Dropout
    | Dropout2d
    | StochasticDepth
    | Add
    | Multiply
    | Concat
    | Chunk
    | Select
    | Softmax,
    Field(discriminator="op"),
]
