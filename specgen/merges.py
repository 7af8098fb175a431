"""Tell whether git, and not a person, changed a generated file.

When two branches have built different things, git merges `model.py` line by line, and
neither branch's lock file knows the hash of the result. Such a file does not count as
edited if it is the merge of what both sides generated, according to their lock files.
"""

from __future__ import annotations

import subprocess
from collections.abc import Iterator
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import NamedTuple

from specgen import lock

# What git is merging into HEAD: the name of the other commit, and of their base where
# that is known. A rebase, a cherry-pick, a revert and a stash merge with one parent.
UNFINISHED = {
    "MERGE_HEAD": ("MERGE_HEAD", None),
    "REBASE_HEAD": ("REBASE_HEAD", "REBASE_HEAD^"),
    "CHERRY_PICK_HEAD": ("CHERRY_PICK_HEAD", "CHERRY_PICK_HEAD^"),
    "REVERT_HEAD": ("REVERT_HEAD^", "REVERT_HEAD"),
    "refs/stash": ("refs/stash", "refs/stash^"),
}
LATEST = 5  # how many finished merges to look at


class Merge(NamedTuple):
    """Three commits of one merge. Unrelated histories have no base."""

    ours: str
    base: str | None
    theirs: str


class Merges:
    """The merge that git is in the middle of in a folder, and the latest ones."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.merges = list(self._merges())

    def made(self, name: str, content: bytes) -> bool:
        """Tell whether the content of a generated file comes from a merge."""
        return any(self._is_from(merge, name, content) for merge in self.merges)

    def _merges(self) -> Iterator[Merge]:
        for ref, (theirs, base) in UNFINISHED.items():
            if self._git("rev-parse", "--verify", "--quiet", ref):
                yield Merge("HEAD", base or self._base("HEAD", theirs), theirs)
        latest = self._git("rev-list", f"-{LATEST}", "--merges", "HEAD") or b""
        for commit in latest.decode().split():
            ours, theirs = f"{commit}^1", f"{commit}^2"
            yield Merge(ours, self._base(ours, theirs), theirs)

    def _base(self, ours: str, theirs: str) -> str | None:
        found = self._git("merge-base", ours, theirs)
        return found.decode().strip() if found else None

    def _is_from(self, merge: Merge, name: str, content: bytes) -> bool:
        sides = []
        for commit in (merge.ours, merge.theirs):
            record = lock.parse(self._file(commit, lock.NAME) or b"")
            known = record.outputs.get(name, ())
            if lock.digest(name, content) in known:
                return True
            side = self._file(commit, name)
            if side is not None and lock.digest(name, side) in known:
                sides.append(side)
        if len(sides) < 2:  # a side has no such file, or it was edited there
            return False
        ours, theirs = sides
        base = self._file(merge.base, name) if merge.base else None
        # The file may have open conflicts: it is a merge if both ways to resolve them
        # give git's result.
        return all(
            _resolved(lock.plain(name, content), side)
            == _merged(ours, base or b"", theirs, side)
            for side in ("ours", "theirs")
        )

    def _file(self, commit: str, name: str) -> bytes | None:
        content = self._git("cat-file", "blob", f"{commit}:./{name}")
        return None if content is None else lock.plain(name, content)

    def _git(self, *arguments: str) -> bytes | None:
        return _git(self.folder, *arguments)


def _resolved(content: bytes, side: str) -> bytes:
    """Resolve every marked conflict in favor of one side."""
    taken, now = [], ""
    for line in content.splitlines(keepends=True):
        if line.startswith(b"<<<<<<< "):
            now = "ours"
        elif line.startswith(b"||||||| ") and now:
            now = "base"
        elif line.rstrip() == b"=======" and now:
            now = "theirs"
        elif line.startswith(b">>>>>>> ") and now:
            now = ""
        elif now in ("", side):
            taken.append(line)
    return b"".join(taken)


def _merged(ours: bytes, base: bytes, theirs: bytes, side: str) -> bytes | None:
    """Merge three texts with git; one side wins where both made changes."""
    with TemporaryDirectory() as folder:
        names = ("ours", "base", "theirs")
        for name, content in zip(names, (ours, base, theirs), strict=True):
            Path(folder, name).write_bytes(content)
        return _git(Path(folder), "merge-file", "-p", f"--{side}", *names)


def _git(folder: Path, *arguments: str) -> bytes | None:
    """Return what git prints, or None if it fails or is not installed."""
    command = ["git", *arguments]
    try:
        done = subprocess.run(command, cwd=folder, capture_output=True, check=False)
    except OSError:
        return None
    return done.stdout if done.returncode == 0 else None
