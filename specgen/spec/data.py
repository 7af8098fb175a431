"""What the network sees of an image: the `data` section of a spec."""

from __future__ import annotations

import math
from collections.abc import Iterator
from typing import Annotated

from pydantic import Field

from specgen.diagnostics import Diagnostic
from specgen.schema import Count, Positive, Strict


class Data(Strict):
    """How image files become the network's input.

    An image is scaled until its shorter side is `size` pixels, and its center,
    `size` x `size`, is kept. Training reads crops of that at random places, as large as
    the input; evaluation reads the center, or ten crops. The mean image of the training
    set is subtracted, and the result divided by `std`.
    """

    size: Annotated[
        Count | None,
        Field(
            description="pixels of the square that crops are cut from; by default"
            " 8/7 of the input's longer side: 256 for 224"
        ),
    ] = None
    flip: Annotated[
        bool, Field(description="mirror half of the images, during training")
    ] = False
    color_noise: Annotated[
        float | None,
        Field(
            gt=0,
            le=1e15,
            description="add random shares of the colors' principal components, during"
            " training: their standard deviation, in eigenvalues (AlexNet: 0.1)."
            " Gray images become brighter or darker",
        ),
    ] = None
    std: Annotated[
        Positive,
        Field(
            description="divide the pixels, from 0 to 255, by this; 1 leaves them as"
            " they are (AlexNet)"
        ),
    ] = 64.0

    def side(self, height: int, width: int) -> int:
        """Side of an image in pixels, for an input of this height and width."""
        return self.size or math.ceil(max(height, width) * 8 / 7)


def check(data: Data, channels: int, height: int, width: int) -> Iterator[Diagnostic]:
    """Yield what keeps images from being the network's input of this shape."""
    if channels not in (1, 3, 4):
        yield Diagnostic(
            "data-mismatch",
            f"images have 1, 3 or 4 channels, and the input has {channels}",
            ("input", "channels"),
            help="give 1 for gray images, 3 for RGB, or 4 for RGB and alpha",
        )
    side = data.side(height, width)
    if side < max(height, width):
        yield Diagnostic(
            "data-mismatch",
            f"the input, {height} x {width}, cannot be cut out of"
            f" {side} x {side} pixels",
            ("data", "size"),
            help=f"size must be at least {max(height, width)}",
            causes=(("input", "height" if height >= width else "width"),),
        )
