"""A spec's text, made harmless: tools read it as nothing but text.

Generated code keeps it as it is written wherever it can. Only what is invisible, or
what a linter, a type checker or Python itself would obey, is removed or replaced.
"""

from __future__ import annotations

import re
import unicodedata
from functools import cache
from pathlib import Path

# Printable for Python, yet invisible.
_INVISIBLE = re.compile(
    "[\u034f\u115f\u1160\u17a4\u17b4\u17b5\u17d8\u2800\u3164\ufe00-\ufe0f\uffa0"
    "\U000e0100-\U000e01ef]"
)
# Variants of a character: bold, full-width, joined. Not x², ½ and the like.
_SHAPES = re.compile("<(font|wide|narrow|compat|initial|medial|final|isolated)>")
# What is between ASCII spaces and punctuation; a word, or one character that is not.
_RUN = re.compile(r"[^\x00-/:-@\[-`{-\x7f]+")
_WORD = re.compile(r"[^\W_]+|[\W_]")
# Words that tools obey in a comment, but not in quotes.
_DIRECTIVE = re.compile(
    r"(?<![\w'])(?:(?:noqa|nosec|nosem|nosemgrep|pragma|pyre-\w+)(?!\w)"
    r"|(?:autopep8|codespell|coding|cspell|flake8|fmt|isort|mypy|pylint|pyright|pytype"
    r"|ruff|ty|type|yapf)(?=\s*[:=])|(?:///|>>>)(?!\S))",
    re.IGNORECASE,
)


def printable(text: str) -> str:
    """One line, without anything that a terminal would obey or hide."""
    return "".join(c for c in " ".join(text.split()) if c.isprintable())


def prose(text: str) -> str:
    """One line for a docstring or a comment of generated code."""
    text = _INVISIBLE.sub("", unicodedata.normalize("NFC", printable(text)))
    if not text.isascii():
        text = "".join(map(_usual_shape, text))
        text = _RUN.sub(_without_lookalikes, text)
    text = text.replace("\\", "/").replace('"', "'")
    return _DIRECTIVE.sub(r"'\g<0>'", " ".join(text.split()))


def width(character: str) -> int:
    """The columns that a character takes, or one too many."""
    wide = unicodedata.east_asian_width(character) in "WF"
    return 2 if wide or unicodedata.category(character) in ("So", "No") else 1


def _usual_shape(character: str) -> str:
    if not _SHAPES.match(unicodedata.decomposition(character)):
        return character
    usual = unicodedata.normalize("NFKC", character)
    return character if usual.startswith(" ") else usual


def _without_lookalikes(run: re.Match[str]) -> str:
    """Make words ASCII if they are partly ASCII or look like it; keep others."""
    if any(map(str.isascii, run[0])):
        return run[0].translate(_lookalikes())
    return _WORD.sub(_unless_plain, run[0])


def _unless_plain(word: re.Match[str]) -> str:
    plain = any(ord(c) not in _lookalikes() for c in word[0])
    return word[0] if plain else word[0].translate(_lookalikes())


@cache
def _lookalikes() -> dict[int, str]:
    """Characters that ruff finds confusable with ASCII (RUF001 to RUF003).

    Each line of the file has the ASCII character, a space, and those that look like it.
    """
    text = Path(__file__).with_name("lookalikes.txt").read_text("utf-8")
    pairs = (line.split(" ", 1) for line in text.splitlines())
    return {ord(c): usual for usual, characters in pairs for c in characters}
