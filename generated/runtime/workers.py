"""Processes that read images, so that training does not wait for Python.

Each is a program of its own that does not import torch. It reads requests from its
standard input and writes pixels to its standard output, not to shared memory: a
container often has only 64 MiB of that. It ends when its input does, and so along with
the process that started it, however that ends.

All pixels of a request arrive in one call, and other threads run Python meanwhile.
Threads that read packed images themselves made eight calls for each. After every call a
thread waits for its turn, and so does the one that launches kernels: probably the
reason that an H200 spent half of its time waiting for data.
"""

from __future__ import annotations

import contextlib
import os
import pickle
import signal
import socket
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
# Windows gives a process pipes only, and these need several calls for each image.
SOCKETS = hasattr(socket, "AF_UNIX")
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
    """A process that reads images, for one thread at a time."""

    def __init__(self) -> None:
        command = [sys.executable, "-P", "-c", PROGRAM, __name__, *sys.path]
        ours, theirs = socket.socketpair() if SOCKETS else (None, None)
        try:
            process = subprocess.Popen(
                command,
                stdin=subprocess.PIPE,
                stdout=theirs.fileno() if theirs else subprocess.PIPE,
                env=os.environ | ENVIRONMENT,
                # Ctrl-C in a terminal is for the main process.
                start_new_session=True,
                creationflags=getattr(subprocess, "CREATE_NEW_PROCESS_GROUP", 0),
            )
        except OSError as error:
            _close(ours)
            raise DataError(
                f"cannot start a process to read images ({error.strerror}): "
                "try fewer --workers"
            ) from None
        finally:
            _close(theirs)
        assert process.stdin
        self._process = process
        self._requests: IO[bytes] = process.stdin
        self._socket = ours
        self._answers: Any = ours.makefile("rb") if ours else process.stdout
        opened = process.stdin, self._answers, ours
        self.end = weakref.finalize(self, _end, process, *opened)

    def read(self, sources: Sequence[Source], out: Pixels) -> list[str | None]:
        """Read images into `out`, (N, channels, size, size).

        Returns for each why it cannot be read, or None. Raises DataError if the process
        has died.
        """
        received = 0  # bytes
        try:
            pickle.dump((sources, out.shape[1:]), self._requests)
            self._requests.flush()
            received = self._receive(out.reshape(-1).data)
            if received < out.nbytes:
                raise EOFError
            reasons: list[str | None] = pickle.load(self._answers)
        except (OSError, EOFError, pickle.UnpicklingError):
            number = min(received * len(out) // out.nbytes, len(out) - 1)
            raise DataError(self._obituary(sources[number].path)) from None
        return reasons

    def _receive(self, pixels: memoryview) -> int:
        """Fill `pixels`; return how many bytes came, fewer if the process has died."""
        if self._socket is None:
            return int(self._answers.readinto(pixels))
        received = 0
        while count := self._socket.recv_into(pixels[received:], 0, socket.MSG_WAITALL):
            received += count
        return received

    def _obituary(self, path: str) -> str:
        """Return a sentence on how the process ended while it was reading a file."""
        code = self._process.wait()
        cause, advice = f"ended with exit status {code}", ""
        if code < 0:
            cause = f"was killed by signal {-code} ({signal.strsignal(-code)})"
        if code < 0 and -code == signal.SIGKILL:
            cause = "was killed"
            advice = "; if memory ran out, try fewer --workers"
        return f"a process that reads images {cause} while reading {path!r}{advice}"


def _end(process: subprocess.Popen[bytes], *opened: Any) -> None:
    """End a process at once: it has nothing to save."""
    process.kill()
    process.wait()
    _close(*opened)


def _close(*opened: Any) -> None:
    for file in opened:
        with contextlib.suppress(OSError):  # a request may be unread
            if file:
                file.close()


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
            pixels = np.zeros((1, *shape), np.uint8)
            reasons = []
            for source in sources:
                reasons += read_here([source], pixels)
                answers.write(pixels.data)  # arbitrary bytes if it cannot be read
                answers.flush()
            pickle.dump(reasons, answers)
            answers.flush()
    os._exit(0)  # without a last flush: nobody reads it
