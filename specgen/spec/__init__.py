"""The schema of a spec file: what the network is, where it runs, how it learns."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import BeforeValidator, Field
from pydantic_core import PydanticCustomError

from specgen.ops import AnyOp
from specgen.ops.weighted import Init
from specgen.schema import Bytes, Count, Strict
from specgen.spec.data import Data
from specgen.spec.training import Training


class Input(Strict):
    """One image as the network sees it, in pixels."""

    channels: Count
    height: Count
    width: Count


class Device(Strict):
    """A logical device; it is bound to a real one when the network runs.

    `memory` is what training on the spec's own batches may take there at most.
    """

    memory: Bytes | None = None


class Split(Strict):
    """Layers split over some of the devices, along channels or features."""

    split: list[str]


class Placement(Strict):
    """Which device computes which layer.

    The keys of `layers` are a layer or a range `first..last`, both included; the values
    are a device, `split` for all devices, or `{split: [gpu0, gpu1]}`.
    """

    devices: dict[str, Device] = Field(default_factory=lambda: {"gpu0": Device()})
    layers: dict[str, str | Split] = Field(default_factory=dict)


def _version(value: object) -> object:
    """Refuse 1.0 and true, which are equal to 1."""
    if isinstance(value, int) and not isinstance(value, bool):
        return value
    raise PydanticCustomError("version", "expected 1")


class Spec(Strict):
    """A network: its layers, their start, their devices, its data and its training."""

    specgen: Annotated[Literal[1], BeforeValidator(_version)]
    name: str
    summary: str = ""
    reference: str = ""
    input: Input
    layers: dict[str, AnyOp]
    init: Init = Init()
    placement: Placement = Placement()
    data: Data = Data()
    training: Training = Training()
