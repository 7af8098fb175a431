"""Python layout: what the formatter would do with the few long lines we write."""

from __future__ import annotations

import re
import textwrap
from collections.abc import Iterable, Sequence

from specgen.backends.prose import prose, width

WIDTH = 88
INDENT = "    "
TIMES = re.compile(r"(?<=\d) x (?=\d)")  # of a size, 3 x 3, which no line breaks
UNBROKEN = "\u00a0x\u00a0"  # not in prose


def fits(line: str, indent: int, comment: str = "") -> bool:
    """Whether a line with its trailing comment is short enough."""
    return indent + len(line) + (len(comment) + 4 if comment else 0) <= WIDTH


def bracketed(
    before: str, items: Sequence[str], after: str, indent: int, comment: str = ""
) -> list[str]:
    """Return `before items after` on one line, or as the formatter breaks it.

    `before` ends with the bracket of a call or, after a space, of a tuple; `after`
    begins with the closing one. A comment that does not fit after a whole statement
    goes above it.
    """
    pad, inner = " " * indent, " " * (indent + len(INDENT))
    above = [f"{pad}# {comment}"] if comment else []
    line = f"{before}{', '.join(items)}{after}"
    if comment and fits(line, indent, comment):
        return [f"{pad}{line}  # {comment}"]
    if fits(line, indent) or not items:
        return [*above, f"{pad}{line}"]
    body = ", ".join(items)
    if fits(body, indent + len(INDENT)) and not before.endswith(" ("):
        return [*above, f"{pad}{before}", f"{inner}{body}", f"{pad}{after}"]
    return [*above, f"{pad}{before}", *listed(items, indent), f"{pad}{after}"]


def listed(items: Iterable[str], indent: int) -> list[str]:
    """One line per item, indented: how the formatter breaks a collection."""
    return [f"{' ' * indent}{INDENT}{item}," for item in items]


def paragraph(text: str, indent: int = 0) -> list[str]:
    """Text of a spec, wrapped to the width, for a docstring."""
    return _filled(prose(text), " " * indent)


def sentences(*words: str, indent: int = 0) -> list[str]:
    """Text of the spec, each a sentence or more, for a docstring."""
    texts = filter(None, map(prose, words))
    whole = " ".join(t if t[-1] in ".?!" else f"{t}." for t in texts)
    return paragraph(whole, indent)


def hanging(text: str, indent: int) -> list[str]:
    """An entry of a docstring's list; continuation lines are indented further."""
    first, others = " " * indent, " " * (indent + len(INDENT))
    return textwrap.wrap(text, WIDTH, initial_indent=first, subsequent_indent=others)


def comments(texts: Iterable[str], indent: int) -> list[str]:
    """Comments of a spec as comments of the code."""
    prefix = " " * indent + "# "
    return [line for text in texts for line in _filled(prose(text), prefix)]


def _filled(text: str, prefix: str) -> list[str]:
    """Wrap text into lines that begin with a prefix."""
    # textwrap counts characters: a filler before each wide one, taken out at the end,
    # makes it count columns, unless a line breaks between the two.
    padded = "".join("\0" * (width(c) - 1) + c for c in TIMES.sub(UNBROKEN, text))
    lines = textwrap.wrap(
        padded,
        WIDTH - ("\0" in padded),
        initial_indent=prefix,
        subsequent_indent=prefix,
    )
    return [line.replace("\0", "").replace(UNBROKEN, " x ").rstrip() for line in lines]


def enumeration(names: Sequence[str]) -> str:
    """`a`, `a and b`, `a, b and c`."""
    return " and ".join(filter(None, (", ".join(names[:-1]), names[-1])))
