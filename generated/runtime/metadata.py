"""Image files without whatever is not pixels: text, profiles, previews.

Pillow refuses an image if these are faulty or long. They are removed without being
parsed or unpacked.
"""

from __future__ import annotations

import struct
import zlib
from collections.abc import Iterator

PNG = b"\x89PNG\r\n\x1a\n"
JPEG = b"\xff\xd8"

# JPEG markers (ITU T.81, table B.1).
FILL, SOS, EOI = 0xFF, 0xDA, 0xD9
ALONE = {0x01, *range(0xD0, 0xD8)}  # without a length
APPLICATION, COMMENT = range(0xE0, 0xF0), 0xFE


def strip(data: bytes) -> bytes | None:
    """Return a JPEG or PNG file without metadata, or None if it is neither.

    Whatever decides how the image looks stays: transparency, the color transform, and
    EXIF data, which has its orientation.
    """
    if data.startswith(PNG):
        return _strip_png(data)
    if data.startswith(JPEG):
        return _strip_jpeg(data)
    return None


def has_damaged_pixels(data: bytes) -> bool:
    """Whether a checksum of a PNG file's pixels is wrong.

    Pillow does not check them: it overlooks one in eight wrong bytes.
    """
    chunks = _chunks(data) if data.startswith(PNG) else ()
    return any(not sound and _is_critical(kind) for kind, _, sound in chunks)


def _strip_png(data: bytes) -> bytes:
    kept = [PNG]
    for kind, chunk, sound in _chunks(data):
        if _is_critical(kind) or kind == b"tRNS" or (kind == b"eXIf" and sound):
            kept.append(chunk)
    return b"".join(kept)


def _chunks(data: bytes) -> Iterator[tuple[bytes, bytes, bool]]:
    """Yield a PNG's chunks: kind, all bytes, and whether the checksum is right."""
    at = len(PNG)
    kind = b""
    while at + 8 <= len(data) and kind != b"IEND":
        length, kind = struct.unpack_from(">I4s", data, at)
        chunk = data[at : at + 12 + length]
        checksum = int.from_bytes(chunk[-4:], "big")
        yield kind, chunk, zlib.crc32(chunk[4:-4]) == checksum
        at += len(chunk)


def _is_critical(kind: bytes) -> bool:
    return not kind[0] & 0x20  # its first letter is upper case


def _strip_jpeg(data: bytes) -> bytes:
    kept = [JPEG]
    at = len(JPEG)
    while at + 4 <= len(data) and data[at] == 0xFF:
        marker, length = struct.unpack_from(">BH", data, at + 1)
        if marker == FILL:
            at += 1
            continue
        if marker in (SOS, EOI):
            break
        segment = data[at : at + (2 if marker in ALONE else 2 + length)]
        if _is_needed(marker, segment[4:]):
            kept.append(segment)
        at += len(segment)
    return b"".join([*kept, data[at:]])


def _is_needed(marker: int, content: bytes) -> bool:
    """Whether a JPEG segment decides how the image looks.

    libjpeg reads the color transform from JFIF and Adobe segments of at least these
    lengths.
    """
    if marker == 0xE0:
        return content.startswith(b"JFIF\0") and len(content) >= 14
    if marker == 0xE1:
        return content.startswith(b"Exif\0\0")
    if marker == 0xEE:
        return content.startswith(b"Adobe") and len(content) >= 12
    return marker not in APPLICATION and marker != COMMENT
