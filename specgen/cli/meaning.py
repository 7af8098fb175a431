"""What `build --check --diff` says below the lines that differ."""

from __future__ import annotations

import argparse
from pathlib import Path

from specgen.diagnostics import SpecError
from specgen.diff import compare
from specgen.diff.revision import built_from, compile_all
from specgen.diff.text import text


def meaning(spec: Path, folder: Path, options: argparse.Namespace) -> str:
    """Return what has changed in a spec since its folder was built.

    That is nothing where git does not have the spec that it was built from, and where
    the folder is stale for another reason.
    """
    before = built_from(spec, folder)
    if before is None:
        return ""
    try:
        pair = (before, options.set), (str(spec), options.set)
        found = compare(*compile_all(pair, options.root))
    except SpecError:  # this version of specgen refuses the old one
        return ""
    title = f"Since {before}, which {folder} was built from:"
    return f"\n{title}\n\n{text(found)}\n" if found.changes else ""
