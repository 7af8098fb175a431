"""From an image file to its pixels."""

from __future__ import annotations

import os
import struct
import zlib
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from images_on_disk import SIZE, picture
from PIL import Image, ImageOps
from PIL.JpegImagePlugin import JpegImageFile

from specgen.runtime import images, metadata
from specgen.runtime.errors import ImageError


def decode(path: Path) -> torch.Tensor:
    return torch.from_numpy(images.decode(path, SIZE))


def pixels(image: Image.Image) -> torch.Tensor:
    return torch.from_numpy(np.array(image.convert("RGB"))).permute(2, 0, 1)


@pytest.mark.parametrize("size", [(SIZE + 10, SIZE), (SIZE, SIZE + 6), (SIZE, SIZE)])
def test_the_center_is_cut_out_unchanged(tmp_path: Path, size: tuple[int, int]) -> None:
    picture(1, *size).save(tmp_path / "a.png")
    left, top = (size[0] - SIZE) // 2, (size[1] - SIZE) // 2
    expected = pixels(picture(1, *size))[:, top : top + SIZE, left : left + SIZE]
    assert torch.equal(decode(tmp_path / "a.png"), expected)


@pytest.mark.parametrize("suffix", ["png", "jpg", "webp", "tiff"])
@pytest.mark.parametrize("orientation", range(1, 9))
def test_images_are_upright(tmp_path: Path, suffix: str, orientation: int) -> None:
    upright = picture(2, 57, 31)
    inverse = {5: 5, 6: 8, 8: 6}.get(orientation, orientation)
    turn = images.UPRIGHT.get(inverse)
    stored = upright if turn is None else upright.transpose(turn)
    exif = Image.Exif()
    exif[0x0112] = orientation
    path = tmp_path / f"a.{suffix}"
    stored.save(path, exif=exif, quality=100, lossless=True)

    upright.save(tmp_path / "b.png")
    expected = decode(tmp_path / "b.png").int()
    assert (decode(path).int() - expected).abs().max() <= 4


@pytest.mark.parametrize(
    ("mode", "color", "expected"),
    [
        ("L", 100, (100, 100, 100)),
        ("1", 1, (255, 255, 255)),
        ("I;16", 0x8040, (128, 128, 128)),
        ("RGBA", (10, 20, 30, 0), (255, 255, 255)),
        ("RGBA", (10, 20, 30, 255), (10, 20, 30)),
        ("LA", (10, 0), (255, 255, 255)),
    ],
)
def test_every_mode_becomes_rgb(
    tmp_path: Path, mode: str, color: Any, expected: tuple[int, ...]
) -> None:
    path = tmp_path / "named.JPEG"
    Image.new(mode, (30, 40), color).save(path, format="PNG")
    found = decode(path)
    assert found.dtype == torch.uint8
    assert torch.equal(
        found, torch.tensor(expected).byte().view(3, 1, 1).expand_as(found)
    )


def test_a_cmyk_jpeg_is_not_inverted(tmp_path: Path) -> None:
    Image.new("CMYK", (30, 40), (0, 255, 255, 0)).save(tmp_path / "a.jpg")
    red, green, blue = decode(tmp_path / "a.jpg").float().mean(dim=(1, 2))
    assert red > 240
    assert max(green, blue) < 15


def test_a_transparent_color_of_a_palette_is_white(tmp_path: Path) -> None:
    image = Image.new("P", (30, 30), 1)
    image.putpalette([0, 0, 0, 200, 10, 10])
    image.save(tmp_path / "a.gif", transparency=1)
    assert decode(tmp_path / "a.gif").min() == 255


