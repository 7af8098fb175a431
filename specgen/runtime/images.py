"""Reads an image's pixels, from its file or from where pack.py stored them.

An image becomes (channels, size, size) uint8: upright, the shorter side scaled to
`size`, the center cut out. One channel is gray, three are RGB, four RGB and alpha; an
image of another kind is converted as Pillow does. The processes that decode images
import this, so it does not import torch, which would make them slow to start.
"""

from __future__ import annotations

import io
import warnings
import zlib
from collections.abc import Mapping
from pathlib import Path
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray
from PIL import ExifTags, Image, UnidentifiedImageError

from . import metadata
from .console import readable, shown
from .errors import ImageError
from .files import open_file

Pixels = NDArray[np.uint8]

IN_A_CLASS = "it is a folder: images belong directly in the folder of their class"

# What a file may contain, whatever its name. Pillow knows more formats; one of them,
# EPS, runs a program.
FORMATS = ("JPEG", "PNG", "GIF", "BMP", "WEBP", "TIFF", "PPM")
# Pillow's modes by the number of channels.
MODES = {1: "L", 3: "RGB", 4: "RGBA"}
# The operation that turns an image upright, by its EXIF orientation.
UPRIGHT = {
    2: Image.Transpose.FLIP_LEFT_RIGHT,
    3: Image.Transpose.ROTATE_180,
    4: Image.Transpose.FLIP_TOP_BOTTOM,
    5: Image.Transpose.TRANSPOSE,
    6: Image.Transpose.ROTATE_270,
    7: Image.Transpose.TRANSVERSE,
    8: Image.Transpose.ROTATE_90,
}


class ImageFile(NamedTuple):
    """An image in its own file."""

    path: str

    def read(self, out: Pixels) -> None:
        """Write the pixels to `out`, (channels, size, size), or raise ImageError."""
        out[...] = decode(Path(self.path), out.shape[-1], len(out))


class StoredImage(NamedTuple):
    """An image in a shard of pack.py: a file of pixels, one image after the other."""

    path: str  # of the shard
    row: int
    checksum: int  # CRC-32

    def read(self, out: Pixels) -> None:
        """Write the pixels to `out`, (channels, size, size), or raise ImageError."""
        # Not mapped into memory: if a mapped file is cut short, reading it kills the
        # process. For 256 x 256 pixels this costs 8 us more; their checksum costs 46.
        try:
            with open_file(Path(self.path), buffering=0) as file:
                file.seek(self.row * out.nbytes)
                count = file.readinto(out.data)  # type: ignore[attr-defined]
        except OSError as error:
            raise ImageError(f"{error.strerror}: {shown(self.path)}") from error
        if count < out.nbytes or zlib.crc32(out.data) != self.checksum:
            raise ImageError(f"it is damaged in {shown(self.path)}: run pack.py again")


def explain(bad: Mapping[str, str]) -> list[str]:
    """Return a sentence for each unreadable image, given the reasons by name."""
    # Quoted as in Python: a name may have line breaks, or bytes that are not text.
    return [f"cannot read {name!r}: {readable(bad[name])}" for name in bad]


def decode(path: Path, size: int, channels: int = 3) -> Pixels:
    """Return a file's image, (channels, size, size) uint8, or raise ImageError."""
    try:
        if path.is_dir():
            raise ImageError(IN_A_CLASS)
        with open_file(path) as file:
            data = file.read()
        if metadata.has_damaged_pixels(data):
            raise ImageError("its pixels are damaged: a checksum is wrong")
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # pixels may be good where metadata are not
            warnings.simplefilter("error", Image.DecompressionBombWarning)
            try:
                return _decode(data, size, channels)
            except Exception:
                stripped = metadata.strip(data)
                if stripped is None:
                    raise
                return _decode(stripped, size, channels)
    except UnidentifiedImageError:
        raise ImageError(f"it is not one of {', '.join(FORMATS)}") from None
    except Exception as error:  # on broken bytes Pillow raises nearly anything
        reason = getattr(error, "strerror", None) or str(error) or repr(error)
        raise ImageError(reason) from error


def _decode(data: bytes, size: int, channels: int) -> Pixels:
    with Image.open(io.BytesIO(data), formats=FORMATS) as image:
        return _square(image, size, channels)


def _square(image: Image.Image, size: int, channels: int) -> Pixels:
    # The JPEG library scales by 1/2, 1/4 or 1/8 as it decodes, which saves most of the
    # work on large photos. Down to twice `size` that costs about one gray level of 255.
    image.draft(None, (2 * size, 2 * size))
    image.load()
    try:
        turn = UPRIGHT.get(image.getexif().get(ExifTags.Base.Orientation, 1))
    except Exception:  # as it may on broken EXIF data: the pixels are good
        turn = None
    sixteen_bits = image.mode.startswith("I;16") or (
        image.mode == "I" and image.format == "PPM"
    )
    if sixteen_bits:
        image = Image.fromarray((np.asarray(image) >> 8).astype(np.uint8))
    if image.mode in ("I", "F"):
        raise ImageError(f"its pixels have no known range (mode {image.mode})")
    mode = MODES[channels]
    # Hidden colors can be anything. Without alpha the image is seen on white; with it,
    # colors are scaled times alpha (RGBa), and hidden ones become black.
    if mode == "RGBA":
        image = image.convert("RGBA").convert("RGBa")
    elif image.has_transparency_data:
        image = image.convert("RGBA")
        white = Image.new("RGBA", image.size, "white")
        image = Image.alpha_composite(white, image).convert(mode)
    else:
        image = image.convert(mode)
    side = min(image.size)
    left, top = (image.width - side) / 2, (image.height - side) / 2
    center = (left, top, left + side, top + side)
    image = image.resize((size, size), Image.Resampling.BILINEAR, center).convert(mode)
    if turn is not None:
        image = image.transpose(turn)
    return np.array(image).reshape(size, size, channels).transpose(2, 0, 1)
