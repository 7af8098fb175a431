"""Processes that decode images, so that training does not wait for Python.

Each is a program of its own, which imports no torch. It is asked through its standard
input and answers through its standard output: shared memory is 64 MiB in a container,
and is not given back when a process is killed. It ends when its input does, so with
the process that started it, in whatever way that ends.
"""

from __future__ import annotations

import contextlib
import os
import pickle
import signal
import subprocess
import sys
import weakref
from collections.abc import Iterator, Sequence
from typing import IO, Any, Protocol

import numpy as np

from .errors import DataError, ImageError
from .images import Pixels

PROGRAM = """
import importlib, sys
sys.path[:] = sys.argv[2:]
importlib.import_module(sys.argv[1]).serve()
"""
ENVIRONMENT = {
    # Of numpy, which starts a thread a core in each process.
    "OMP_NUM_THREADS": "1",
    "OPENBLAS_NUM_THREADS": "1",
    # Keep the memory of an image for the next one. By default glibc gives it back:
    # 175 page faults an image of 256 x 256, a sixth of the time.
    "MALLOC_MMAP_THRESHOLD_": str(2**25),
    "MALLOC_TRIM_THRESHOLD_": str(2**26),
}


class Source(Protocol):
    """Where an image is: an ImageFile or a StoredImage."""

    @property
    def path(self) -> str:
        """The file."""

    def read(self, out: Pixels) -> None:
        """Write the pixels to `out`, (3, size, size), or raise ImageError."""


class Worker:
    """A process that decodes images, for one thread at a time."""

    def __init__(self) -> None:
        command = [sys.executable, "-P", "-c", PROGRAM, __name__, *sys.path]
        try:
            process = subprocess.Popen(
                command,
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                env=os.environ | ENVIRONMENT,
                # Ctrl-C in a terminal is for the main process.
                start_new_session=True,
                creationflags=getattr(subprocess, "CREATE_NEW_PROCESS_GROUP", 0),
            )
        except OSError as error:
            raise DataError(
                f"cannot start a process to decode images: {error.strerror}; "
                "give fewer --workers"
            ) from None
        assert process.stdin
        assert process.stdout
        self._process = process
        self._requests: IO[bytes] = process.stdin
        self._answers: Any = process.stdout
        self.end = weakref.finalize(self, _end, process)

    def read(self, sources: Sequence[Source], out: Pixels) -> list[str | None]:
        """Read images into `out`, (N, 3, size, size).

        Returns for each why it cannot be read, or None. Raises DataError if the process
        is no more.
        """
        reasons: list[str | None] = []
        try:
            pickle.dump((sources, out.shape[1:]), self._requests)
            self._requests.flush()
            for pixels in out:
                reason = pickle.load(self._answers)
                if reason is None and self._answers.readinto(pixels) < pixels.nbytes:
                    raise EOFError
                reasons.append(reason)
        except (OSError, EOFError, pickle.UnpicklingError):
            path = sources[len(reasons)].path
            raise DataError(
                f"a process that decodes images {self._cause()}; it was at {path!r}"
            ) from None
        return reasons

    def _cause(self) -> str:
        """Return how the process ended."""
        code = self._process.wait()
        if code >= 0:
            return f"ended with exit status {code}"
        if -code == signal.SIGKILL:
            return "was killed, perhaps for lack of memory: give fewer --workers"
        return f"was ended by signal {-code}, {signal.strsignal(-code)}"


def _end(process: subprocess.Popen[bytes]) -> None:
    """End a process at once: it has nothing to lose."""
    process.kill()
    process.wait()
    for pipe in (process.stdin, process.stdout):
        with contextlib.suppress(OSError):  # of a request that was not read
            pipe.close()  # type: ignore[union-attr]


_idle: list[Worker] = []


@contextlib.contextmanager
def lend(count: int) -> Iterator[list[Worker]]:
    """Lend so many workers; they are kept for the next time.

    Those whose user fails, or does not wait for all answers, are ended.
    """
    workers = [_idle.pop() if _idle else Worker() for _ in range(count)]
    try:
        yield workers
    except BaseException:
        for worker in workers:
            worker.end()
        raise
    _idle.extend(workers)


def read_here(sources: Sequence[Source], out: Pixels) -> list[str | None]:
    """Read images as a worker does, in this thread."""
    reasons: list[str | None] = []
    for source, pixels in zip(sources, out, strict=True):
        try:
            source.read(pixels)
        except ImageError as error:
            reasons.append(str(error))
        else:
            reasons.append(None)
    return reasons


def serve() -> None:
    """Read what standard input asks for, until it ends."""
    # A SIGTERM, too, may reach every process of a run, and only the main one should
    # act on it.
    for name in ("SIGINT", "SIGTERM", "SIGHUP"):
        if hasattr(signal, name):
            signal.signal(getattr(signal, name), signal.SIG_IGN)
    requests, answers = sys.stdin.buffer, os.fdopen(os.dup(1), "wb")
    os.dup2(2, 1)  # nothing that a library prints gets between the answers
    with contextlib.suppress(EOFError, BrokenPipeError, pickle.UnpicklingError):
        while True:
            sources, shape = pickle.load(requests)
            pixels = np.empty((1, *shape), np.uint8)
            for source in sources:
                (reason,) = read_here([source], pixels)
                pickle.dump(reason, answers)
                if reason is None:
                    answers.write(pixels.data)
                answers.flush()
    os._exit(0)  # without a last flush: nobody reads any more
