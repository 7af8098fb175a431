"""What has changed in a spec since its folder was built, where git knows."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from specgen.diagnostics import SpecError
from specgen.diff.compare import compare
from specgen.diff.revision import built_from, compile_all
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
