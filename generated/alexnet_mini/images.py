"""Image files to batches of pixels.

    DIR/train/<class>/*    DIR/val/<class>/*    (or what pack.py has made of them)

An image becomes (3, 112, 112) uint8 RGB: upright, the shorter side scaled to
112, the centre cut out. No random state is kept: the order of an epoch is a
function of (seed, epoch).
"""

from __future__ import annotations

import argparse
import copy
import functools
import json
import os
import signal
import warnings
import zlib
from collections.abc import Container, Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray
from PIL import ExifTags, Image, UnidentifiedImageError
from torch import Tensor
from torch.utils.data import DataLoader, Dataset

from files import whole

SIZE = 112
INDEX = "pack.json"  # of a folder that pack.py has made
SKIP = "give --bad-images skip to go on without them"  # what helps against bad images
WORKERS_PER_CORE = 16  # at most: more of these processes only take memory

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


class DataError(Exception):
    """Data that cannot be used. The arguments are sentences, one for each problem."""

    def __str__(self) -> str:
        return "\n".join(self.args)


class ImageError(Exception):
    """Why an image cannot be read."""


def explain(bad: Mapping[str, str]) -> list[str]:
    """Return a sentence for each unreadable image, given the reasons by name."""
    # In Python's quotes: a name may hold line breaks, or bytes that are not text.
    return [f"cannot read {name!r}: {reason}" for name, reason in bad.items()]


def decode(path: Path) -> Tensor:
    """Return a file's image, (3, SIZE, SIZE) uint8, or raise ImageError."""
    try:
        if path.is_dir():
            raise ImageError("it is a folder")
        if path.exists() and not path.is_file():  # opening a pipe would wait for ever
            raise ImageError("it is no file")
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # pixels may be good where metadata are not
            warnings.simplefilter("error", Image.DecompressionBombWarning)
            with Image.open(path, formats=FORMATS) as image:
                return _square(image)
    except UnidentifiedImageError:
        raise ImageError(f"it is none of {', '.join(FORMATS)}") from None
    except Exception as error:  # on broken bytes Pillow raises nearly anything
        reason = getattr(error, "strerror", None) or str(error) or repr(error)
        raise ImageError(reason) from error


def _square(image: Image.Image) -> Tensor:
    # The JPEG library scales by 1/2, 1/4 or 1/8 as it decodes, which saves most of the
    # work on large photos. Down to twice SIZE that costs about one grey level of 255.
    image.draft(None, (2 * SIZE, 2 * SIZE))
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
    centre = (left, top, left + side, top + side)
    image = image.convert("RGB").resize((SIZE, SIZE), Image.Resampling.BILINEAR, centre)
    if turn is not None:
        image = image.transpose(turn)
    return torch.from_numpy(np.array(image)).permute(2, 0, 1)


class Batch(NamedTuple):
    """The images of a batch that can be read, and what to know of the others."""

    images: Tensor  # (N, 3, SIZE, SIZE) uint8
    labels: Tensor  # (N,) int64
    rows: Tensor  # (N,) int64: their places in the batch that was asked for
    bad: dict[str, str]  # the others: why they cannot be read, by name


class Images(Dataset[Batch]):
    """The images of one split, in a fixed order: each has a name and a label."""

    def __init__(self, root: Path, split: str) -> None:
        self.root, self.split = root, split
        self.classes: list[str] = []  # sorted; a label is an index
        self.samples: list[tuple[str, int]] = []  # name "split/class/file", label
        self.problems: list[str] = []

    def __len__(self) -> int:
        return len(self.samples)

    def read(self, name: str) -> Tensor:
        """Return an image, (3, SIZE, SIZE) uint8, or raise ImageError."""
        raise NotImplementedError

    def __getitems__(self, indices: Sequence[int]) -> Batch:
        """Read a batch: the loader asks for all of its images at once."""
        images = torch.empty(len(indices), 3, SIZE, SIZE, dtype=torch.uint8)
        labels: list[int] = []
        rows: list[int] = []
        bad: dict[str, str] = {}
        for row, index in enumerate(indices):
            name, label = self.samples[index]
            try:
                images[len(rows)] = self.read(name)
            except ImageError as reason:
                bad[name] = str(reason)
            else:
                labels.append(label)
                rows.append(row)
        found = torch.tensor([labels, rows], dtype=torch.int64)
        return Batch(images[: len(rows)], found[0], found[1], bad)

    def without(self, names: Container[str]) -> Images:
        """Leave out some images. DataError if nothing is left of a class."""
        rest = copy.copy(self)
        rest.samples = [sample for sample in self.samples if sample[0] not in names]
        left = {label for _, label in rest.samples}
        problems = [
            f"no image of class {name!r} in {self.split!r} can be read"
            for label, name in enumerate(self.classes)
            if label not in left
        ]
        if problems:
            raise DataError(*problems)
        return rest


