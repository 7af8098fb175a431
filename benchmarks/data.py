"""Read images from packed shards and JPEG files: images per second, with one worker.

Both take turns, in one run, on the ImageNet samples in the folder SPECGEN_TEST_DATA.
The ratio is the median over rounds; the goal is at least 5. Then comes what one thread
augments per second. The last column is how many times longer small operations take, one
after another like the launches of a training step, while packed images are read: what
readers cost the thread that trains. It says nothing unless cores are free.

    SPECGEN_TEST_DATA=... python benchmarks/data.py --rounds 5
"""

from __future__ import annotations

import argparse
import time
from collections.abc import Callable
from pathlib import Path
from statistics import median
from tempfile import TemporaryDirectory
from typing import Any

import torch
from common import generated, photos

data, dataset, loading, packing = generated(
    "alexnet", "data", "runtime.dataset", "runtime.loading", "runtime.pack"
)

BATCH_SIZE = 64
COPIES = 8  # of 44 samples, so that the start of the worker does not count for much


def make_tree(root: Path) -> None:
    """Link the samples into two classes; Pillow has to decode every copy again."""
    samples = photos("oddjpeg/decodable/real_imagenet")
    for split, copies in (("train", COPIES), ("val", 1)):
        for number, path in enumerate(samples.iterdir()):
            folder = root / split / f"class{number % 2}"
            folder.mkdir(parents=True, exist_ok=True)
            for copy in range(copies):
                (folder / f"{copy} {path.name}").symlink_to(path)


def read(split: Any, times: int = 1) -> int:
    """Read all images several times with one worker; return how many that is."""
    todo = dataset.batches(len(split), BATCH_SIZE, seed=0) * times
    return sum(len(batch.images) for batch in loading.Loader(split, todo, workers=1))


def launches(split: Any) -> float:
    """Return how many times longer small operations take while others read."""
    x = torch.ones(4096)  # two microseconds each, in which other threads may run

    def launch() -> float:
        start = time.perf_counter()
        for _ in range(5_000):
            torch.add(x, x)
        return time.perf_counter() - start

    todo = dataset.batches(len(split), BATCH_SIZE, seed=0) * 10
    loader = loading.Loader(split, todo, workers=1)
    return median(launch() for _ in loader) / median(launch() for _ in range(20))


def rate(work: Callable[[], int]) -> float:
    """Return images per second."""
    start = time.perf_counter()
    count = work()
    return count / (time.perf_counter() - start)


def main() -> None:
    """Print a table, one line per round, and the medians."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--rounds", type=int, default=5)
    rounds = parser.parse_args().rounds
    torch.set_num_threads(1)
    with TemporaryDirectory() as folder:
        tree, packed = Path(folder, "tree"), Path(folder, "packed")
        make_tree(tree)
        splits = packing.open_source(tree, packed, data.SIZE, 3)
        packing.pack(splits, packed, workers=1, skip=False)
        files, _ = dataset.open_data(tree, data.SIZE)
        shards, val = dataset.open_data(packed, data.SIZE)
        statistics, _ = data.measure(shards, val, workers=0)
        (batch,) = loading.Loader(shards, [list(range(BATCH_SIZE))], workers=0)

        def augment() -> int:
            for step in range(4):
                draws = data.draw(BATCH_SIZE, seed=0, step=step)
                data.augment(batch.images, statistics, draws)
            return 4 * BATCH_SIZE

        print("images/s  JPEG files  packed shards  ratio  augmentation  launches")
        results = []
        for _ in range(rounds):
            slow, fast = rate(lambda: read(files)), rate(lambda: read(shards, 10))
            figures = slow, fast, fast / slow, rate(augment), launches(shards)
            results.append(figures)
            print_row("", results[-1])
        print_row("median", tuple(map(median, zip(*results, strict=True))))


def print_row(title: str, figures: tuple[float, ...]) -> None:
    """Print one line of the table."""
    slow, fast, ratio, augmented, longer = figures
    row = f"{title:8}  {slow:10.0f}  {fast:13.0f}  {ratio:5.1f}  {augmented:12.0f}"
    print(f"{row}  {longer:8.2f}")


if __name__ == "__main__":
    main()
