"""Write generated files: all or none, and never over a person's edits."""

from __future__ import annotations

import os
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from enum import Enum
from pathlib import Path, PurePath

from specgen import lock
from specgen.diagnostics import TAB, Diagnostic, SpecError, printable
from specgen.merges import Merges
from specgen.transaction import reading, swap, tidy, writing

Folders = Mapping[str, Mapping[str, bytes]]
"""The files of each folder by their names, its lock file among them."""


class Owner(Enum):
    """Who owns a file in place of a generated one."""

    SPECGEN = "specgen"
    PERSON = "person"
    NO_FILE = "no file"  # a folder, a pipe, ...


@dataclass(frozen=True, slots=True)
class Change:
    """A file that differs from what a build writes.

    `path` is `folder/file`, below the root; `old` is None if there is no file, `new` if
    none is generated any longer. `known` is the hash of what was generated last.
    """

    path: str
    old: bytes | None
    new: bytes | None
    owner: Owner
    known: str | None = None


@dataclass(slots=True)
class Written:
    """The result of a build: files changed, files refused, and copies kept."""

    changed: list[Change] = field(default_factory=list)
    refused: list[Change] = field(default_factory=list)
    backups: list[str] = field(default_factory=list)


def write(root: Path, folders: Folders, *, force: bool = False) -> Written:
    """Make the folders below `root` contain these files.

    A file that is already equal, up to line endings, is not touched. One that is in a
    folder's old lock but not in `folders` is removed. A file that was edited since it
    was generated is refused, and all others are written; with `force`, it is written,
    too, and a copy is kept next to it.

    Raises:
        SpecError: something cannot be written; everything is unchanged.
    """
    done = Written()
    with _reported(root, folders), writing(root):
        for change in _compare(root, folders):
            keeps = change.owner is Owner.NO_FILE or (
                change.owner is Owner.PERSON and not force
            )
            (done.refused if keeps else done.changed).append(change)
        if locks := [c for c in done.refused if c.path.endswith("/" + lock.NAME)]:
            raise SpecError(problem(root, change) for change in locks)
        done.changed = list(_as_written(done))
        _swap_in(root, done)
        for folder in folders:
            tidy(root / folder)
    return done


def drift(root: Path, folders: Folders) -> list[Diagnostic]:
    """Return one diagnostic for each file of the folders that `write` would change."""
    return [problem(root, change) for change in compare(root, folders)]


def compare(root: Path, folders: Folders) -> list[Change]:
    """Return the files of the folders that differ."""
    with _reported(root, folders), reading(root):
        return _compare(root, folders)


def problem(root: Path, change: Change) -> Diagnostic:
    """Say why a file differs from what the build writes."""
    path = root / change.path
    if change.owner is Owner.PERSON:
        cure = "move the change into the spec, or use --force, which keeps a copy"
        return Diagnostic("edited-file", f"{path} was edited by hand", help=cure)
    if change.owner is Owner.NO_FILE:
        kind = "a folder" if path.is_dir() else "not a file"
        cure = "move it elsewhere: a generated file belongs there"
        return Diagnostic("not-a-file", f"{path} is {kind}", help=cure)
    if change.new is None:
        state = "is no longer generated"
    else:
        state = "is missing" if change.old is None else "is out of date"
    return Diagnostic("drift", f"{path} {state}", help="build without --check")


def difference(root: Path, change: Change) -> str:
    """Return the unified diff from the existing file to what the build writes."""
    from difflib import unified_diff

    path = (root / change.path).as_posix()
    try:
        old, new = (
            _lines(path, content or b"") for content in (change.old, change.new)
        )
    except UnicodeDecodeError:
        return f"binary file {path} differs"
    before = "/dev/null" if change.old is None else path
    after = "/dev/null" if change.new is None else path
    return "\n".join(unified_diff(old, new, before, after, lineterm=""))


def _lines(path: str, content: bytes) -> list[str]:
    """Return the lines of a text, escaped for a terminal."""
    if b"\0" in content:
        raise UnicodeDecodeError("utf-8", content, 0, 1, "a text has no NUL")
    *lines, last = lock.plain(path, content).decode().split("\n")
    lines = [printable(line.replace("\t", TAB)) for line in lines]
    return (
        [*lines, f"{printable(last)}\n\\ No newline at end of file"] if last else lines
    )


def _compare(root: Path, folders: Folders) -> list[Change]:
    changes = []
    for folder, files in folders.items():
        known = lock.load(root / folder).outputs
        merges: Merges | None = None
        for name in [*files, *sorted(known.keys() - files.keys())]:
            path, new = root / folder / name, files.get(name)
            old = path.read_bytes() if path.is_file() else None
            if old is None:
                owner = Owner.NO_FILE if os.path.lexists(path) else Owner.SPECGEN
                owner = Owner.PERSON if path.is_symlink() else owner
                if new is None and owner is Owner.SPECGEN:
                    continue  # already gone
            else:
                found = lock.digest(name, old)
                if new is not None and found == lock.digest(name, new):
                    continue
                owner = Owner.SPECGEN
                if name != lock.NAME and found not in known.get(name, ()):
                    merges = merges or Merges(root / folder)
                    if not merges.made(name, old):
                        owner = Owner.PERSON
            last = min(known.get(name, ()), default=None)
            changes.append(Change(f"{folder}/{name}", old, new, owner, last))
    return changes


def _swap_in(root: Path, done: Written) -> None:
    """Write and remove what is not refused, with copies of edited files."""
    new: dict[str, bytes | Path] = {}
    removed = []
    for change in done.changed:
        if change.owner is Owner.PERSON:
            backup = _free(root, change.path)
            new[backup] = root / change.path
            done.backups.append(backup)
        if change.new is None:
            removed.append(change.path)
        else:
            new[change.path] = change.new
    if new or removed:
        swap(root, new, removed)


def _as_written(done: Written) -> Iterator[Change]:
    """Yield the changes; a lock file keeps the last hashes of refused files."""
    for change in done.changed:
        folder, _, name = change.path.partition("/")
        last = {
            path.name: refused.known
            for refused in done.refused
            if (path := PurePath(refused.path)).parent.name == folder
        }
        if name != lock.NAME or change.new is None or not last:
            yield change
            continue
        content = lock.amend(change.new, last)
        if change.old is None or lock.plain(name, change.old) != content:
            yield replace(change, new=content)


def _free(root: Path, path: str) -> str:
    """Return an unused path for a copy next to the file."""
    copy, count = f"{path}.orig", 1
    while os.path.lexists(root / copy):
        count += 1
        copy = f"{path}.{count}.orig"
    return copy


def cannot_write(folder: Path, error: OSError) -> SpecError:
    """Say in one sentence why the folder cannot be written."""
    reason = error.strerror or str(error)
    for path in (folder, *folder.parents):
        if os.path.isfile(path):  # Path.is_file() can fail for the same reason
            reason = f"{path} is a file"
        elif os.path.islink(path) and not os.path.exists(path):
            reason = f"{path} is a link to what does not exist"
    return SpecError([Diagnostic("cannot-write", f"cannot write {folder}: {reason}")])


@contextmanager
def _reported(root: Path, folders: Folders) -> Iterator[None]:
    try:
        yield
    except OSError as error:
        wrong = [root / name for name in folders if os.path.isfile(root / name)]
        raise cannot_write(wrong[0] if wrong else root, error) from error
