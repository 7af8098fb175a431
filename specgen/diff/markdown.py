"""A difference as a comment on a pull request: one table, with details folded.

What comes from a spec stands in code spans, where GitHub obeys nothing: no link, no
mention, no HTML.
"""

from __future__ import annotations

import re
from collections.abc import Iterator

from specgen.diagnostics import printable
from specgen.diff.difference import Difference
from specgen.diff.text import checkpoint_lines, figure_rows, shape_lines, value
from specgen.diff.tiers import MEANING

LONGEST = 200  # characters of a value in a cell


def markdown(difference: Difference) -> str:
    """Return the difference as GitHub's Markdown, without a newline at the end."""
    if not difference.changes:
        return f"**{difference.tier}**: nothing differs"
    said = f"**{difference.tier}**: {MEANING[difference.tier]}"
    rows = ["| | before | after | |", "|---|---:|---:|---|"]
    rows += _rows(difference)
    return "\n\n".join([said, "\n".join(rows), *_details(difference)])


def _rows(difference: Difference) -> Iterator[str]:
    for change in sorted(difference.changes, key=lambda change: -change.tier):
        cells = (
            "" if found is None else code(value(found))
            for found in (change.before, change.after)
        )
        yield _row(code(change.path), *cells, str(change.tier))
    for device, what, before, after, *notes in figure_rows(difference):
        if before != after:
            label = f"{code(device)}, {what}" if device else what
            yield _row(label, before, after, ", ".join(filter(None, notes)))


def _row(*cells: str) -> str:
    return f"| {' | '.join(cells)} |"


def _details(difference: Difference) -> Iterator[str]:
    """What follows, folded: shapes downstream, and the tensors of a checkpoint."""
    lines = [line.removeprefix("    ") for line in shape_lines(difference.shapes)]
    if lines:
        yield _folded("Shapes that follow", lines)
    if not difference.checkpoint.fits:
        yield _folded("An old checkpoint", checkpoint_lines(difference))


def _folded(summary: str, lines: list[str]) -> str:
    """A block that opens on click; its fence is longer than any inside it."""
    body = "\n".join(lines)
    fence = "`" * (2 + _longest_run(body)) if "``" in body else "```"
    return (
        f"<details><summary>{summary}</summary>\n\n{fence}text\n{body}\n{fence}\n\n"
        "</details>"
    )


def code(words: str) -> str:
    """Return any text as a code span that can stand in a table."""
    words = printable(words)
    if len(words) > LONGEST:
        words = words[: LONGEST - 3] + "..."
    ticks = "`" * (1 + _longest_run(words))
    space = " " if words.startswith("`") or words.endswith("`") else ""
    # A bar ends a cell even in code; a table takes the backslash away.
    return f"{ticks}{space}{words}{space}{ticks}".replace("|", "\\|")


def _longest_run(words: str) -> int:
    return max(map(len, re.findall("`+", words)), default=0)
