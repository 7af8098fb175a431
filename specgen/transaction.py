"""Change files of several folders at once: all of them or none, one command at a time.

Everything happens below one folder, the root. While files are swapped, it has a folder
`STAGE` with the new files, copies of the old ones, and a journal of both. The journal
appears before the first file moves and disappears after the last one. If a process ends
in between, however it ends, the next command that locks the root puts the old files
back.
"""

from __future__ import annotations

import errno
import json
import os
import shutil
import sys
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from hashlib import sha256
from pathlib import Path
from typing import Any

from specgen.diagnostics import Diagnostic, SpecError
from specgen.lock import PLAIN, STAGE

PATIENCE = 30.0  # seconds; a swap takes a few milliseconds
LEFT = ".specgen-"  # prefix of what a killed command can leave in a folder
LOCK_FILE = ".specgen-lock"  # only where a folder cannot be locked: on NFS, on Windows

if sys.platform == "win32":
    import msvcrt

    def _try_lock(file: int) -> None:
        msvcrt.locking(file, msvcrt.LK_NBLCK, 1)

else:
    import fcntl

    def _try_lock(file: int) -> None:
        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)


@contextmanager
def reading(root: Path) -> Iterator[None]:
    """Lock the root, if it exists, after undoing any interrupted command."""
    held = None
    try:
        held = _hold(root)
    except OSError as error:  # it does not exist, or is read-only
        if error.errno not in (errno.ENOENT, errno.EROFS, errno.EACCES):
            raise
    try:
        _recover(root)
        yield
    finally:
        if held is not None:
            os.close(held)


@contextmanager
def writing(root: Path) -> Iterator[None]:
    """Lock the root, created if needed; created folders are removed after an error."""
    made = _make(root)
    while True:
        try:
            held = _hold(root)
            break
        except FileNotFoundError:  # removed by another command that failed
            made += _make(root)
    try:
        _recover(root)
        yield
    except BaseException:
        _remove(made)
        raise
    finally:
        os.close(held)


def tidy(folder: Path) -> None:
    """Remove what killed commands left in a folder; 0.1 left folders."""
    for left in folder.glob(f"{LEFT}*"):
        is_folder = left.is_dir() and not left.is_symlink()
        shutil.rmtree(left) if is_folder else left.unlink()


def swap(
    root: Path, new: Mapping[str, bytes | Path], removed: Sequence[str] = ()
) -> None:
    """Write the files `new` and remove others: all or none. The root is held.

    Files are named `folder/file`. Instead of content, a file can have the path of one
    that is also written or removed: it then gets that one's old content.
    """
    stage = root / STAGE
    made = sorted({name.split("/")[0] for name in new})
    made = [folder for folder in made if not (root / folder).exists()]
    files: list[tuple[str, str | None]] = []  # each with the digest of what is new
    try:
        stage.mkdir()
        (stage / ".gitignore").write_bytes(b"*\n")
        for number, name in enumerate((*new, *removed)):
            path = stage / f"{number}.new"
            if isinstance(content := new.get(name), bytes):
                path.write_bytes(content)
            elif content is not None:
                _copy(content, path)
            files.append((name, _digest(path)))
            if os.path.lexists(root / name):
                _copy(root / name, stage / f"{number}.old")
        journal = {"inode": root.stat().st_ino, "made": made, "files": files}
        (stage / "unfinished").write_bytes(json.dumps(journal).encode())
        (stage / "unfinished").replace(stage / "journal")
        for folder in made:
            (root / folder).mkdir()
        for number, name in enumerate(new):
            _move(stage / f"{number}.new", root / name)
        for name in removed:
            (root / name).unlink()
        (stage / "journal").unlink()
    except BaseException:  # including Ctrl-C
        with suppress(OSError):  # otherwise the next command does it
            _recover(root)
        raise
    shutil.rmtree(stage, ignore_errors=True)


def _copy(path: Path, copy: Path) -> None:
    """Keep the current file of a name that will get a new file."""
    try:
        os.link(path, copy, follow_symlinks=False)
    except (OSError, NotImplementedError):  # a disk without links
        shutil.copy2(path, copy, follow_symlinks=False)