class ImageFolder(Images):
    """root/split/<class>/*, where all that is not hidden should be an image."""

    def __init__(self, root: Path, split: str) -> None:
        super().__init__(root, split)
        folder = root / split
        if not folder.is_dir():
            self.problems.append(f"there is no folder {str(folder)!r}")
            return
        self.classes = [name for name in _visible(folder) if (folder / name).is_dir()]
        if not self.classes:
            self.problems.append(f"there is no class folder in {str(folder)!r}")
        for label, name in enumerate(self.classes):
            files = _visible(folder / name)
            self.samples += [(f"{split}/{name}/{file}", label) for file in files]
            if not files:
                self.problems.append(f"there is no image in {str(folder / name)!r}")

    def read(self, name: str) -> Tensor:
        """Decode the file."""
        return decode(self.root / name)


class PackedImages(Images):
    """The same images as pack.py has stored them, decoded, in memory-mapped shards.

    A shard is a file of pixels, one image after the other, and a list in JSON of their
    names, labels and CRC-32 checksums.
    """

    def __init__(self, root: Path, split: str) -> None:
        super().__init__(root, split)
        self.places: dict[str, tuple[Path, int, int]] = {}  # shard, row, checksum
        index = read_list(root / INDEX, "complete")
        if not index["complete"]:
            self.problems.append(f"{str(root)!r} is not complete: run pack.py again")
            return
        if index["size"] != SIZE:
            self.problems.append(
                f"the images in {str(root)!r} have size {index['size']}, not {SIZE}"
            )
            return
        self.classes = index["classes"]
        for number in range(index["shards"][split]):
            shard = shard_path(root, split, number)
            listed = read_list(shard.with_suffix(".json"), "images")["images"]
            if not shard.exists() or shard.stat().st_size != len(listed) * 3 * SIZE**2:
                self.problems.append(f"{str(shard)!r} is not whole: run pack.py again")
            if not all(name.startswith(f"{split}/") for name, _, _ in listed):
                self.problems.append(f"{str(shard)!r} is not of {split!r}")
            for row, (name, label, checksum) in enumerate(listed):
                self.samples.append((name, label))
                self.places[name] = shard, row, checksum

    def read(self, name: str) -> Tensor:
        """Copy the pixels, if they are what was written."""
        shard, row, checksum = self.places[name]
        pixels = _mapped(shard)[row]
        if zlib.crc32(pixels) != checksum:
            raise ImageError(f"it is damaged in {str(shard)!r}: run pack.py again")
        return torch.from_numpy(pixels)


def shard_path(root: Path, split: str, number: int) -> Path:
    """Return where the pixels of a shard are; its list is beside them, in JSON."""
    return root / f"{split}-{number:05}.pixels"


@functools.cache  # once in each process
def _mapped(shard: Path) -> NDArray[np.uint8]:
    """Return the pixels of a shard, (N, 3, SIZE, SIZE) uint8."""
    # Copy-on-write, as torch warns of what it must not write to.
    return np.memmap(shard, np.uint8, "c").reshape(-1, 3, SIZE, SIZE)


