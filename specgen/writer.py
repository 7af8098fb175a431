"""Write generated files: all or none, and never over a person's edits."""

from __future__ import annotations

import os
import shutil
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory

from specgen import lock
from specgen.diagnostics import Diagnostic, SpecError


@dataclass(frozen=True, slots=True)
class Changes:
    """Names of files: to write, to remove, and which of these are a person's."""

    written: tuple[str, ...]
    removed: tuple[str, ...]
    edited: tuple[str, ...]


def write(folder: Path, files: Mapping[str, bytes], *, force: bool = False) -> Changes:
    """Make the folder hold `files`, its lock file among them; return what changed.

    A file that is equal already is not touched. One that the folder's old lock names
    and `files` do not is removed. Raises SpecError, with everything as it was, if a
    file was edited since it was generated (unless `force`) or cannot be written.
    """
    with _reported(folder):
        changes = plan(folder, files)
        paths = [folder / name for name in changes.edited]
        if kept := [path for path in paths if not (force and _replaceable(path))]:
            raise SpecError(map(_edited, kept))
        if changes.written or changes.removed:
            _carry_out(folder, files, changes)
    return changes


def drift(folder: Path, files: Mapping[str, bytes]) -> list[Diagnostic]:
    """Return one diagnostic for each file of the folder that `write` would change."""
    with _reported(folder):
        changes = plan(folder, files)

    def diagnostic(name: str) -> Diagnostic:
        path = folder / name
        if name in changes.edited:
            return _edited(path)
        if name in changes.removed:
            state = "is no longer generated"
        else:
            state = "is out of date" if path.exists() else "is missing"
        return Diagnostic("drift", f"{path} {state}", help="build without --check")

    return [diagnostic(name) for name in changes.written + changes.removed]


def plan(folder: Path, files: Mapping[str, bytes]) -> Changes:
    """Compare the folder with `files` and with its old lock; OSError if it cannot."""
    _, known = lock.load(folder)
    written, removed, edited = [], [], []
    for name, content in files.items():
        found = _digest(folder / name)
        if found == lock.digest(content):
            continue
        written.append(name)
        theirs = not found if name == lock.NAME else found != known.get(name)
        if found is not None and theirs:
            edited.append(name)
    for name in sorted(known.keys() - files.keys()):
        found = _digest(folder / name)
        if found is not None:
            removed.append(name)
            if found != known[name]:
                edited.append(name)
    return Changes(tuple(written), tuple(removed), tuple(edited))


def _digest(path: Path) -> str | None:
    """Return the file's digest, None if nothing is there, "" for what is no file."""
    if path.is_file():
        return lock.digest(path.read_bytes())
    return "" if os.path.lexists(path) else None


def _replaceable(path: Path) -> bool:
    return path.is_file() or path.is_symlink()


def _edited(path: Path) -> Diagnostic:
    """Say why a person's file, or what else they put there, is not overwritten."""
    if _replaceable(path):
        cure = "keep the edit elsewhere, or discard it with --force"
        return Diagnostic("edited-file", f"{path} was edited by hand", help=cure)
    kind = "a folder" if path.is_dir() else "not a file"
    cure = "move it elsewhere: a generated file goes there"
    return Diagnostic("not-a-file", f"{path} is {kind}", help=cure)


def cannot_write(folder: Path, error: OSError) -> SpecError:
    """Say in one sentence why the folder cannot be written."""
    reason = error.strerror or str(error)
    for path in (folder, *folder.parents):
        if os.path.isfile(path):  # Path.is_file() can fail as the writing did
            reason = f"{path} is a file"
    return SpecError([Diagnostic("cannot-write", f"cannot write {folder}: {reason}")])


@contextmanager
def _reported(folder: Path) -> Iterator[None]:
    try:
        yield
    except OSError as error:
        raise cannot_write(folder, error) from error


def _carry_out(folder: Path, files: Mapping[str, bytes], changes: Changes) -> None:
    """Stage everything inside the folder, so on its disk, then swap it in."""
    made = [path for path in (folder, *folder.parents) if not path.exists()]
    names = changes.written + changes.removed
    try:
        folder.mkdir(parents=True, exist_ok=True)
        with TemporaryDirectory(
            prefix=".specgen-", dir=folder, ignore_cleanup_errors=True
        ) as stage:
            new, old = Path(stage, "new"), Path(stage, "old")
            new.mkdir()
            old.mkdir()
            for name in changes.written:
                (new / name).write_bytes(files[name])
            for name in names:
                if os.path.lexists(folder / name):
                    shutil.copy2(folder / name, old / name, follow_symlinks=False)
            _swap(folder, names, new, old)
    except BaseException:
        for path in made:
            with suppress(OSError):
                path.rmdir()
        raise


def _swap(folder: Path, names: tuple[str, ...], new: Path, old: Path) -> None:
    """Move the new files in and remove those without a new one: all or none."""
    try:
        for name in names:
            if (new / name).exists():
                (new / name).replace(folder / name)
            else:
                (folder / name).unlink()
    except BaseException:  # also Ctrl-C
        for name in names:
            with suppress(OSError):
                if os.path.lexists(old / name):
                    (old / name).replace(folder / name)
                else:
                    (folder / name).unlink()
        raise
