"""The images of a data set, and their order in an epoch.

    DIR/train/<class>/*    DIR/val/<class>/*    (or what pack.py made from them)

No random state is kept: the order of an epoch is a function of (seed, epoch).
"""

from __future__ import annotations

import copy
import os
import zlib
from collections.abc import Container
from math import prod
from pathlib import Path
from unicodedata import normalize

import numpy as np

from .console import shown
from .errors import DataError
from .images import ImageFile, StoredImage
from .shards import INDEX, SPLITS, read_index, read_listing, shard_path
from .workers import Source

SKIP = "give --bad-images skip to leave them out"


class Images:
    """The images of one split, in a fixed order: each has a name and a label."""

    def __init__(self, root: Path, split: str, size: int, channels: int) -> None:
        self.root, self.split = root, split
        self.shape = channels, size, size  # of an image
        self.classes: list[str] = []  # sorted; a label is an index
        self.samples: list[tuple[str, int]] = []  # name "split/class/file", label
        self.problems: list[str] = []

    def __len__(self) -> int:
        return len(self.samples)

    def labels(self) -> set[int]:
        """Return the labels of all images."""
        return {label for _, label in self.samples}

    def source(self, name: str) -> Source:
        """Return where the pixels of an image are."""
        raise NotImplementedError

    def without(self, names: Container[str]) -> Images:
        """Leave out some images. DataError if a class has none left."""
        rest = copy.copy(self)
        rest.samples = [sample for sample in self.samples if sample[0] not in names]
        left = rest.labels()
        problems = [
            f"none of the images of class {name!r} in {self.split!r} can be read"
            for label, name in enumerate(self.classes)
            if label not in left
        ]
        if problems:
            raise DataError(*problems)
        return rest


class ImageFolder(Images):
    """root/split/<class>/*, where every file that is not hidden should be an image.

    Names are in Unicode's composed form (NFC), whatever form the file system keeps.
    """

    def __init__(self, root: Path, split: str, size: int, channels: int) -> None:
        super().__init__(root, split, size, channels)
        self.on_disk: dict[str, str] = {}  # names that are different on disk
        folder = root / split
        if not root.is_dir():
            self.problems.append(f"there is no folder {shown(root)}")
            return
        if not folder.is_dir():
            each = "which should have a folder of images for each class"
            self.problems.append(f"there is no folder {shown(folder)}, {each}")
            return
        folders = {
            name: entry
            for name, entry in self._visible(folder).items()
            if (folder / entry).is_dir()
        }
        self.classes = list(folders)
        if not self.classes:
            self.problems.append(f"there are no class folders in {shown(folder)}")
        for label, (name, entry) in enumerate(folders.items()):
            files = self._visible(folder / entry)
            for file, file_entry in files.items():
                sample = f"{split}/{name}/{file}"
                self.samples.append((sample, label))
                if (name, file) != (entry, file_entry):
                    self.on_disk[sample] = f"{split}/{entry}/{file_entry}"
            if not files:
                self.problems.append(f"there are no images in {shown(folder / entry)}")

    def _visible(self, folder: Path) -> dict[str, str]:
        """Return the entries that are not hidden, by their names in NFC, sorted."""
        entries: dict[str, str] = {}
        listed: list[str] = []
        try:
            listed = os.listdir(folder)
        except OSError as error:
            self.problems.append(f"cannot read {shown(folder)}: {error.strerror}")
        for entry in listed:
            if entry.startswith("."):
                continue
            name = normalize("NFC", entry)
            if name in entries:
                both = " and ".join(sorted(map(ascii, (entry, entries[name]))))
                self.problems.append(
                    f"{both} in {shown(folder)} differ only in their Unicode form: "
                    "rename one"
                )
            entries[name] = entry
        return dict(sorted(entries.items()))

    def source(self, name: str) -> Source:
        """Return the image file."""
        return ImageFile(os.path.join(self.root, self.on_disk.get(name, name)))


