"""Decode a tree of images once, so that training need not do it in every epoch.

    python pack.py DIR OUT
    python train.py --data OUT

After a stop, or when images in DIR have changed, run it again: it keeps the shards that
still have their checksums and their files in DIR as they were, and writes the others.
"""

from __future__ import annotations

import argparse
import hashlib
import os
import shutil
import sys
import zlib
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from tqdm import tqdm

from files import claim, escape_output, whole
from images import (
    INDEX,
    SIZE,
    SKIP,
    DataError,
    Images,
    batches,
    check_numbers,
    explain,
    load,
    open_data,
    read_list,
    shard_path,
    write_list,
)

SHARD = 1024  # images: what a stop costs at most
IMAGE = 3 * SIZE**2  # bytes


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command line; return its exit status."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument(
        "source", metavar="DIR", type=Path, help="has train/<class>/* and val/<class>/*"
    )
    parser.add_argument("out", metavar="OUT", type=Path, help="folder to write")
    parser.add_argument(
        "--workers",
        type=int,
        default=os.cpu_count() or 1,
        help="processes that decode (default: %(default)s)",
    )
    parser.add_argument(
        "--bad-images",
        choices=("fail", "skip"),
        default="fail",
        help="name what cannot be read and fail (default), or go on without it",
    )
    args = parser.parse_args(arguments)
    escape_output()
    check_numbers(parser, args)
    try:
        pack(args.source, args.out, args.workers, skip=args.bad_images == "skip")
    except DataError as error:
        for sentence in error.args:
            print(f"error: {sentence}", file=sys.stderr)
        return 1
    except OSError as error:  # a full disk, say: the shards written so far are kept
        sentence = f"cannot pack into {str(args.out)!r}: {error.strerror}"
        print(f"error: {sentence}", file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        print("stopped: run it again to go on", file=sys.stderr)
        return 130
    return 0


def pack(source: Path, out: Path, workers: int, skip: bool) -> None:
    """Bring the shards in `out` up to date with the images in `source`.

    DataError if an image cannot be read, unless such images are to be skipped.
    """
    if (source / INDEX).is_file():
        raise DataError(f"{str(source)!r} is packed already")
    if out.resolve().is_relative_to(source.resolve()):
        raise DataError("OUT has to be another folder than DIR, and not inside it")
    splits = open_data(source)
    out.mkdir(parents=True, exist_ok=True)
    _check_space(out, sum(map(len, splits)) * IMAGE)
    if not claim(out):
        raise DataError(f"another pack.py writes to {str(out)!r}")
    index: dict[str, Any] = {
        "complete": False,
        "size": SIZE,
        "classes": splits[0].classes,
        "shards": {},
    }
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
                listing = _intact(shard, files)
                if listing is None:
                    listing = _write(shard, images, indices, workers, bar)
                    write_list(shard.with_suffix(".json"), listing | {"files": files})
                    written += 1
                else:
                    bar.update(len(indices))
                bad |= listing["bad"]

    if bad and not skip:
        raise DataError(*explain(bad), SKIP)
    counts = [len(images.without(bad)) for images in splits]
    write_list(out / INDEX, index | {"complete": True})
    for sentence in explain(bad):
        print(f"left out {sentence}", file=sys.stderr)
    print(
        f"{str(out)!r} has {counts[0]} images to train and {counts[1]} to validate"
        f" ({len(bad)} left out, {written} shards written)"
    )


def _check_space(out: Path, needed: int) -> None:
    """Raise DataError if the shards that are missing would fill the disk."""
    needed -= sum(shard.stat().st_size for shard in out.glob("*.pixels"))
    free = shutil.disk_usage(out).free
    if needed > free:
        raise DataError(
            f"{str(out)!r} needs {needed / 1e9:.1f} GB, where {free / 1e9:.1f} are free"
        )


def _fingerprint(images: Images, indices: Sequence[int]) -> str:
    """Return what changes if a file does, or the list of them."""
    digest = hashlib.sha256(str(SIZE).encode())
    for index in indices:
        name, label = images.samples[index]
        path = images.root / name
        status = path.stat() if path.is_file() else None
        state = (status.st_size, status.st_mtime_ns) if status else None
        digest.update(repr((name, label, state)).encode())
    return digest.hexdigest()


def _intact(shard: Path, files: str) -> dict[str, Any] | None:
    """Return what a shard lists, if it is of these files and has its checksums."""
    try:
        listing: dict[str, Any] = read_list(shard.with_suffix(".json"), "images")
        pixels = memoryview(shard.read_bytes())
    except (DataError, OSError):
        return None
    starts = range(0, len(pixels), IMAGE)
    checksums = [zlib.crc32(pixels[start : start + IMAGE]) for start in starts]
    same = checksums == [checksum for _, _, checksum in listing["images"]]
    return listing if same and listing["files"] == files else None


def _write(
    shard: Path, images: Images, indices: list[int], workers: int, bar: tqdm[Any]
) -> dict[str, Any]:
    """Write a shard; return what it lists."""
    listed: list[tuple[str, int, int]] = []
    bad: dict[str, str] = {}
    chunks = [indices[start : start + 32] for start in range(0, len(indices), 32)]
    with whole(shard) as file:
        for chunk, batch in zip(chunks, load(images, chunks, workers), strict=True):
            bad |= batch.bad
            bar.update(len(chunk))
            for row, image in zip(batch.rows.tolist(), batch.images, strict=True):
                pixels = image.numpy()
                file.write(pixels)
                listed.append((*images.samples[chunk[row]], zlib.crc32(pixels)))
    return {"images": listed, "bad": bad}


if __name__ == "__main__":
    sys.exit(main())