def write_list(path: Path, value: Any) -> None:
    """Write JSON and, as a last line, its CRC-32 checksum."""
    text = json.dumps(value).encode()
    with whole(path) as file:
        file.write(b"%s\n%d" % (text, zlib.crc32(text)))


def read_list(path: Path, key: str) -> Any:
    """Return what `write_list` has written, which has this key, or raise DataError."""
    try:
        text, _, checksum = path.read_bytes().rpartition(b"\n")
        if int(checksum) != zlib.crc32(text):
            raise ValueError("its checksum is another")
        value = json.loads(text)
        if key not in value:
            raise ValueError("it is the list of something else")
        return value
    except (OSError, ValueError) as error:
        raise DataError(f"cannot read {str(path)!r}: run pack.py again") from error


def _visible(folder: Path) -> list[str]:
    return sorted(name for name in os.listdir(folder) if not name.startswith("."))


def open_split(root: Path, split: str) -> Images:
    """Find the images of a split. DataError says all that is wrong with it."""
    images = _find(root, split)
    if images.problems:
        raise DataError(*images.problems)
    return images


def open_data(root: Path) -> tuple[Images, Images]:
    """Find the splits train and val. DataError says all that is wrong with them."""
    train, val = _find(root, "train"), _find(root, "val")
    problems = train.problems + val.problems
    if train.classes and val.classes:
        for here, there in ((train, val), (val, train)):
            problems += [
                f"class {name!r} is in {here.split!r} but not in {there.split!r}"
                for name in sorted(set(here.classes) - set(there.classes))
            ]
    if problems:
        raise DataError(*problems)
    return train, val


def _find(root: Path, split: str) -> Images:
    packed = (root / INDEX).is_file()
    return PackedImages(root, split) if packed else ImageFolder(root, split)


def fingerprint(*splits: Images) -> int:
    """Return a checksum of the names and labels of all images, in their order."""
    return zlib.crc32(repr([images.samples for images in splits]).encode())


def batches(
    count: int, batch_size: int, seed: int | None = None, epoch: int = 0
) -> list[list[int]]:
    """Cut the numbers below `count` into batches, of which the last may be short.

    A seed shuffles them first, as a function of (seed, epoch).
    """
    order = list(range(count))
    if seed is not None:
        order = np.random.default_rng((seed, epoch)).permutation(count).tolist()
    return [order[start : start + batch_size] for start in range(0, count, batch_size)]


def load(
    images: Images, batches: Iterable[list[int]], workers: int
) -> DataLoader[Batch]:
    """Read batches of indices, in their order, with so many processes (0: this one)."""
    return DataLoader(
        images,
        batch_sampler=batches,
        num_workers=workers,
        collate_fn=_keep,
        worker_init_fn=_leave_signals,
        pin_memory=torch.cuda.is_available(),
        generator=torch.Generator(),  # by default it would draw from the global one
    )


def check_numbers(parser: argparse.ArgumentParser, args: argparse.Namespace) -> None:
    """End with the parser's error if a flag has a number that it cannot have."""
    for name, value in vars(args).items():
        if type(value) is int and not is_sound(name, value):
            least, most = bounds(name)
            flag = name.replace("_", "-")
            parser.error(f"--{flag} cannot be {value}, only {least} to {most}")


def is_sound(name: str, value: object) -> bool:
    """Return whether the flag of this name can have such a value, a whole number."""
    least, most = bounds(name)
    return type(value) is int and least <= value <= most


def bounds(name: str) -> tuple[int, int]:
    """Return the least and the most that the flag of this name can be."""
    if name == "workers":
        return 0, WORKERS_PER_CORE * (os.cpu_count() or 1)
    if name == "batch_size":
        return 1, 2**20  # draws of a batch take memory
    return int(name != "seed"), 2**32 - 1


def _keep(batch: Any) -> Any:
    return batch  # it is complete: the data set reads whole batches


def _leave_signals(worker: int) -> None:
    # Ctrl-C in a terminal, and a SIGTERM through torchrun, reach every process, and
    # only the main one should act on it. It tells these when to end.
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    signal.signal(signal.SIGTERM, signal.SIG_IGN)
