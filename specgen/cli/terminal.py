"""Errors, warnings and color on a terminal."""

from __future__ import annotations

import json
import os
import sys
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import replace
from shutil import get_terminal_size
from typing import Any, TextIO

from specgen.diagnostics import Diagnostic, printable
from specgen.paint import Paint, painted, plain

MOST_ALIKE = 3  # warnings of one kind; of more, one stands for all
MOST_LINES = 16  # on which the others are
BESIDE = len("1000 | ......")  # what is next to a line that is cut at both ends


def print_text(by_spec: Mapping[str, str]) -> None:
    """Print the text of each spec, under its name if there are several."""
    if not by_spec:
        return
    parts = [
        f"{printable(spec)}\n\n{text}" if len(by_spec) > 1 else text
        for spec, text in by_spec.items()
    ]
    print("\n\n".join(parts))


def print_json(by_spec: Mapping[str, Any]) -> None:
    """Print the content for a spec; for several, an object with each by its name."""
    content = next(iter(by_spec.values())) if len(by_spec) == 1 else by_spec
    if content:
        print(json.dumps(content, indent=2, allow_nan=False))


def report(found: Sequence[Diagnostic], form: str) -> None:
    """Print errors and warnings to stderr, as text, json or github."""
    from specgen import diagnostics

    if form == "json":
        print(diagnostics.render_json(found), file=sys.stderr)
    elif form == "github":
        print(diagnostics.render_github(found), file=sys.stderr)
    else:
        width = diagnostics.LINE_WIDTH
        if sys.stderr.isatty():
            width = max(40, min(width, get_terminal_size().columns - BESIDE))
        text = diagnostics.render_text(folded(found), paint(sys.stderr), width)
        print(text, file=sys.stderr)
        print(f"\n{diagnostics.counted(found)}", file=sys.stderr)
        print(f"To learn more, run: specgen explain {found[0].code}", file=sys.stderr)


def folded(found: Iterable[Diagnostic]) -> Iterator[Diagnostic]:
    """Yield these, but of many warnings of one kind only the first.

    It has a note with the lines of the others. A file's warnings are of one kind if
    they have one code and one help.
    """
    kinds: dict[object, list[Diagnostic]] = {}
    for each in found:
        file = each.span.file if each.warning and each.span else id(each)
        kinds.setdefault((file, each.code, each.help), []).append(each)
    for first, *others in kinds.values():
        if len(others) < MOST_ALIKE:
            yield from (first, *others)
            continue
        lines = [*dict.fromkeys(str(each.span.line) for each in others if each.span)]
        where = ", ".join(lines[:MOST_LINES]) + ", ..." * (len(lines) > MOST_LINES)
        note = f"and {len(others)} more: line{'s' * (len(lines) > 1)} {where}"
        yield replace(first, notes=(*first.notes, note))


def paint(stream: TextIO) -> Paint:
    """Return what colors words that are written to a stream."""
    return painted if colored(stream) else plain


def colored(stream: TextIO) -> bool:
    """Whether the stream wants color.

    The user's settings come first: https://no-color.org, https://force-color.org, and
    CLICOLOR, CLICOLOR_FORCE of https://bixense.com/clicolors.
    """
    words = os.environ
    if words.get("NO_COLOR"):
        return False
    for name in ("FORCE_COLOR", "CLICOLOR_FORCE"):
        if words.get(name, "0") not in ("", "0"):
            return True
    plain_terminal = words.get("TERM") == "dumb" or words.get("CLICOLOR") == "0"
    return stream.isatty() and not plain_terminal


class Progress:
    """One line on stderr that is overwritten; nothing if stderr is not a terminal."""

    def __init__(self, *, quiet: bool = False) -> None:
        self.shown = sys.stderr.isatty() and not quiet

    def __enter__(self) -> Progress:
        """Begin."""
        return self

    def __exit__(self, *_: object) -> None:
        """Leave an empty line, whatever comes after."""
        self.say("")

    def say(self, words: str) -> None:
        """Show these words in place of the last ones."""
        if self.shown:
            print(f"\r\x1b[K{words}", end="", file=sys.stderr, flush=True)
