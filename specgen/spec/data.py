"""What the network sees of an image: the `data` section of a spec."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Annotated

from pydantic import Field

from specgen.diagnostics import LIMIT_HELP, Diagnostic
from specgen.schema import Count, Strict


class Data(Strict):
    """How image files become the network's input.

    An image is scaled until its shorter side is `size` pixels, and its centre,
    `size` x `size`, is kept. Training reads crops of that at random places, as large as
    the input; evaluation reads the centre, or ten crops. The mean image of the training
    set is subtracted.
    """

    size: Annotated[
        Count, Field(description="pixels of an image's side, of which crops are read")
    ] = 256
    flip: Annotated[
        bool, Field(description="mirror half of the images, for training")
    ] = False
    color_noise: Annotated[
        float | None,
        Field(
            gt=0,
            le=1e15,
            description="add random shares of the colours' principal components, for"
            " training: their standard deviation, in eigenvalues (the paper: 0.1)",
        ),
    ] = None
    std: Annotated[
        float | None,
        Field(
            gt=0,
            le=1e15,
            description="divide the pixels by so many grey levels (the paper does not)",
        ),
    ] = None


def check(data: Data, channels: int, height: int, width: int) -> Iterator[Diagnostic]:
    """Yield what keeps images from being the network's input of this shape."""
    if channels != 3:
        yield Diagnostic(
            "data-mismatch",
            f"images have 3 channels, and the input has {channels}",
            ("input", "channels"),
            help=LIMIT_HELP,
        )
    if data.size < max(height, width):
        yield Diagnostic(
            "data-mismatch",
            f"the input, {height} x {width}, cannot be cut out of"
            f" {data.size} x {data.size} pixels",
            ("data", "size"),
            help=f"size must be at least {max(height, width)}",
        )
