"""What pack.py stores: an index, and shards of pixels with a list for each.

Lists are JSON with a checksum. They may come from anyone: what they say is checked
before it is used.
"""

from __future__ import annotations

import json
import zlib
from collections.abc import Sequence
from pathlib import Path
from typing import Any, TypedDict

from .console import shown
from .errors import DataError
from .files import atomic_write, open_file
from .images import MODES

INDEX = "pack.json"  # the index of a folder that pack.py wrote
SPLITS = ("train", "val")


class Index(TypedDict):
    """The contents of pack.json."""

    complete: bool  # whether all shards are written
    channels: int
    size: int  # images are (channels, size, size)
    classes: list[str]  # sorted; a label is an index
    shards: dict[str, int]  # how many there are, by split


class Listing(TypedDict):
    """The contents of a shard's list."""

    images: list[list[Any]]  # name "split/class/file", label, CRC-32
    bad: dict[str, str]  # why others could not be read, by name
    files: str  # a hash of the files' names, sizes and times


def shard_path(root: Path, split: str, number: int) -> Path:
    """Return the path of a shard's pixels; its list is next to it, in JSON."""
    return root / f"{split}-{number:05}.pixels"


def write_list(path: Path, value: Index | Listing) -> None:
    """Write JSON and, as a last line, its CRC-32 checksum."""
    text = json.dumps(value).encode()
    with atomic_write(path) as file:
        file.write(b"%s\n%d" % (text, zlib.crc32(text)))


def read_index(root: Path) -> Index:
    """Return the contents of pack.json, or raise DataError."""
    value: Any = _read_list(root / INDEX)
    try:
        size, classes, shards = value["size"], value["classes"], value["shards"]
        good = (
            value.keys() == Index.__annotations__.keys()
            and type(value["complete"]) is bool
            and value["channels"] in MODES
            and type(value["channels"]) is int
            and _is_count(size, 2**16)
            and size > 0
            and all(_is_file_name(name) for name in classes)
            and classes == sorted(set(classes))
            and all(_is_count(count, 10**5) for count in shards.values())
            and (not value["complete"] or (classes and shards.keys() == set(SPLITS)))
        )
    except (AttributeError, KeyError, TypeError):
        good = False
    if not good:
        raise _damaged(root / INDEX)
    index: Index = value
    return index


def read_listing(shard: Path, classes: Sequence[str]) -> Listing:
    """Return the list next to a shard of images of these classes.

    Raises DataError if the list cannot be right.
    """
    path = shard.with_suffix(".json")
    value: Any = _read_list(path)
    try:
        names = [name for name, _, _ in value["images"]]
        good = (
            value.keys() == Listing.__annotations__.keys()
            and isinstance(value["files"], str)
            and all(isinstance(reason, str) for reason in value["bad"].values())
            and len(set(names)) == len(names)
            and all(_is_listed(*image, classes=classes) for image in value["images"])
        )
    except (AttributeError, KeyError, TypeError, ValueError):
        good = False
    if not good:
        raise _damaged(path)
    listing: Listing = value
    return listing


def _is_listed(name: Any, label: Any, checksum: Any, *, classes: Sequence[str]) -> bool:
    split, class_name, file = name.split("/")
    return (
        split in SPLITS
        and _is_count(label, len(classes))
        and class_name == classes[label]
        and _is_file_name(file)
        and _is_count(checksum, 2**32)
    )


def _is_count(value: Any, end: int) -> bool:
    return type(value) is int and 0 <= value < end


def _is_file_name(name: Any) -> bool:
    return isinstance(name, str) and bool(name) and name[0] != "." and "/" not in name


def _read_list(path: Path) -> Any:
    try:
        with open_file(path) as file:
            text, _, checksum = file.read().rpartition(b"\n")
        if int(checksum) != zlib.crc32(text):
            raise _damaged(path)
        return json.loads(text)
    except (OSError, ValueError, RecursionError):
        raise _damaged(path) from None


def _damaged(path: Path) -> DataError:
    return DataError(f"cannot read {shown(path)}: run pack.py again")
