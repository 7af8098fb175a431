"""A difference as text for a terminal: 80 columns, color only on request.

What comes from a spec is escaped, so it cannot control the terminal.
"""

from __future__ import annotations

import json
import re
import textwrap
from collections.abc import Iterable, Iterator, Sequence
from difflib import unified_diff
from itertools import groupby
from typing import TYPE_CHECKING, Any

from specgen.diagnostics import printable, short
from specgen.diff.tiers import MEANING, Tier
from specgen.ops.base import Shape
from specgen.paint import BOLD, GREEN, RED, YELLOW, Paint, painted, plain
from specgen.schema import SIZE, readable
from specgen.tables import aligned, dimensions

if TYPE_CHECKING:  # difference.py imports this, to print itself
    from specgen.diff.difference import (
        Change,
        Difference,
        Figure,
        Reshaped,
        ShapeChange,
    )

WIDTH = 80
MOST = 12  # lines of one kind
FEW = 3  # changes in a line
# Texts that need no quotes in YAML: they begin with a letter, and nothing ends them.
PLAIN = re.compile(
    rf"(?!(?:true|false|null)$)[^\W\d][^{{}}\[\]\n]*|{SIZE}", re.IGNORECASE
)
COMMENT = "# "  # what a comment begins with, and each line of it
ODD = re.compile(r": | #|:$|\s$")
COLORS = {Tier.FUNCTION: YELLOW, Tier.CHECKPOINT: RED, Tier.INTERFACE: RED}


def text(difference: Difference, *, color: bool = False) -> str:
    """Return the difference as text, without a newline at the end."""
    paint = painted if color else plain
    paragraphs = [_head(difference, paint)]
    groups = groupby(difference.grouped(), lambda change: change.tier)
    for index, (tier, group) in enumerate(groups):
        if index or tier != difference.tier:
            note = " (no effect on the network)" if tier == Tier.SAME else ""
            paragraphs.append(f"{_tier(tier, paint)}{note}:")
        paragraphs.append("\n".join(_changes(list(group), paint)))
        if not index and difference.shapes:
            paragraphs[-1] += "\n" + "\n".join(shape_lines(difference.shapes))
    if difference.changes:
        paragraphs.append("\n".join(_indented(figure_lines(difference))))
        if not difference.checkpoint.fits:
            paragraphs.append("\n".join(_indented(checkpoint_lines(difference))))
    return "\n\n".join(paragraphs)


def summary(difference: Difference) -> str:
    """Return the changes and what they do to the figures, on one line."""
    shown = [
        f"{printable(c.path)} {short(value(c.before))} -> {short(value(c.after))}"
        for c in difference.grouped()
    ]
    if (more := len(shown) - FEW) > 0:
        shown[FEW:] = [f"{more} more"]
    shown += [
        f"{f'{device} ' if device else ''}{what} {percent}"
        for device, what, _, _, percent, _ in figure_rows(difference)
        if percent
    ]
    return ", ".join(shown) or "no differences"


def _tier(tier: Tier, paint: Paint) -> str:
    return paint(str(tier), f"{BOLD};{COLORS.get(tier, GREEN)}")


def _head(difference: Difference, paint: Paint) -> str:
    said = MEANING[difference.tier] if difference.changes else "no differences"
    return f"{_tier(difference.tier, paint)}: {said}"


# --- changes


def _changes(changes: Sequence[Change], paint: Paint) -> Iterator[str]:
    """Lines of changes of one tier; a short change takes one line."""
    short = [change for change in changes if _in_one_line(change)]
    width = max((len(printable(change.path)) for change in short), default=0)
    for change in changes:
        path, place = printable(change.path), printable(change.place)
        before, after = value(change.before), value(change.after)
        if _in_one_line(change):
            values = f"   {before} -> {after}"
            if 2 + width + len(values) + 2 + len(place) <= WIDTH:
                path = f"{path:{width}}"
            length = 2 + len(path) + len(values)
            values = f"   {paint(before, RED)} -> {paint(after, GREEN)}"
            yield _with_place(f"  {path}{values}", length, place)
            continue
        yield _with_place(f"  {path}", len(path) + 2, place)
        for sign, found in _sides(change):
            more = "  # " if found.startswith(COMMENT) else "  "
            for line in _wrapped(f"{sign} {found}", more):
                yield f"    {paint(line[4:], RED if sign == '-' else GREEN)}"


def _sides(change: Change) -> Iterator[tuple[str, str]]:
    """Yield both values with their signs; of comments, the lines that differ."""
    before, after = (
        "" if found is None else str(found) for found in (change.before, change.after)
    )
    if (before or after).startswith(COMMENT):
        lines = before.splitlines(), after.splitlines()
        _, _, *differing = unified_diff(*lines, n=0, lineterm="")
        for line in differing:
            if line[0] in "-+":
                yield line[0], printable(line[1:])
        return
    for sign, found in (("-", change.before), ("+", change.after)):
        if found is not None:
            yield sign, value(found)


def _in_one_line(change: Change) -> bool:
    """Whether both values are short, and neither is a mapping or a comment."""
    values = change.before, change.after
    if any(isinstance(v, dict) or str(v).startswith(COMMENT) for v in values):
        return False
    texts = (printable(change.path), value(change.before), value(change.after))
    return sum(map(len, texts)) + len("  " + "   " + " -> ") <= WIDTH


def _with_place(line: str, length: int, place: str) -> str:
    """Put the place at the right edge, or below if the line has no room."""
    if not place:
        return line
    room = WIDTH - length - len(place)
    return f"{line}{' ' * room}{place}" if room >= 2 else f"{line}\n      {place}"