def test_scaled_decoding_is_exact_enough(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    decoded = []

    class Spied(JpegImageFile):
        def load(self) -> Any:
            decoded.append(self.size)
            return super().load()

    monkeypatch.setitem(Image.OPEN, "JPEG", (Spied, Image.OPEN["JPEG"][1]))
    image = picture(3, 800, 600)
    image.save(tmp_path / "a.jpg", quality=95)
    image.save(tmp_path / "a.png")
    scaled, full = (decode(tmp_path / f"a.{kind}") for kind in ("jpg", "png"))
    assert (scaled.float() - full.float()).abs().mean() < 1
    assert decoded[0] == (100, 75)  # an eighth: the least that is twice SIZE


@pytest.mark.parametrize("mode", ["I", "F"])
def test_pixels_of_unknown_range_are_refused(tmp_path: Path, mode: str) -> None:
    Image.new(mode, (30, 30), 7).save(tmp_path / "a.tiff")
    with pytest.raises(ImageError, match=f"no known range \\(mode {mode}\\)"):
        decode(tmp_path / "a.tiff")


def test_a_file_that_is_not_an_image_is_refused(tmp_path: Path) -> None:
    (tmp_path / "page").write_text("<html><body>404 Not Found</body></html>")
    (tmp_path / "empty").touch()
    (tmp_path / "program").write_text(
        "%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 9 9\n"
    )
    os.mkfifo(tmp_path / "pipe")
    (tmp_path / "loop").symlink_to(tmp_path / "loop")
    (tmp_path / "dangling").symlink_to(tmp_path / "nowhere")
    (tmp_path / "folder").mkdir()
    reasons = {}
    for path in (*tmp_path.iterdir(), tmp_path / ("x" * 300)):
        with pytest.raises(ImageError) as caught:
            decode(path)
        reasons[path.name] = str(caught.value)
    unknown = "it is not one of JPEG, PNG, GIF, BMP, WEBP, TIFF, PPM"
    assert reasons == {
        **dict.fromkeys(("page", "empty", "program"), unknown),
        "pipe": "it is not a file",
        "folder": "it is a folder: images belong directly in the folder of their class",
        "loop": "Too many levels of symbolic links",
        "dangling": "No such file or directory",
        "x" * 300: "File name too long",
    }


def test_a_decompression_bomb_is_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    picture(4, 30, 30).save(tmp_path / "a.png")
    for limit in (600, 400):  # Pillow only warns up to twice its limit
        monkeypatch.setattr(Image, "MAX_IMAGE_PIXELS", limit)
        with pytest.raises(ImageError, match="decompression bomb"):
            decode(tmp_path / "a.png")


# What is in a file besides its pixels.


def chunk(kind: bytes, content: bytes, damage: int = 0) -> bytes:
    """Return a PNG chunk; `damage` makes its checksum wrong."""
    checksum = zlib.crc32(kind + content) ^ damage
    return struct.pack(">I", len(content)) + kind + content + checksum.to_bytes(4)


def segment(marker: int, content: bytes) -> bytes:
    """Return a JPEG segment."""
    return struct.pack(">BBH", 0xFF, marker, len(content) + 2) + content


LONG = zlib.compress(bytes(2**21))  # more than Pillow unpacks
PNG_METADATA = {
    "long text": chunk(b"zTXt", b"Comment\0\0" + LONG),
    "long international text": chunk(b"iTXt", b"Comment\0\1\0\0\0" + LONG),
    "long profile": chunk(b"iCCP", b"sRGB\0\0" + LONG),
    "damaged text": chunk(b"tEXt", b"Comment\0text", damage=1),
    "damaged EXIF": chunk(b"eXIf", b"MM\0*", damage=1),
    "short gamma": chunk(b"gAMA", b"\0\0"),
    "short chromaticities": chunk(b"cHRM", b"\0\0"),
    "short resolution": chunk(b"pHYs", b"\0\0"),
    "short animation": chunk(b"acTL", b"\0\0"),
}
JPEG_METADATA = {
    "short JFIF": segment(0xE0, b"JFIF\0\1"),
    "short Adobe": segment(0xEE, b"Adobe\0"),
    "short EXIF": segment(0xE1, b"Exif\0\0"),
    "short profile": segment(0xE2, b"ICC_PROFILE\0"),
    "short list of pictures": segment(0xE2, b"MPF\0"),
    "short Photoshop": segment(0xED, b"Photoshop 3.0\0008BIM\4\4"),
    "no comment": segment(0xFE, b""),
}


@pytest.mark.parametrize("what", [*PNG_METADATA, *JPEG_METADATA])
def test_faults_outside_the_pixels_do_not_matter(tmp_path: Path, what: str) -> None:
    suffix, start = ("png", 33) if what in PNG_METADATA else ("jpg", 20)
    path = tmp_path / f"a.{suffix}"
    exif = Image.Exif()
    exif[0x0112] = 3
    picture(7, 60, 40).save(path, exif=None if what == "damaged EXIF" else exif)
    expected, data = decode(path), path.read_bytes()
    wrong = (PNG_METADATA | JPEG_METADATA)[what]
    for at in (start, 2) if suffix == "jpg" else (start, len(data) - 12):
        path.write_bytes(data[:at] + wrong + data[at:])
        assert torch.equal(decode(path), expected), at


def test_a_png_whose_pixels_are_damaged_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "a.png"
    picture(8, 60, 40).save(path)
    data = path.read_bytes()
    start = data.index(b"IDAT") + 4
    for at in range(start, len(data) - 16, 97):
        path.write_bytes(data[:at] + bytes([data[at] ^ 0x55]) + data[at + 1 :])
        with pytest.raises(ImageError):
            decode(path)


@given(data=st.binary(max_size=80), jpeg=st.booleans())
def test_stripping_accepts_any_bytes(data: bytes, jpeg: bool) -> None:
    start = metadata.JPEG if jpeg else metadata.PNG
    stripped = metadata.strip(start + data)
    assert stripped is not None
    assert stripped.startswith(start)
    assert len(stripped) <= len(start + data)


@pytest.mark.parametrize(
    ("header", "content", "expected"),
    [
        (b"P6 2 2 255\n", bytes([10, 20, 30] * 4), (10, 20, 30)),
        (b"P5 2 2 255\n", bytes([40] * 4), (40, 40, 40)),
        (b"P5 2 2 65535\n", bytes([128, 64] * 4), (128, 128, 128)),
        (b"P5 2 2 1023\n", bytes([2, 0] * 4), (128, 128, 128)),
        (b"P4 2 2\n", bytes([0, 0]), (255, 255, 255)),
        (b"P3 1 1 255\n", b"1 2 3", (1, 2, 3)),
    ],
)
def test_netpbm_files(
    tmp_path: Path, header: bytes, content: bytes, expected: tuple[int, ...]
) -> None:
    path = tmp_path / "a.pnm"
    path.write_bytes(header + content)
    found = decode(path)
    assert torch.equal(
        found, torch.tensor(expected).byte().view(3, 1, 1).expand_as(found)
    )
    path.write_bytes(header + content[:-1])
    if header[:2] != b"P3":
        with pytest.raises(ImageError):
            decode(path)


@given(cut=st.integers(1, 1000))
def test_no_truncated_file_passes(
    tmp_path_factory: pytest.TempPathFactory, cut: int
) -> None:
    path = tmp_path_factory.mktemp("cut") / "a.jpg"
    picture(5, 90, 80).save(path, quality=95)
    data = path.read_bytes()
    path.write_bytes(data[: -(cut % len(data)) or None])
    with pytest.raises(ImageError):
        decode(path)


def test_every_odd_file_loads_upright(odd: Path, tmp_path: Path) -> None:
    files = sorted((odd / "decodable").rglob("*.JPEG"))
    assert len(files) > 90
    turned = 0
    for path in files:
        image = decode(path)
        assert (image.dtype, image.shape) == (torch.uint8, (3, SIZE, SIZE)), path
        if "orientation" in path.name:
            with Image.open(path) as stored:
                ImageOps.exif_transpose(stored).save(tmp_path / "upright.png")
            upright = decode(tmp_path / "upright.png")
            assert (image.float() - upright.float()).abs().mean() < 3, path
            turned += 1
    assert turned > 15


def test_a_reason_cannot_forge_a_line() -> None:
    bad = {"a\n.png": "broken\x1b[2J\nerror: none", "b": "fine"}
    assert images.explain(bad) == [
        r"cannot read 'a\n.png': 'broken\x1b[2J\nerror: none'",
        "cannot read 'b': fine",
    ]
