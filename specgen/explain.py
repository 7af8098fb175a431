"""Pages of errors and warnings, from docs/errors.md; the limits, from docs/spec.md."""

from __future__ import annotations

import re
from functools import cache
from pathlib import Path
from textwrap import fill, indent

LIMITS = "limits"  # named by errors that come from one
WIDTH = 80
FENCED = re.compile(r"(.+?)(?:^```[^\n]*\n(.*?)^```\n|\Z)", re.M | re.S)  # words, code
LINK = re.compile(r"\[([^]]+)\]\([^)]*\)")


def codes() -> list[str]:
    """Return the codes of all errors and warnings."""
    return list(_sections())


def explain(code: str) -> str:
    """Return what the page says about a code, or `limits`; examples are indented.

    Raises:
        KeyError: there is no such code.
    """
    if code == LIMITS:
        _, _, section = _page("spec.md").partition("\n## Limits\n")
        text, parts = section.partition("\n## ")[0], ["The limits of specgen:"]
    else:
        text = _sections()[code]
        kind = "warning" if text.lstrip().startswith("A warning") else "error"
        parts = [f"{kind}[{code}]"]
    for words, example in FENCED.findall(LINK.sub(r"\1", text)):
        parts += ["\n".join(map(_fill, _items(p))) for p in words.strip().split("\n\n")]
        parts += [indent(example.rstrip(), "    ")] if example else []
    return "\n\n".join(filter(None, parts))


def _items(paragraph: str) -> list[str]:
    """Return the items of a list, or else the paragraph as one."""
    return re.split(r"\n(?=- )", paragraph)


def _fill(item: str) -> str:
    inside = "  " if item.startswith("- ") else ""
    return fill(
        re.sub(r"\s+", " ", item),
        WIDTH,
        subsequent_indent=inside,
        break_on_hyphens=False,
    )


@cache
def _sections() -> dict[str, str]:
    parts = re.split(r"^## (\S+)\n", _page("errors.md"), flags=re.M)
    return dict(zip(parts[1::2], parts[2::2], strict=True))


def _page(name: str) -> str:
    """Return the text: from the package if it is a wheel, otherwise next to it."""
    package = Path(__file__).resolve().parent
    installed = package / "docs" / name
    file = installed if installed.is_file() else package.parent / "docs" / name
    return file.read_text(encoding="utf-8")