def _move(path: Path, target: Path) -> None:
    """Replace the target in one step, even if its folder links to another disk."""
    try:
        path.replace(target)
    except OSError as error:
        if error.errno != errno.EXDEV:
            raise
        near = target.with_name(f"{LEFT}{target.name}")
        near.unlink(missing_ok=True)  # a link there would be followed
        shutil.copy2(path, near, follow_symlinks=False)
        near.replace(target)


def _recover(root: Path) -> None:
    """Put back what an interrupted command has moved, and remove its stage."""
    stage = root / STAGE
    if not os.path.lexists(stage):
        return
    if stage.is_symlink() or not stage.is_dir():  # reading a pipe there would wait
        raise OSError(errno.ENOTDIR, f"{stage} is not a folder of specgen: remove it")
    if journal := _journal(root):
        for number, (name, new) in enumerate(journal["files"]):
            _put_back(root, name, new, stage / f"{number}.old")
        for folder in filter(PLAIN.fullmatch, journal["made"]):
            with suppress(OSError):
                (root / folder).rmdir()
        (stage / "journal").unlink()
    shutil.rmtree(stage)


def _journal(root: Path) -> dict[str, Any] | None:
    """Return the journal, if files of this folder have been moved.

    A stage that was copied along, say by git, does not count.
    """
    path = root / STAGE / "journal"
    try:
        record = json.loads(path.read_bytes()) if path.is_file() else None
    except (ValueError, RecursionError):
        return None
    ours = isinstance(record, dict) and record.get("inode") == root.stat().st_ino
    return record if ours else None


def _put_back(root: Path, name: str, new: str | None, old: Path) -> None:
    """Undo the change of one file, unless somebody has changed it since."""
    folder, _, file = name.partition("/")
    if not (PLAIN.fullmatch(folder) and PLAIN.fullmatch(file)):
        return
    path = root / name
    if _digest(path) != new:
        return
    if os.path.lexists(old):
        path.parent.mkdir(exist_ok=True)
        _move(old, path)
    else:
        path.unlink(missing_ok=True)


def _digest(path: Path) -> str | None:
    if path.is_file():
        return sha256(path.read_bytes()).hexdigest()
    return path.readlink().as_posix() if path.is_symlink() else None


def _make(root: Path) -> list[Path]:
    """Make the root and return the new folders, the deepest first."""
    made = [path for path in (root, *root.parents) if not path.exists()]
    try:
        root.mkdir(parents=True, exist_ok=True)
    except BaseException:
        _remove(made)
        raise
    return made


def _remove(folders: Sequence[Path]) -> None:
    for path in folders:
        with suppress(OSError):
            path.rmdir()


def _hold(root: Path) -> int:
    """Return an open file that is locked until it is closed.

    Raises:
        FileNotFoundError: the root does not exist, or no longer.
        SpecError: another command has had it locked for a long time.
    """
    if sys.platform == "win32":
        return _locked(root, root / LOCK_FILE, os.O_RDWR | os.O_CREAT)
    try:
        return _locked(root, root, os.O_RDONLY | os.O_DIRECTORY)
    except OSError as error:
        if error.errno not in (errno.EBADF, errno.ENOLCK, errno.ENOTSUP):
            raise
    return _locked(root, root / LOCK_FILE, os.O_RDWR | os.O_CREAT)


def _locked(root: Path, path: Path, flags: int) -> int:
    file = os.open(path, flags, 0o666)
    try:
        _wait(file, root)
        if not os.path.samestat(os.fstat(file), path.stat()):
            raise FileNotFoundError(path)
    except BaseException:
        os.close(file)
        raise
    return file


def _wait(file: int, root: Path) -> None:
    end = time.monotonic() + PATIENCE
    while True:
        try:
            return _try_lock(file)
        except (BlockingIOError, PermissionError):
            if time.monotonic() > end:
                message = f"another specgen is writing to {root}"
                cure = "wait until it is done, or stop it"
                raise SpecError(
                    [Diagnostic("folder-busy", message, help=cure)]
                ) from None
        time.sleep(0.01)
