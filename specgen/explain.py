"""The page of an error or a warning, from docs/errors.md."""

from __future__ import annotations

import re
from functools import cache
from pathlib import Path
from textwrap import fill, indent

WIDTH = 80
FENCED = re.compile(r"(.+?)(?:^```[^\n]*\n(.*?)^```\n|\Z)", re.M | re.S)  # words, code
LINK = re.compile(r"\[([^]]+)\]\([^)]*\)")


def codes() -> list[str]:
    """Return the codes of all errors and warnings."""
    return list(_sections())


def explain(code: str) -> str:
    """Return what the page says about it, as plain text; examples are indented.

    Raises:
        KeyError: there is no such code.
    """
    kind = "warning" if _sections()[code].lstrip().startswith("A warning") else "error"
    parts = [f"{kind}[{code}]"]
    text = LINK.sub(r"\1", _sections()[code])
    for words, example in FENCED.findall(text):
        parts += [fill(paragraph, WIDTH) for paragraph in words.strip().split("\n\n")]
        parts += [indent(example.rstrip(), "    ")] if example else []
    return "\n\n".join(filter(None, parts))


@cache
def _sections() -> dict[str, str]:
    parts = re.split(r"^## (\S+)\n", _page().read_text(encoding="utf-8"), flags=re.M)
    return dict(zip(parts[1::2], parts[2::2], strict=True))


def _page() -> Path:
    """Return the file: in the package if from a wheel, otherwise next to it."""
    package = Path(__file__).resolve().parent
    installed = package / "docs" / "errors.md"
    return installed if installed.is_file() else package.parent / "docs" / "errors.md"
