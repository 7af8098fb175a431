"""Final Python layout: what the formatter would do to the few long lines we write."""

from __future__ import annotations

import re
import textwrap
from collections.abc import Iterable, Sequence

WIDTH = 88
INDENT = "    "

# Comments that tools obey; a spec's words are only for people.
_PRAGMA = re.compile(
    r"(type|fmt|ruff|flake8|mypy|pyright|isort|yapf|noqa)\b *(:|$)", re.I
)


def bracketed(
    before: str, items: Sequence[str], after: str, indent: int, comment: str = ""
) -> list[str]:
    """Return `before items after` in one line, or as the formatter breaks it.

    `before` ends with the opening bracket, `after` begins with the closing one. A
    comment that does not fit behind a whole statement goes above it.
    """
    pad, inner = " " * indent, " " * (indent + len(INDENT))
    above = [f"{pad}# {comment}"] if comment else []
    line = f"{pad}{before}{', '.join(items)}{after}"
    if comment and len(line) + len(comment) + 4 <= WIDTH:
        return [f"{line}  # {comment}"]
    if len(line) <= WIDTH:
        return [*above, line]
    body = f"{inner}{', '.join(items)}"
    if len(body) <= WIDTH:
        return [*above, f"{pad}{before}", body, f"{pad}{after}"]
    return [*above, f"{pad}{before}", *(f"{inner}{i}," for i in items), f"{pad}{after}"]


def prose(text: str) -> str:
    """One line of a spec's words, harmless in a docstring or a comment."""
    text = " ".join(text.split())
    text = "".join(c for c in text if c.isprintable())
    return text.replace("\\", "/").replace('"', "'")


def paragraph(text: str, indent: int = 0) -> list[str]:
    """Words of a spec, filled to the width, for a docstring."""
    lines = textwrap.wrap(prose(text), WIDTH - indent)
    return [" " * indent + line for line in lines]


def comments(texts: Iterable[str], indent: int) -> list[str]:
    """Comments of a spec as comments of the code, without what tools would obey."""
    prefix = " " * indent + "# "
    lines: list[str] = []
    for text in map(prose, texts):
        if text and not _PRAGMA.match(text):
            lines += textwrap.wrap(
                text, WIDTH, initial_indent=prefix, subsequent_indent=prefix
            )
    return lines
