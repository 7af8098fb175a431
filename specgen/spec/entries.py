"""What an entry of `layers` says besides its op: what it reads, whether, how often.

An entry is an op, a group of layers, or one use of a block.
"""

from __future__ import annotations

from typing import Annotated, Any

from pydantic import BeforeValidator, Field, WithJsonSchema
from pydantic_core import PydanticCustomError

from specgen.schema import Strict

Number = bool | int | float | str  # the value of a param: a word names an op
EXPRESSION = r"^\$"
EXPRESSION_SCHEMA = {"type": "string", "pattern": EXPRESSION}

OP, GROUP, USE = KINDS = "op", "layers", "block"  # keys of an entry: what it is
FROM, WITH, FIRST = "from", "with", "first"


def _when(value: object) -> object:
    if isinstance(value, bool) or (isinstance(value, str) and value.startswith("$")):
        return value
    message = "expected true, false or an expression such as $(stride != 1)"
    raise PydanticCustomError("when", message)


def _repeat(value: object) -> object:
    whole = isinstance(value, int) and not isinstance(value, bool)
    if whole or (isinstance(value, str) and value.startswith("$")):
        return value
    message = "expected a whole number or an expression such as $depth"
    raise PydanticCustomError("repeat", message)


Reads = str | Annotated[list[str], Field(min_length=1)]
When = Annotated[
    Any,
    BeforeValidator(_when),
    WithJsonSchema({"anyOf": [{"type": "boolean"}, EXPRESSION_SCHEMA]}),
]
Repeat = Annotated[
    Any,
    BeforeValidator(_repeat),
    WithJsonSchema({"anyOf": [{"type": "integer", "minimum": 1}, EXPRESSION_SCHEMA]}),
]
Values = Annotated[
    dict[str, Any],
    WithJsonSchema(
        {
            "type": "object",
            "additionalProperties": {"type": ["number", "boolean", "string", "null"]},
        }
    ),
]


class Wiring(Strict):
    """What an entry reads, whether it is there, and how often."""

    from_: Reads | None = Field(
        None,
        alias="from",
        description="the layer that this one reads, or a list of several; without it,"
        " the one before. `input` is the image, or in a block what the block reads",
    )
    when: When | None = Field(
        None, description="if false, this is left out, and its readers read its input"
    )
    repeat: Repeat | None = Field(
        None, description="number of instances; each reads the one before"
    )
    names: Annotated[
        str | None,
        Field(
            description="names of the instances instead of 0, 1, ...: cell$(index + 1)"
        ),
    ] = None
    name: Annotated[
        str | None, Field(description="name of an item of a list, instead of a number")
    ] = None


class Group(Wiring):
    """Layers with a name of their own; they see the names around them."""

    layers: Annotated[
        Any,
        Field(
            description="layers by name, or a list, which numbers them as nn.Sequential"
            " does"
        ),
    ]


class Use(Wiring):
    """A block, used here."""

    block: Annotated[str, Field(description="name of the block")]
    with_: Values = Field(
        default_factory=dict,
        alias="with",
        description="values of the block's params",
    )
    first: Values = Field(
        default_factory=dict,
        description="params that differ in the first instance of a repeat",
    )


class Block(Strict):
    """Layers that are used in several places, with params."""

    params: Values = Field(
        default_factory=dict,
        description="params of the block, each with its default; nothing after the"
        " colon if a use must give it",
    )
    inputs: list[str] = Field(
        default_factory=lambda: ["input"],
        min_length=1,
        description="names of its inputs, if there are several",
    )
    layers: Annotated[
        Any, Field(description="the block's layers: a mapping, or a list")
    ]
