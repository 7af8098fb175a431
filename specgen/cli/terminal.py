"""What terminals show: errors, and color where it is wanted."""

from __future__ import annotations

import os
import sys

from specgen.diagnostics import SpecError


def report(error: SpecError, form: str) -> None:
    """Print errors to stderr, as text, json or github."""
    from specgen import diagnostics

    renderer = {
        "text": diagnostics.render_text,
        "json": diagnostics.render_json,
        "github": diagnostics.render_github,
    }[form]
    print(renderer(error.diagnostics), file=sys.stderr)
    if form == "text":
        count = len(error.diagnostics)
        print(f"\n{count} error{'s' if count > 1 else ''}", file=sys.stderr)
        code = error.diagnostics[0].code
        print(f"To learn more, run: specgen explain {code}", file=sys.stderr)


def colored() -> bool:
    """Whether stdout wants color: see https://no-color.org."""
    plain = os.environ.get("NO_COLOR") or os.environ.get("TERM") == "dumb"
    return sys.stdout.isatty() and not plain
