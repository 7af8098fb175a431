"""Markdown for git hosts, with text that must not act as Markdown."""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence

from specgen.diagnostics import printable

LONGEST = 200  # characters of a value in a cell
# What means something in a line: code, emphasis, links, HTML, entities, the cells of a
# table, math, emoji, and what hosts take for an address.
_INLINE = re.compile(r"[\\`*_\[\]<>&|~$]|:(?=//|[\w+-]+:)|(?<=www)\.")
# What makes a line a heading, an item of a list, a rule.
_START = re.compile(r"[-+#=]|[0-9]+(?=[.)](?: |$))")
_TICKS = re.compile("`+")
_ADDRESS = re.compile(r"(https?://[a-z0-9.~:/?#@!+=%,_-]*[a-z0-9/_])", re.IGNORECASE)


def escaped(words: str) -> str:
    """Return any text as one line that shows as it is; addresses become links."""
    parts = _ADDRESS.split(printable(" ".join(words.split())))
    parts[::2] = (_INLINE.sub(r"\\\g<0>", part) for part in parts[::2])
    parts[1::2] = (f"<{address}>" for address in parts[1::2])
    start = _START.match(parts[0])
    if start:
        end = start.end() if start[0].isdigit() else 0
        parts[0] = f"{parts[0][:end]}\\{parts[0][end:]}"
    return "".join(parts)


def code(words: str) -> str:
    """Return any text as a code span that is safe in a table."""
    words = printable(words)
    if len(words) > LONGEST:
        words = words[: LONGEST - 3] + "..."
    ticks = "`" * (1 + longest_run(words))
    space = " " if words.startswith("`") or words.endswith("`") else ""
    # A bar ends a cell even in code; a table takes the backslash away.
    return f"{ticks}{space}{words}{space}{ticks}".replace("|", "\\|")


def longest_run(words: str) -> int:
    """Return the length of the longest run of backticks."""
    return max(map(len, _TICKS.findall(words)), default=0)


def row(*cells: str) -> str:
    """Return a line of a table. Cells are not aligned, so a change affects one line."""
    return f"| {' | '.join(cells)} |"


def table(head: Sequence[str], sides: str, rows: Iterable[Sequence[str]]) -> str:
    """Return a table, each column to its side (< or >)."""
    rule = {"<": "---", ">": "---:"}
    lines = [row(*head), row(*(rule[side] for side in sides))]
    return "\n".join([*lines, *(row(*cells) for cells in rows)])
