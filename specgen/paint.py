"""Color of words on a terminal; it only repeats what they say."""

from __future__ import annotations

from collections.abc import Callable

# SGR parameters (ECMA-48): terminals show these in the user's own shades.
BOLD, RED, GREEN, YELLOW, BLUE, CYAN = "1", "31", "32", "33", "34", "36"

Paint = Callable[[str, str], str]
"""Turns words and the code of their color into what is written."""


def plain(words: str, code: str) -> str:
    """Return the words."""
    return words


def painted(words: str, code: str) -> str:
    """Return the words in this color."""
    return f"\x1b[{code}m{words}\x1b[0m" if words else ""
