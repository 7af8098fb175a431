"""Batches of images, read ahead by processes."""

from __future__ import annotations

import math
from collections import deque
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, contextmanager
from functools import partial
from itertools import islice
from typing import NamedTuple

import torch
from torch import Tensor

from .dataset import Images
from .images import Pixels
from .workers import Source, Worker, read_here

CHUNK = 16  # images that are requested at once
CPU = torch.device("cpu")

Reasons = list[str | None]  # why each image cannot be read; None for those that can
# Starts reading images into an array, (N, channels, size, size); what it returns waits.
Start = Callable[[Sequence[Source], Pixels], Callable[[], Reasons]]


class Batch(NamedTuple):
    """The readable images of a batch, and information on the others."""

    images: Tensor  # (N, channels, size, size) uint8; in pinned memory for CUDA
    labels: Tensor  # (N,) int64
    rows: Tensor  # (N,) int64: their places in the batch that was asked for
    bad: dict[str, str]  # the others: why they cannot be read, by name


class Pending(NamedTuple):
    """A batch that is being read."""

    samples: list[tuple[str, int]]
    pixels: Tensor
    parts: list[Callable[[], Reasons]]

    def wait(self) -> Batch:
        """Return the batch when all of it is read."""
        reasons = [reason for part in self.parts for reason in part()]
        bad = {
            name: reason
            for (name, _), reason in zip(self.samples, reasons, strict=True)
            if reason is not None
        }
        labels = torch.tensor([label for _, label in self.samples], dtype=torch.int64)
        rows = torch.arange(len(reasons))
        if not bad:
            return Batch(self.pixels, labels, rows, bad)
        good = rows[torch.tensor([reason is None for reason in reasons])]
        return Batch(self.pixels[good], labels[good], good, bad)


idle: list[Worker] = []  # the processes that are kept for the next loader


@contextmanager
def lend(count: int) -> Iterator[list[Worker]]:
    """Lend out this many workers, and keep them afterward.

    They are ended instead if the borrower fails or does not wait for all answers.
    """
    workers = [idle.pop() if idle else Worker() for _ in range(count)]
    try:
        yield workers
    except BaseException:
        for worker in workers:
            worker.end()
        raise
    idle.extend(workers)


class Loader:
    """The images of batches of indices, batch by batch, in order.

    `workers` processes read ahead; with 0, each batch is read when it is requested.
    `device` is where the images will be copied to.
    """

    def __init__(
        self,
        images: Images,
        batches: Sequence[list[int]],
        workers: int,
        device: torch.device = CPU,
    ) -> None:
        self.images, self.batches, self.workers = images, batches, workers
        self.pinned = device.type == "cuda"

    def __len__(self) -> int:
        return len(self.batches)

    def __iter__(self) -> Iterator[Batch]:
        with ExitStack() as stack:
            start = self._workers(stack) if self.workers else _later
            ahead: deque[Pending] = deque()
            for indices in self.batches:
                ahead.append(self._begin(indices, start))
                # Besides the batch to yield next, two chunks for each worker.
                while ahead and _chunks(ahead) >= 2 * self.workers:
                    yield ahead.popleft().wait()
            while ahead:
                yield ahead.popleft().wait()

    def _workers(self, stack: ExitStack) -> Start:
        chunks = sum(math.ceil(len(batch) / CHUNK) for batch in self.batches)
        count = min(self.workers, max(chunks, 1))
        threads = stack.enter_context(ThreadPoolExecutor(count))
        free = list(stack.enter_context(lend(count)))

        def read(sources: Sequence[Source], out: Pixels) -> Reasons:
            worker = free.pop()  # there are as many as threads
            try:
                return worker.read(sources, out)
            finally:
                free.append(worker)

        return lambda sources, out: threads.submit(read, sources, out).result

    def _begin(self, indices: list[int], start: Start) -> Pending:
        samples = [self.images.samples[index] for index in indices]
        sources = [self.images.source(name) for name, _ in samples]
        shape = len(samples), *self.images.shape
        # Pinning takes long, so torch keeps pinned memory for the batches that follow.
        pixels = torch.empty(shape, dtype=torch.uint8, pin_memory=self.pinned)
        out = pixels.numpy()
        parts = [
            start(sources[first : first + CHUNK], out[first : first + CHUNK])
            for first in range(0, len(samples), CHUNK)
        ]
        return Pending(samples, pixels, parts)


def to_device(batches: Iterable[Batch], device: torch.device) -> Iterator[Batch]:
    """Yield the batches with their images on a device.

    On CUDA, they are copied on a stream of their own, while earlier steps compute.
    """
    if device.type != "cuda":
        yield from (b._replace(images=b.images.to(device)) for b in batches)
        return
    copies = torch.cuda.Stream(device)  # type: ignore[no-untyped-call]
    for batch in batches:
        with torch.cuda.stream(copies):
            images = batch.images.to(device, non_blocking=True)
        computing = torch.cuda.current_stream(device)
        computing.wait_stream(copies)
        images.record_stream(computing)  # its memory is in use until then
        yield batch._replace(images=images)


def _later(sources: Sequence[Source], out: Pixels) -> Callable[[], Reasons]:
    return partial(read_here, sources, out)


def _chunks(ahead: Iterable[Pending]) -> int:
    return sum(len(batch.parts) for batch in islice(ahead, 1, None))
