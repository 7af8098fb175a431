"""The images of a data set, and batches of them.

    DIR/train/<class>/*    DIR/val/<class>/*    (or what pack.py has made of them)

No random state is kept: the order of an epoch is a function of (seed, epoch).
"""

from __future__ import annotations

import copy
import functools
import json
import os
import signal
import zlib
from collections.abc import Container, Iterable, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.utils.data import DataLoader, Dataset

from .errors import DataError, ImageError
from .files import atomic_write
from .images import decode

INDEX = "pack.json"  # of a folder that pack.py has made
SKIP = "give --bad-images skip to go on without them"  # what helps against bad images


class Batch(NamedTuple):
    """The images of a batch that can be read, and what to know of the others."""

    images: Tensor  # (N, 3, size, size) uint8
    labels: Tensor  # (N,) int64
    rows: Tensor  # (N,) int64: their places in the batch that was asked for
    bad: dict[str, str]  # the others: why they cannot be read, by name


class Images(Dataset[Batch]):
    """The images of one split, in a fixed order: each has a name and a label."""

    def __init__(self, root: Path, split: str, size: int) -> None:
        self.root, self.split, self.size = root, split, size
        self.classes: list[str] = []  # sorted; a label is an index
        self.samples: list[tuple[str, int]] = []  # name "split/class/file", label
        self.problems: list[str] = []

    def __len__(self) -> int:
        return len(self.samples)

    def read(self, name: str) -> Tensor:
        """Return an image, (3, size, size) uint8, or raise ImageError."""
        raise NotImplementedError

    def __getitems__(self, indices: Sequence[int]) -> Batch:
        """Read a batch: the loader asks for all of its images at once."""
        shape = len(indices), 3, self.size, self.size
        images = torch.empty(shape, dtype=torch.uint8)
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

    def __init__(self, root: Path, split: str, size: int) -> None:
        super().__init__(root, split, size)
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
        return decode(self.root / name, self.size)


class PackedImages(Images):
    """The same images as pack.py has stored them, decoded, in memory-mapped shards.

    A shard is a file of pixels, one image after the other, and a list in JSON of their
    names, labels and CRC-32 checksums.
    """

    def __init__(self, root: Path, split: str, size: int) -> None:
        super().__init__(root, split, size)
        self.places: dict[str, tuple[Path, int, int]] = {}  # shard, row, checksum
        index = read_list(root / INDEX, "complete")
        if not index["complete"]:
            self.problems.append(f"{str(root)!r} is not complete: run pack.py again")
            return
        if index["size"] != size:
            self.problems.append(
                f"the images in {str(root)!r} have size {index['size']}, not {size}"
            )
            return
        self.classes = index["classes"]
        for number in range(index["shards"][split]):
            shard = shard_path(root, split, number)
            listed = read_list(shard.with_suffix(".json"), "images")["images"]
            if not shard.exists() or shard.stat().st_size != len(listed) * 3 * size**2:
                self.problems.append(f"{str(shard)!r} is not whole: run pack.py again")
            if not all(name.startswith(f"{split}/") for name, _, _ in listed):
                self.problems.append(f"{str(shard)!r} is not of {split!r}")
            for row, (name, label, checksum) in enumerate(listed):
                self.samples.append((name, label))
                self.places[name] = shard, row, checksum

    def read(self, name: str) -> Tensor:
        """Copy the pixels, if they are what was written."""
        shard, row, checksum = self.places[name]
        pixels = _mapped(shard, self.size)[row]
        if zlib.crc32(pixels) != checksum:
            raise ImageError(f"it is damaged in {str(shard)!r}: run pack.py again")
        return torch.from_numpy(pixels)


def shard_path(root: Path, split: str, number: int) -> Path:
    """Return where the pixels of a shard are; its list is beside them, in JSON."""
    return root / f"{split}-{number:05}.pixels"


@functools.cache  # once in each process
def _mapped(shard: Path, size: int) -> NDArray[np.uint8]:
    """Return the pixels of a shard, (N, 3, size, size) uint8."""
    # Copy-on-write, as torch warns of what it must not write to.
    return np.memmap(shard, np.uint8, "c").reshape(-1, 3, size, size)


def write_list(path: Path, value: Any) -> None:
    """Write JSON and, as a last line, its CRC-32 checksum."""
    text = json.dumps(value).encode()
    with atomic_write(path) as file:
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


def open_split(root: Path, split: str, size: int) -> Images:
    """Find the images of a split. DataError says all that is wrong with it."""
    images = _find(root, split, size)
    if images.problems:
        raise DataError(*images.problems)
    return images


def open_data(root: Path, size: int) -> tuple[Images, Images]:
    """Find the splits train and val. DataError says all that is wrong with them."""
    train, val = _find(root, "train", size), _find(root, "val", size)
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


def _find(root: Path, split: str, size: int) -> Images:
    packed = (root / INDEX).is_file()
    return (PackedImages if packed else ImageFolder)(root, split, size)


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


def _keep(batch: Any) -> Any:
    return batch  # it is complete: the data set reads whole batches


def _leave_signals(worker: int) -> None:
    # Ctrl-C in a terminal, and a SIGTERM through torchrun, reach every process, and
    # only the main one should act on it. It tells these when to end.
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    signal.signal(signal.SIGTERM, signal.SIG_IGN)
