"""A difference as a comment on a pull request: one table, with details folded.

Whatever comes from a spec is in code spans, where GitHub acts on nothing: no link, no
mention, no HTML.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING

from specgen.diff.text import checkpoint_lines, figure_rows, shape_lines, value
from specgen.diff.tiers import MEANING
from specgen.markdown import code, longest_run, row

if TYPE_CHECKING:  # difference.py imports this, to print itself
    from specgen.diff.difference import Difference


def markdown(difference: Difference) -> str:
    """Return the difference as GitHub's Markdown, without a newline at the end."""
    if not difference.changes:
        return f"**{difference.tier}**: no differences"
    said = f"**{difference.tier}**: {MEANING[difference.tier]}"
    rows = ["| | before | after | |", "|---|---:|---:|---|"]
    rows += _rows(difference)
    return "\n\n".join([said, "\n".join(rows), *_details(difference)])


def _rows(difference: Difference) -> Iterator[str]:
    for change in difference.grouped():
        cells = (
            "" if found is None else code(value(found))
            for found in (change.before, change.after)
        )
        yield row(code(change.path), *cells, str(change.tier))
    for device, what, before, after, *notes in figure_rows(difference):
        if before != after:
            label = f"{code(device)}, {what}" if device else what
            yield row(label, before, after, ", ".join(filter(None, notes)))


def _details(difference: Difference) -> Iterator[str]:
    """The effects, folded: shapes downstream, and the tensors of a checkpoint."""
    lines = [line.removeprefix("    ") for line in shape_lines(difference.shapes)]
    if lines:
        yield _folded("Shapes downstream", lines)
    if not difference.checkpoint.fits:
        yield _folded("Old checkpoints", checkpoint_lines(difference))


def _folded(summary: str, lines: list[str]) -> str:
    """A block that opens on click; its fence is longer than any inside it."""
    body = "\n".join(lines)
    fence = "`" * (2 + longest_run(body)) if "``" in body else "```"
    return (
        f"<details><summary>{summary}</summary>\n\n{fence}text\n{body}\n{fence}\n\n"
        "</details>"
    )
