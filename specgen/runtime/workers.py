"""Processes that decode images, so that training does not wait for Python.

Each is a program of its own that does not import torch. It reads requests from its
standard input and writes pixels to its standard output, not to shared memory: a
container often has only 64 MiB of that. It ends when its input does, and so along with
the process that started it, however that ends.
"""

from __future__ import annotations

import contextlib
import os
import pickle
import signal
import subprocess
import sys
import weakref
from collections.abc import Sequence
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
    # By default numpy starts a thread for each core.
    "OMP_NUM_THREADS": "1",
    "OPENBLAS_NUM_THREADS": "1",
    # Keep the memory of an image for the next one. By default glibc gives it back,
    # which costs 175 page faults per image of 256 x 256, a sixth of the time.
    "MALLOC_MMAP_THRESHOLD_": str(2**25),
    "MALLOC_TRIM_THRESHOLD_": str(2**26),
}


class Source(Protocol):
    """Where an image is: an ImageFile or a StoredImage."""

    @property
    def path(self) -> str:
        """The file."""

    def read(self, out: Pixels) -> None:
        """Write the pixels to `out`, (channels, size, size), or raise ImageError."""


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
                f"cannot start a process to decode images ({error.strerror}): "
                "try fewer --workers"
            ) from None
        assert process.stdin
        assert process.stdout
        self._process = process
        self._requests: IO[bytes] = process.stdin
        self._answers: Any = process.stdout
        self.end = weakref.finalize(self, _end, process)

    def read(self, sources: Sequence[Source], out: Pixels) -> list[str | None]:
        """Read images into `out`, (N, channels, size, size).

        Returns for each why it cannot be read, or None. Raises DataError if the process
        has died.
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
            raise DataError(self._obituary(sources[len(reasons)].path)) from None
        return reasons

    def _obituary(self, path: str) -> str:
        """Return a sentence on how the process ended while it was reading a file."""
        code = self._process.wait()
        cause, advice = f"ended with exit status {code}", ""
        if code < 0:
            cause = f"was killed by signal {-code} ({signal.strsignal(-code)})"
        if code < 0 and -code == signal.SIGKILL:
            cause = "was killed"
            advice = "; if memory ran out, try fewer --workers"
        return f"a process that decodes images {cause} while reading {path!r}{advice}"


def _end(process: subprocess.Popen[bytes]) -> None:
    """End a process at once: it has nothing to save."""
    process.kill()
    process.wait()
    for pipe in (process.stdin, process.stdout):
        with contextlib.suppress(OSError):  # a request may be unread
            pipe.close()  # type: ignore[union-attr]


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
    # A signal may reach every process of a run, and only the main one should act on it.
    for name in ("SIGINT", "SIGTERM", "SIGHUP"):
        if hasattr(signal, name):
            signal.signal(getattr(signal, name), signal.SIG_IGN)
    requests, answers = sys.stdin.buffer, os.fdopen(os.dup(1), "wb")
    # Nothing that a library prints may get between the answers.
    os.dup2(os.open(os.devnull, os.O_WRONLY), 1)
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
    os._exit(0)  # without a last flush: nobody reads it
