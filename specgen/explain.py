"""Pages of errors and warnings, out of docs/errors.md; the limits, of docs/spec.md."""

from __future__ import annotations

import re
from functools import cache
from pathlib import Path

LIMITS = "limits"  # named by errors that come from one
LINK = re.compile(r"\[([^]]+)\]\([^)]*\)")


def codes() -> list[str]:
    """Return the codes of all errors and warnings."""
    return list(_sections())


def explain(code: str) -> str:
    """Return what the page says of a code, or of `limits`; examples are indented.

    Raises:
        KeyError: there is no such code.
    """
    if code == LIMITS:
        _, _, section = _page("spec.md").partition("\n## Limits\n")
        text, lines = section.partition("\n## ")[0], ["The limits of specgen:"]
    else:
        text = _sections()[code]
        kind = "warning" if text.lstrip().startswith("A warning") else "error"
        lines = [f"{kind}[{code}]"]
    example = False
    for line in LINK.sub(r"\1", text).rstrip().splitlines():
        if line.startswith("```"):
            example = not example
        else:
            lines.append(f"    {line}".rstrip() if example else line)
    return "\n".join(lines)


@cache
def _sections() -> dict[str, str]:
    parts = re.split(r"^## (\S+)\n", _page("errors.md"), flags=re.M)
    return dict(zip(parts[1::2], parts[2::2], strict=True))


def _page(name: str) -> str:
    """Return the text: of the package if from a wheel, else beside it."""
    package = Path(__file__).resolve().parent
    installed = package / "docs" / name
    file = installed if installed.is_file() else package.parent / "docs" / name
    return file.read_text(encoding="utf-8")
