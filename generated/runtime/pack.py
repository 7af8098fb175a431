"""Decode a tree of images once, so that training does not have to in every epoch.

After a stop, or when images have changed, pack again: shards that are intact and up to
date are kept.
"""

from __future__ import annotations

import hashlib
import os
import shutil
import sys
import zlib
from collections.abc import Sequence
from math import prod
from pathlib import Path
from typing import Any

from tqdm import tqdm

from . import console
from .console import shown
from .dataset import SKIP, Images, batches, open_data
from .errors import DataError, UserError
from .files import amount, atomic_write, lock_folder, open_file, why_unusable
from .images import explain
from .loading import Loader
from .shards import INDEX, Index, Listing, read_listing, shard_path, write_list

SHARD = 1024  # images: the most that an interruption costs


def main(doc: str | None, size: int, channels: int = 3) -> None:
    """Pack images of `size` x `size` pixels, as the command line says."""
    parser = console.parser(doc, "DIR OUT [option...]")
    add = parser.add_argument
    add(
        "source",
        metavar="DIR",
        type=Path,
        help="folder with train/<class>/* and val/<class>/*",
    )
    add("out", metavar="OUT", type=console.target, help="folder to write")
    help = "processes that decode images [one per core]"
    add("--workers", type=int, default=os.cpu_count() or 1, metavar="N", help=help)
    help = "what to do about images that cannot be read [fail]"
    add("--bad-images", choices=("fail", "skip"), default="fail", help=help)
    args = console.parse(parser)
    skip = args.bad_images == "skip"
    try:
        splits = open_source(args.source, args.out, size, channels)
        pack(splits, args.out, args.workers, skip=skip)
    except OSError as error:  # a full disk, say: the shards written so far are kept
        reason = why_unusable(args.out, error)
        raise UserError(f"cannot pack into {shown(args.out)}: {reason}") from None
    except KeyboardInterrupt:
        print("stopped: run it again to continue", file=sys.stderr)
        raise


def open_source(
    source: Path, out: Path, size: int, channels: int
) -> tuple[Images, Images]:
    """Find the images to pack. DataError unless they can be packed into `out`."""
    if (source / INDEX).is_file():
        raise DataError(f"{shown(source)} is already packed")
    if Path(os.path.realpath(out)).is_relative_to(os.path.realpath(source)):
        raise DataError("OUT must be a folder outside DIR")
    return open_data(source, size, channels)


def pack(splits: tuple[Images, Images], out: Path, workers: int, *, skip: bool) -> None:
    """Bring the shards in `out` up to date with these images.

    DataError if an image cannot be read, unless such images are to be skipped.
    """
    channels, size, _ = splits[0].shape
    out.mkdir(parents=True, exist_ok=True)
    _check_space(out, sum(map(len, splits)) * channels * size**2)
    if not lock_folder(out):
        raise DataError(f"another pack.py is writing to {shown(out)}")
    classes = splits[0].classes
    index = Index(
        complete=False, channels=channels, size=size, classes=classes, shards={}
    )
    write_list(out / INDEX, index)

    written = 0
    bad: dict[str, str] = {}
    with tqdm(total=sum(map(len, splits)), unit="img", disable=None) as bar:
        for images in splits:
            shards = batches(len(images), SHARD)
            index["shards"][images.split] = len(shards)
            for number, indices in enumerate(shards):
                shard = shard_path(out, images.split, number)
                files = _fingerprint(images, indices)
                listing = _intact(shard, images, indices, files)
                if listing is None:
                    listing = _write(shard, images, indices, files, workers, bar)
                    write_list(shard.with_suffix(".json"), listing)
                    written += 1
                else:
                    bar.update(len(indices))
                bad |= listing["bad"]

    if bad and not skip:
        raise DataError(*explain(bad), help=SKIP)
    counts = [len(images.without(bad)) for images in splits]
    index["complete"] = True
    write_list(out / INDEX, index)
    for sentence in explain(bad):
        print(console.wrap(f"left out: {sentence}"), file=sys.stderr)
    console.say(
        f"{shown(out)} has {counts[0]} training and {counts[1]} validation images"
        f" ({len(bad)} left out, {written} shards written)"
    )


def _check_space(out: Path, needed: int) -> None:
    """Raise DataError if the shards that are missing would fill the disk."""
    needed -= sum(shard.lstat().st_size for shard in out.glob("*.pixels"))
    free = shutil.disk_usage(out).free
    if needed > free:
        free_now = f"but only {amount(free)} is free"
        raise DataError(f"{shown(out)} needs {amount(needed)}, {free_now}")


def _fingerprint(images: Images, indices: Sequence[int]) -> str:
    """Return a hash of the names, sizes and times of files, and of what they become."""
    digest = hashlib.sha256(repr(images.shape).encode())
    for index in indices:
        name, label = images.samples[index]
        path = Path(images.source(name).path)
        status = path.stat() if path.is_file() else None
        state = (status.st_size, status.st_mtime_ns) if status else None
        digest.update(repr((name, label, state)).encode())
    return digest.hexdigest()


def _intact(
    shard: Path, images: Images, indices: list[int], files: str
) -> Listing | None:
    """Return what a shard lists, if it is intact and of these files."""
    try:
        listing = read_listing(shard, images.classes)
        bad = listing["bad"]
        samples = [images.samples[index] for index in indices]
        if listing["files"] != files or not bad.keys() <= {name for name, _ in samples}:
            return None
        good = [sample for sample in samples if sample[0] not in bad]
        if good != [(name, label) for name, label, _ in listing["images"]]:
            return None
        with open_file(shard) as file:
            for _, _, checksum in listing["images"]:
                if zlib.crc32(file.read(prod(images.shape))) != checksum:
                    return None
            return None if file.read(1) else listing
    except (DataError, OSError):
        return None


def _write(
    shard: Path,
    images: Images,
    indices: list[int],
    files: str,
    workers: int,
    bar: tqdm[Any],
) -> Listing:
    """Write a shard; return what it lists."""
    listing = Listing(images=[], bad={}, files=files)
    chunks = [indices[start : start + 32] for start in range(0, len(indices), 32)]
    with atomic_write(shard) as file:
        for chunk, batch in zip(chunks, Loader(images, chunks, workers), strict=True):
            listing["bad"] |= batch.bad
            bar.update(len(chunk))
            for row, image in zip(batch.rows.tolist(), batch.images, strict=True):
                pixels = image.numpy()
                file.write(pixels)
                name, label = images.samples[chunk[row]]
                listing["images"].append([name, label, zlib.crc32(pixels)])
    return listing
