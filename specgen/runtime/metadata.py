"""Image files without what stands beside their pixels: text, profiles, previews.

Pillow refuses an image for a fault in these, or for their length. They are removed by
the structure of the file alone, and nothing in them is read or unpacked.
"""

from __future__ import annotations

import struct
import zlib

PNG = b"\x89PNG\r\n\x1a\n"
JPEG = b"\xff\xd8"

# JPEG markers (ITU T.81, table B.1).
FILL, SOS, EOI = 0xFF, 0xDA, 0xD9
ALONE = {0x01, *range(0xD0, 0xD8)}  # without a length
APPLICATION, COMMENT = range(0xE0, 0xF0), 0xFE


def strip(data: bytes) -> bytes | None:
    """Return a JPEG or PNG file without metadata, None if it is neither.

    What decides how it looks stays: transparency, the color transform, and the EXIF
    data, which say what is up.
    """
    if data.startswith(PNG):
        return _strip_png(data)
    if data.startswith(JPEG):
        return _strip_jpeg(data)
    return None


def _strip_png(data: bytes) -> bytes:
    kept = [PNG]
    at = len(PNG)
    while at + 8 <= len(data):
        length, kind = struct.unpack_from(">I4s", data, at)
        chunk = data[at : at + 12 + length]
        critical = not kind[0] & 0x20  # its first letter is upper case
        sound = zlib.crc32(chunk[4:-4]) == int.from_bytes(chunk[-4:], "big")
        if critical or kind == b"tRNS" or (kind == b"eXIf" and sound):
            kept.append(chunk)
        at += len(chunk)
    return b"".join(kept)


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

    libjpeg takes the color transform from segments of JFIF and of Adobe that are at
    least so long.
    """
    if marker == 0xE0:
        return content.startswith(b"JFIF\0") and len(content) >= 14
    if marker == 0xE1:
        return content.startswith(b"Exif\0\0")
    if marker == 0xEE:
        return content.startswith(b"Adobe") and len(content) >= 12
    return marker not in APPLICATION and marker != COMMENT
