"""What has changed in a spec since its folder was built, or since the last commit."""

from __future__ import annotations

import os
from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path

from specgen.compiler import Program
from specgen.diagnostics import SpecError
from specgen.diff.compare import compare
from specgen.diff.revision import built_from, compile_all, compile_at
from specgen.diff.text import text


def since_build(
    spec: Path, folder: Path, sets: Sequence[str], root: Path | None
) -> str:
    """Return what has changed in a spec since its folder was built.

    That is nothing if git does not have the spec that it was built from, or if the
    folder is stale for another reason.
    """
    before = built_from(spec, folder)
    if before is None:
        return ""
    try:
        pair = (before, sets), (str(spec), sets)
        found = compare(*compile_all(pair, root))
    except SpecError:  # this version of specgen refuses the old one
        return ""
    title = f"Since {before}, which {folder} was built from:"
    return f"\n{title}\n\n{text(found)}\n" if found.changes else ""


def committed(spec: Path) -> Program | None:
    """Return a spec from the last commit; None if it is not there, or has errors."""
    with suppress(SpecError, ValueError):  # ValueError: on another drive
        return compile_at(f"HEAD:./{Path(os.path.relpath(spec)).as_posix()}")
    return None
