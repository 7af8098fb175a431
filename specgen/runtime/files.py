"""Files that are written whole or not at all, by one process at a time."""

from __future__ import annotations

import contextlib
import errno
import glob
import os
import secrets
import stat
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, BinaryIO

from .console import shown
from .errors import CheckpointError

try:
    import fcntl
except ImportError:  # on Windows
    LOCKS: Any = None
else:
    LOCKS = fcntl

# The first is on Windows only, the others everywhere else.
BINARY = getattr(os, "O_BINARY", 0)
NONBLOCK = getattr(os, "O_NONBLOCK", 0)
NOFOLLOW = getattr(os, "O_NOFOLLOW", 0)


def open_file(path: Path, buffering: int = -1) -> BinaryIO:
    """Open a file to read its bytes.

    Raises OSError if it is not a file: plain `open` would wait forever for a pipe.
    """
    descriptor = os.open(path, os.O_RDONLY | BINARY | NONBLOCK)
    if not stat.S_ISREG(os.fstat(descriptor).st_mode):
        os.close(descriptor)
        raise OSError(errno.EINVAL, "it is not a file")
    file: BinaryIO = os.fdopen(descriptor, "rb", buffering)
    return file


def require_file(path: Path, what: str) -> None:
    """Raise CheckpointError, with the reason, unless this file can be read."""
    try:
        open_file(path).close()
    except FileNotFoundError:
        raise CheckpointError(f"there is no {what} {shown(path)}") from None
    except OSError as error:
        raise CheckpointError(f"cannot read {shown(path)}: {error.strerror}") from None


@contextmanager
def atomic_write(path: Path) -> Iterator[BinaryIO]:
    """Open a file for writing that gets its name once it is completely on disk.

    At any moment `path` is the old file or the new one, even if several processes write
    it. Raises OSError if it cannot be written.
    """
    _remove_leftovers(path)
    partial, file = _create_beside(path)
    try:
        with file:
            yield file
            file.flush()
            os.fsync(file.fileno())
            if LOCKS is None:
                file.close()  # Windows cannot rename an open file
            partial.replace(path)
    finally:
        partial.unlink(missing_ok=True)


def write_file(path: Path, content: bytes) -> None:
    """Write a file; at any moment `path` is all of the old one or all of the new one.

    Raises CheckpointError, with the reason, if it cannot be written.
    """
    try:
        with atomic_write(path) as file:
            file.write(content)
    except OSError as error:
        kept = "; the one before is intact" if path.is_file() else ""
        reason = no_folder_for(path) or error.strerror
        raise CheckpointError(f"cannot write {shown(path)}: {reason}{kept}") from None


def no_folder_for(path: Path) -> str:
    """Return that the folder of a file is missing, or nothing if it is there."""
    there = path.parent.exists()
    return "" if there else f"there is no folder {shown(path.parent)}"


def why_unusable(folder: Path, error: OSError) -> str:
    """Return why a folder cannot be made or written to: it may be something else."""
    other = folder.exists() and not folder.is_dir()
    return "it is not a folder" if other else str(error.strerror)


def _create_beside(path: Path) -> tuple[Path, BinaryIO]:
    """Create a locked file under a new name, never through a link or over a file."""
    while True:
        partial = path.with_name(f"{path.name}.{secrets.token_hex(4)}.partial")
        try:
            file = partial.open("xb")
        except FileExistsError:
            continue
        _lock(file)
        if os.fstat(file.fileno()).st_nlink:
            return partial, file
        file.close()  # before the lock, another process took it for a leftover


def _remove_leftovers(path: Path) -> None:
    """Remove the leftovers of `path` from killed processes."""
    digits = "[0-9a-f]" * 8
    for partial in path.parent.glob(f"{glob.escape(path.name)}.{digits}.partial"):
        with contextlib.suppress(OSError), open_file(partial) as file:
            if _lock(file):  # its writer is dead
                partial.unlink()


def _lock(file: BinaryIO) -> bool:
    """Lock a file until it is closed; return False if another process has locked it."""
    if LOCKS is None:  # Windows does not remove a file that is open
        return True
    try:
        LOCKS.flock(file, LOCKS.LOCK_EX | LOCKS.LOCK_NB)
    except OSError:  # even on a file system without locks
        return False
    return True


def lock_folder(folder: Path) -> bool:
    """Lock a folder for this process until it ends, however it ends.

    Returns False if another process has locked it. Where there are no such locks, as
    on Windows, nothing is locked. Raises OSError if the folder cannot be written to.
    """
    if LOCKS is None:
        return True
    path = folder / ".lock"
    if os.path.lexists(path) and not stat.S_ISREG(path.lstat().st_mode):
        raise OSError(errno.EINVAL, f"{shown(path)} is not a file: remove it")
    # Left open: closing it would end the lock. A process that is forked does not share
    # it, so that a run can be resumed as soon as the main process is dead.
    lock = os.open(path, os.O_RDWR | os.O_CREAT | NOFOLLOW | NONBLOCK, 0o666)
    try:
        LOCKS.lockf(lock, LOCKS.LOCK_EX | LOCKS.LOCK_NB)
    except (BlockingIOError, PermissionError):  # POSIX allows either
        os.close(lock)
        return False
    except OSError:  # a file system without locks
        os.close(lock)
    return True


def amount(size: int) -> str:
    """Return a number of bytes as text, like 8.1 MB."""
    for unit, name in ((1e9, "GB"), (1e6, "MB")):
        if size >= unit:
            return f"{size / unit:,.1f} {name}"
    return f"{size / 1e3:.1f} kB"


@contextmanager
def exclusive(folder: Path) -> Iterator[bool]:
    """Wait until no other process is in this block with the same folder.

    Yields whether that is certain: it is not where folders have no locks (Windows).
    """
    if LOCKS is None:
        yield False
        return
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        try:
            try:
                LOCKS.flock(descriptor, LOCKS.LOCK_EX | LOCKS.LOCK_NB)
            except BlockingIOError:
                waits = f"waiting for another process that writes to {shown(folder)}"
                print(waits, file=sys.stderr, flush=True)
                LOCKS.flock(descriptor, LOCKS.LOCK_EX)
            locked = True
        except OSError:  # a file system without locks
            locked = False
        yield locked
    finally:
        os.close(descriptor)
