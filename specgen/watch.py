"""Wait for specs to be saved. Polls files instead of asking the system for events.

A look costs microseconds per file, and works on every disk, even a network drive.
"""

from __future__ import annotations

import time
from collections.abc import Iterable, Sequence
from contextlib import suppress
from pathlib import Path

from specgen import build
from specgen.diagnostics import SpecError

INTERVAL = 0.2  # seconds between looks

# For each file of a spec, when it was saved and its size; None if it does not exist.
Stamps = dict[Path, tuple[int, int, int] | None]


class Watch:
    """Specs, or folders of them, and the files that each was read from."""

    def __init__(self, paths: Sequence[Path]) -> None:
        self._paths = paths
        self._specs: list[Path] = []
        self._reads: dict[Path, set[Path]] = {}
        self._wrong: set[Path] = set()
        self._seen: dict[Path, Stamps] = {}

    def wait(self) -> list[Path]:
        """Return the specs with a file saved since the last call; at first, all specs.

        An editor may write a file in several steps, so it must look the same twice.

        Raises:
            SpecError: at first, a folder without specs.
        """
        first, before = not self._seen, None
        while True:
            with suppress(*() if first else (SpecError,)):
                self._specs = build.expand(self._paths)
            now = {spec: self._look(spec) for spec in self._specs}
            changed = [spec for spec in now if self._seen.get(spec) != now[spec]]
            if changed and (first or now == before):
                self._seen = now
                return changed
            before = now
            time.sleep(INTERVAL)

    def is_read_from(self, spec: Path, files: Iterable[Path]) -> None:
        """Note what a sound spec is made of."""
        self._reads[spec] = {spec, *files}
        self._wrong.discard(spec)
        self._see_again(spec)

    def is_wrong(self, spec: Path) -> None:
        """Note that any file next to a spec may fix it, such as a missing base."""
        self._wrong.add(spec)
        self._see_again(spec)

    def _see_again(self, spec: Path) -> None:
        """Look at other files; a save since one was last seen will still be noticed."""
        before = self._seen[spec]
        now = self._look(spec)
        self._seen[spec] = {file: before.get(file, now[file]) for file in now}

    def _look(self, spec: Path) -> Stamps:
        files = self._reads.get(spec, {spec})
        if spec in self._wrong:
            beside = (p for p in spec.parent.glob("*") if p.suffix in build.SUFFIXES)
            files = {*files, *beside}
        return {file: _stamp(file) for file in files}


def _stamp(file: Path) -> tuple[int, int, int] | None:
    try:
        found = file.stat()
    except OSError:
        return None
    return found.st_mtime_ns, found.st_size, found.st_ino