class PackedImages(Images):
    """The same images, decoded, as pack.py stored them: see shards."""

    def __init__(self, root: Path, split: str, size: int, channels: int) -> None:
        super().__init__(root, split, size, channels)
        self.places: dict[str, StoredImage] = {}
        index = read_index(root)
        if not index["complete"]:
            self.problems.append(f"{shown(root)} is not complete: run pack.py again")
            return
        if index["size"] != size:
            self.problems.append(
                f"the images in {shown(root)} have size {index['size']}, not {size}"
            )
        if index["channels"] != channels:
            self.problems.append(
                f"the images in {shown(root)} have {index['channels']} channels, not "
                f"{channels}: pack them with the pack.py of this network"
            )
        if self.problems:
            return
        self.classes = index["classes"]
        for number in range(index["shards"][split]):
            self._add(shard_path(root, split, number))
        if len(self.places) < len(self.samples):
            self.problems.append(
                f"{shown(root)} lists an image twice: run pack.py again"
            )
        for label in sorted(set(range(len(self.classes))) - self.labels()):
            name = self.classes[label]
            self.problems.append(f"there are no images of class {name!r} in {split!r}")

    def _add(self, shard: Path) -> None:
        """Add the images of a shard."""
        path = str(shard)
        listed = read_listing(shard, self.classes)["images"]
        size = len(listed) * prod(self.shape)
        if not shard.is_file() or shard.stat().st_size != size:
            self.problems.append(f"{shown(path)} is incomplete: run pack.py again")
        if not all(name.startswith(f"{self.split}/") for name, _, _ in listed):
            self.problems.append(f"{shown(path)} does not belong to {self.split!r}")
        for row, (name, label, checksum) in enumerate(listed):
            self.samples.append((name, label))
            self.places[name] = StoredImage(path, row, checksum)

    def source(self, name: str) -> Source:
        """Return the place in a shard."""
        return self.places[name]


def open_split(root: Path, split: str, size: int, channels: int = 3) -> Images:
    """Find the images of a split. DataError lists everything wrong with it."""
    images = _find(root, split, size, channels)
    problems = images.problems + _one_class(images)
    if problems:
        raise DataError(*problems)
    return images


def open_data(root: Path, size: int, channels: int = 3) -> tuple[Images, Images]:
    """Find the splits train and val. DataError lists everything wrong with them."""
    train, val = (_find(root, split, size, channels) for split in SPLITS)
    problems = train.problems + val.problems + _one_class(train)
    if train.classes and val.classes:
        for here, there in ((train, val), (val, train)):
            problems += [
                f"class {name!r} is in {here.split!r} but not in {there.split!r}"
                for name in sorted(set(here.classes) - set(there.classes))
            ]
    if problems:
        raise DataError(*dict.fromkeys(problems))  # what is wrong with both, only once
    return train, val


def _find(root: Path, split: str, size: int, channels: int) -> Images:
    packed = (root / INDEX).is_file()
    return (PackedImages if packed else ImageFolder)(root, split, size, channels)


def _one_class(images: Images) -> list[str]:
    if len(images.classes) != 1:
        return []
    only = f"{images.split!r} has only one class, {images.classes[0]!r}"
    return [f"{only}: there is nothing to classify"]


def fingerprint(*splits: Images) -> int:
    """Return a checksum of the names and labels of all images, in their order."""
    return zlib.crc32(repr([images.samples for images in splits]).encode())


def batches(
    count: int, batch_size: int, seed: int | None = None, epoch: int = 0
) -> list[list[int]]:
    """Divide the numbers below `count` into batches; the last may be short.

    A seed shuffles them first, as a function of (seed, epoch).
    """
    order = list(range(count))
    if seed is not None:
        order = np.random.default_rng((seed, epoch)).permutation(count).tolist()
    return [order[start : start + batch_size] for start in range(0, count, batch_size)]