def _wrapped(words: str, more: str) -> list[str]:
    return textwrap.wrap(
        words,
        WIDTH,
        initial_indent=" " * 4,
        subsequent_indent=" " * 4 + more,
        break_on_hyphens=False,
    )


def value(found: Any) -> str:
    """Return a value as written in a spec: YAML on one line, escaped."""
    match found:
        case None:
            return "none"
        case bool():
            return str(found).lower()
        case float():
            return f"{found:g}" if float(f"{found:g}") == found else repr(found)
        case str():
            plain = PLAIN.fullmatch(found) and not ODD.search(found)
            if found.startswith(COMMENT):
                return printable(found.replace("\n#", ""))
            return printable(found if plain else _quoted(found))
        case dict():
            items = (f"{printable(key)}: {value(item)}" for key, item in found.items())
            return "{" + ", ".join(items) + "}"
        case list():
            return "[" + ", ".join(map(value, found)) + "]"
    return str(found)


def _quoted(words: str) -> str:
    return json.dumps(words, ensure_ascii=False)


# --- effects


def shape_lines(shapes: Sequence[ShapeChange]) -> list[str]:
    """Lines of the shapes that change downstream; equal ones share a line."""
    rows = []
    for change in shapes:
        names = change.layers
        name = names[0] if len(names) == 1 else f"{names[0]}..{names[-1]}"
        before, after = dimensions(change.before), dimensions(change.after)
        reads = "reads " if change.reads else ""
        rows.append((f"    {printable(name)}", f" {reads}{before} -> {after}"))
    more = len(rows) - MOST
    lines = aligned(rows[:MOST], "<<").splitlines()
    return [*lines, f"    and {more} more"] if more > 0 else lines


def figure_lines(difference: Difference) -> list[str]:
    """A line per figure: before, after, and the change."""
    if all(figure.before == figure.after for figure in difference.figures):
        return ["parameters, MACs, memory and traffic are unchanged"]
    rows = [
        (f"{device}, {what}" if device else what, before, "->", after, percent, note)
        for device, what, before, after, percent, note in figure_rows(difference)
    ]
    lines = aligned(rows, "<><>><").splitlines()
    return [line.replace("  ->  ", " -> ", 1) for line in lines]


def figure_rows(difference: Difference) -> Iterator[tuple[str, ...]]:
    """Yield the figures that people need: device, what, before, after, percent, note.

    The first is "" if the figure is not of a device; before and after are equal if
    nothing has changed.
    """
    images = {figure.name: figure for figure in difference.figures}["images"]
    for figure in difference.figures:
        kind, _, device = figure.name.partition(".")
        if kind not in LABELS or not (figure.before or figure.after):
            continue
        if figure is images and images.before == images.after:
            continue  # the notes have it
        what, note = LABELS[kind]
        if device:
            note = _memory_note(difference, device, images)
        before, after = (_figure(kind, n) for n in (figure.before, figure.after))
        yield printable(device), what, before, after, _percent(figure), note


LABELS = {
    "parameters": ("parameters", ""),
    "macs": ("MACs", "per image"),
    "images": ("images at once", ""),
    "training_bytes": ("training", ""),
    "traffic_bytes_per_image": ("between devices", "per image"),
}


def _memory_note(difference: Difference, device: str, images: Figure) -> str:
    parts = []
    if device in difference.budgets:
        parts.append(f"of {readable(difference.budgets[device])}")
    if images.before == images.after:
        parts.append(f"{images.after} images")
    return ", ".join(parts)


def _figure(kind: str, number: int | None) -> str:
    if number is None:
        return "none"
    if kind.startswith("traffic"):
        return f"{number:,} B"
    return readable(number) if "bytes" in kind else f"{number:,}"


def _percent(figure: Figure) -> str:
    """How much larger or smaller a figure has become; empty if it has not changed."""
    if figure.before == figure.after or not figure.before or figure.after is None:
        return ""
    change = 100 * (figure.after / figure.before - 1)
    return f"{change:+.1f}%" if abs(change) >= 0.05 else "<0.1%"


def checkpoint_lines(difference: Difference) -> list[str]:
    """Lines about an old checkpoint; only one line if it loads."""
    found = difference.checkpoint
    again = {tensor.name for tensor in found.reshaped}
    others = [name for name in found.renamed.values() if name not in again]
    tensors = sum(map(len, (found.loads, found.reshaped, found.missing, others)))
    lines = [f"loads       {len(found.loads)} of {tensors} tensors"]
    renamed = [f"{old} -> {new}" for old, new in found.renamed.items()]
    for label, names in (
        ("reshaped", map(_reshaped, found.reshaped)),
        ("renamed", renamed),
        ("missing", found.missing),
        ("left over", found.unexpected),
    ):
        lines += _listed(label, names)
    return lines


def _reshaped(tensor: Reshaped) -> str:
    return f"{tensor.name} {_tuple(tensor.before)} -> {_tuple(tensor.after)}"


def _tuple(shape: Shape) -> str:
    return f"({', '.join(map(str, shape))})"


def _listed(label: str, names: Iterable[str]) -> list[str]:
    """One line per name, with the label before the first."""
    lines = [f"{' ' * 12}{printable(name)}" for name in names]
    if (more := len(lines) - MOST) > 0:
        lines[MOST:] = [f"{' ' * 12}and {more} more"]
    if lines:
        lines[0] = f"{label:12}{lines[0].lstrip()}"
    return lines


def _indented(lines: Iterable[str]) -> list[str]:
    return [f"  {line}" for line in lines]
