"""Files that are written as a whole or not at all, by one process at a time."""

from __future__ import annotations

import importlib
import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, BinaryIO


@contextmanager
def atomic_write(path: Path) -> Iterator[BinaryIO]:
    """Open a file for writing that gets its name when all of it is on the disk.

    At any moment `path` is the old file or the new one. Raises OSError if it cannot be
    written.
    """
    partial = path.with_name(path.name + ".partial")
    try:
        with partial.open("wb") as file:
            yield file
            file.flush()
            os.fsync(file.fileno())
        partial.replace(path)
    finally:
        partial.unlink(missing_ok=True)


def lock_folder(folder: Path) -> bool:
    """Keep a folder for this process until it ends, in whatever way.

    Returns False if another process has locked it. Where there are no such locks, as
    on Windows, nothing is kept. Raises OSError if the folder cannot be written to.
    """
    try:
        fcntl: Any = importlib.import_module("fcntl")
    except ImportError:
        return True
    # Left open: closing it would end the lock. Processes that read images do not share
    # it, so that a run can be resumed as soon as the main process is dead.
    lock = os.open(folder / ".lock", os.O_RDWR | os.O_CREAT, 0o666)
    try:
        fcntl.lockf(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except (BlockingIOError, PermissionError):  # POSIX allows either
        os.close(lock)
        return False
    except OSError:  # a file system without locks
        os.close(lock)
    return True


@contextmanager
def exclusive(folder: Path) -> Iterator[bool]:
    """Wait until no other process is in here with the same folder.

    Yields whether that is certain: not where folders cannot be locked, as on Windows.
    """
    try:
        fcntl: Any = importlib.import_module("fcntl")
    except ImportError:
        yield False
        return
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX)
            locked = True
        except OSError:  # a file system without locks
            locked = False
        yield locked
    finally:
        os.close(descriptor)
