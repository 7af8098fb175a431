"""An image file to pixels.

An image becomes (3, size, size) uint8 RGB: upright, the shorter side scaled to `size`,
the center cut out.
"""

from __future__ import annotations

import warnings
from collections.abc import Mapping
from pathlib import Path

import numpy as np
import torch
from PIL import ExifTags, Image, UnidentifiedImageError
from torch import Tensor

from .errors import ImageError

# What a file may hold, whatever its name says. Pillow knows more formats; one of them,
# EPS, runs a program.
FORMATS = ("JPEG", "PNG", "GIF", "BMP", "WEBP", "TIFF")
# What turns an image upright, by its EXIF orientation.
UPRIGHT = {
    2: Image.Transpose.FLIP_LEFT_RIGHT,
    3: Image.Transpose.ROTATE_180,
    4: Image.Transpose.FLIP_TOP_BOTTOM,
    5: Image.Transpose.TRANSPOSE,
    6: Image.Transpose.ROTATE_270,
    7: Image.Transpose.TRANSVERSE,
    8: Image.Transpose.ROTATE_90,
}


def explain(bad: Mapping[str, str]) -> list[str]:
    """Return a sentence for each unreadable image, given the reasons by name."""
    # In Python's quotes: a name may hold line breaks, or bytes that are not text.
    return [f"cannot read {name!r}: {reason}" for name, reason in bad.items()]


def decode(path: Path, size: int) -> Tensor:
    """Return a file's image, (3, size, size) uint8, or raise ImageError."""
    try:
        if path.is_dir():
            raise ImageError("it is a folder")
        if path.exists() and not path.is_file():  # opening a pipe would wait forever
            raise ImageError("it is not a file")
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # pixels may be good where metadata are not
            warnings.simplefilter("error", Image.DecompressionBombWarning)
            with Image.open(path, formats=FORMATS) as image:
                return _square(image, size)
    except UnidentifiedImageError:
        raise ImageError(f"it is none of {', '.join(FORMATS)}") from None
    except Exception as error:  # on broken bytes Pillow raises nearly anything
        reason = getattr(error, "strerror", None) or str(error) or repr(error)
        raise ImageError(reason) from error


def _square(image: Image.Image, size: int) -> Tensor:
    # The JPEG library scales by 1/2, 1/4 or 1/8 as it decodes, which saves most of the
    # work on large photos. Down to twice `size` that costs about one grey level of 255.
    image.draft(None, (2 * size, 2 * size))
    image.load()
    try:
        turn = UPRIGHT.get(image.getexif().get(ExifTags.Base.Orientation, 1))
    except Exception:  # as it may on broken EXIF data: the pixels are good
        turn = None
    if image.mode in ("I", "F"):
        raise ImageError(f"its pixels have no known range (mode {image.mode})")
    if image.mode.startswith("I;16"):
        image = Image.fromarray((np.asarray(image) >> 8).astype(np.uint8))
    if image.has_transparency_data:  # on white: hidden colours can be anything
        image = image.convert("RGBA")
        image = Image.alpha_composite(Image.new("RGBA", image.size, "white"), image)
    side = min(image.size)
    left, top = (image.width - side) / 2, (image.height - side) / 2
    center = (left, top, left + side, top + side)
    image = image.convert("RGB").resize((size, size), Image.Resampling.BILINEAR, center)
    if turn is not None:
        image = image.transpose(turn)
    return torch.from_numpy(np.array(image)).permute(2, 0, 1)
