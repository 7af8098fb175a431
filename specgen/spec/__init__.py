"""The schema of a spec file: what the network is, where it runs, how it learns."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import BeforeValidator, Field
from pydantic_core import PydanticCustomError

from specgen.ops import AnyOp
from specgen.ops.weighted import Init
from specgen.schema import Bytes, Count, Strict
from specgen.spec.data import Data
from specgen.spec.entries import Block, Values
from specgen.spec.training import Training


class Input(Strict):
    """One image as the network sees it, in pixels."""

    channels: Annotated[
        Count, Field(description="1: gray images, 3: RGB, 4: RGB and alpha")
    ]
    height: Annotated[
        Count, Field(description="height of the crop that the network reads")
    ]
    width: Annotated[
        Count, Field(description="width of the crop that the network reads")
    ]


class Device(Strict):
    """A logical device; it is bound to a real one when the network runs.

    `memory` is the most that training with the spec's batch size may take there.
    """

    memory: Annotated[
        Bytes | None,
        Field(description="the most memory for training there: 3GiB, 512MiB, ..."),
    ] = None


class Split(Strict):
    """Layers split over some of the devices, along channels or features."""

    split: Annotated[
        list[str], Field(description="names of the devices, each with an equal share")
    ]


class Placement(Strict):
    """Which device computes which layer.

    The keys of `layers` are a layer or a range `first..last`, both included; the values
    are a device, `split` for all devices, or `{split: [gpu0, gpu1]}`.
    """

    devices: dict[str, Device] = Field(
        default_factory=lambda: {"gpu0": Device()},
        description="logical devices by name, each with its budget: {memory: 3GiB}",
    )
    layers: dict[str, str | Split] = Field(
        default_factory=dict,
        description="where each layer, or range first..last, is: the name of a device,"
        " split for all devices, or {split: [gpu0, gpu1]}",
    )


def _version(value: object) -> object:
    """Refuse 1.0 and true, which are equal to 1."""
    if isinstance(value, int) and not isinstance(value, bool):
        return value
    raise PydanticCustomError("version", "expected 1")


class Spec(Strict, defer_build=True):  # its sections are checked one by one
    """A network: layers, initialization, devices, data and training."""

    specgen: Annotated[
        Literal[1],
        BeforeValidator(_version),
        Field(description="version of the spec language: 1"),
    ]
    name: Annotated[str, Field(description="name of the generated class, in CapWords")]
    summary: Annotated[
        str,
        Field(description="one line about the network, for the generated docstring"),
    ] = ""
    reference: Annotated[
        str, Field(description="source of the network, for the generated docstring")
    ] = ""
    input: Input
    params: Values = Field(
        default_factory=dict,
        description="numbers by name, for expressions: $width, $(2 * width)",
    )
    blocks: dict[str, Block] = Field(
        default_factory=dict,
        description="layers that are used in several places, by name",
    )
    layers: Annotated[
        dict[str, AnyOp],
        Field(
            description="the layers by name, in order: each reads the one before it, or"
            " those that it names in from"
        ),
    ]
    init: Annotated[
        Init,
        Field(description="how layers without their own init are initialized"),
    ] = Init()
    placement: Placement = Placement()
    data: Data = Data()
    training: Training = Training()
