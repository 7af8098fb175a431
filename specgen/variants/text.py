"""Variants as a table for a terminal, and as one in Markdown.

What comes from a spec or an option is escaped, so it can control neither the terminal
nor the page.
"""

from __future__ import annotations

import textwrap
from collections.abc import Iterator, Sequence

from specgen.diagnostics import printable
from specgen.markdown import code
from specgen.tables import aligned
from specgen.variants.columns import SPEC, Column, figures, labels
from specgen.variants.variant import Variant

WIDTH = 80
LONGEST = 40  # characters of a label
MOST_NAMED = 3  # variants that a warning names
MARK = "*"  # of a figure that differs from the first variant's


def table(variants: Sequence[Variant]) -> str:
    """Return a table and what there is to say about it, without a newline at the end.

    A figure that is the same for all is given below. What does not fit in 80 columns
    continues in another table.
    """
    known = figures(variants)
    alike = [column for column in known if column.sentence and _is_alike(column)]
    shown = [column for column in known if column not in alike]
    parts = [
        "\n".join(_lines(variants, block, goes_on=index > 0))
        for index, block in enumerate(_blocks(variants, shown))
    ]
    if notes := "\n".join(_notes(variants, alike, shown)):
        parts.append(notes)
    return "\n\n".join(parts)


def _is_alike(column: Column) -> bool:
    """Whether several variants have this figure, and it is the same."""
    return len(column.known) > 1 and len(set(column.known)) == 1


def _blocks(
    variants: Sequence[Variant], shown: Sequence[Column]
) -> Iterator[list[Column]]:
    """Divide the columns into tables that fit the width; each has at least one."""
    start = sum(map(_width, labels(variants)))
    block: list[Column] = []
    for column in shown:
        if block and start + sum(map(_width, [*block, column])) - 2 > WIDTH:
            yield block
            block = []
        block.append(column)
    yield block


def _width(column: Column) -> int:
    """Return the columns of a terminal that a column takes, two spaces among them."""
    return max(map(len, _texts(column))) + 2


def _lines(
    variants: Sequence[Variant], block: Sequence[Column], *, goes_on: bool
) -> Iterator[str]:
    """Yield heads, a rule, and one or more lines for each variant.

    Only the first table says why a variant is refused.
    """
    named = labels(variants)
    first, second, *rows = zip(*map(_texts, [*named, *block]), strict=True)
    heads = [first, second] if "".join(first).strip() else [second]
    sides = ["<" if column.head == SPEC else ">" for column in [*named, *block]]
    lines = aligned([*heads, None, *rows], "".join(sides)).splitlines()
    top = len(heads) + 1  # and the rule
    yield from lines[:top]
    indent = sum(map(_width, named))
    for line, variant in zip(lines[top:], variants, strict=True):
        if variant.sound:
            yield line
        elif not goes_on:
            reason = textwrap.wrap(
                printable(_reason(variant)),
                max(WIDTH - indent, 30),
                break_on_hyphens=False,
            )
            yield f"{line:{indent}}{reason[0]}"
            yield from (" " * indent + more for more in reason[1:])


def _texts(column: Column) -> list[str]:
    """Return the heads and cells; what differs from the first figure has a mark."""
    texts = [_short(text or "") for text in (*column.head, *column.cells)]
    marks = [False, False, *_marks(column)]
    if not any(marks):
        return texts
    # A head, or a cell without a mark, ends where others do before their marks.
    return [
        text + (MARK if marked else " ")
        for text, marked in zip(texts, marks, strict=True)
    ]


def _marks(column: Column) -> list[bool]:
    return [column.differs(index) for index in range(len(column.cells))]


def _short(text: str) -> str:
    """Cut the middle out of a long text: labels often differ at their ends."""
    text = printable(text)
    if len(text) <= LONGEST:
        return text
    half = LONGEST // 2
    return f"{text[: half - 2]}...{text[1 - half :]}"


def _reason(variant: Variant) -> str:
    reason, *more = variant.reasons
    others = f" (and {len(more)} more)" if more else ""
    return f"refused[{variant.problems[0].code}]: {reason}{others}"


def _notes(
    variants: Sequence[Variant], alike: Sequence[Column], shown: Sequence[Column]
) -> Iterator[str]:
    """Yield the lines of what is not in the cells."""
    notes = []
    if alike:
        same = (column.sentence.format(column.known[0]) for column in alike)
        notes.append(f"The same for all: {', '.join(same)}.")
    if any(variant.sound for variant in variants):
        marked = any(any(_marks(column)) for column in shown)
        legend = f" {MARK} differs from the first." if marked else ""
        notes.append(f"Memory is for training.{legend}")
    for variant in variants:
        if variant.sound and variant.sound.is_spec and variant.swept:
            said = ", ".join(f"{path}={text}" for path, text in variant.swept.items())
            notes.append(f"{variant.spec} itself has {said}.")
    for note in [*notes, *_warnings(variants)]:
        yield from textwrap.wrap(printable(note), WIDTH, break_on_hyphens=False)


def _warnings(variants: Sequence[Variant]) -> Iterator[str]:
    """Yield a line for each kind of warning: the variants that have it."""
    several = len({variant.spec for variant in variants}) > 1
    warned: dict[str, list[str]] = {}
    for variant in variants:
        said = [f"{path}={text}" for path, text in variant.swept.items()]
        name = ", ".join([variant.spec, *said] if several or not said else said)
        found = variant.sound.program.warnings if variant.sound else ()
        for kind in dict.fromkeys(warning.code for warning in found):
            warned.setdefault(kind, []).append(_short(name))
    for kind, names in warned.items():
        more = len(names) - MOST_NAMED
        others = [f"{more} more"] if more > 0 else []
        yield f"warning[{kind}]: {'; '.join([*names[:MOST_NAMED], *others])}"


def markdown(variants: Sequence[Variant]) -> str:
    """Return a table in GitHub's Markdown, without a newline at the end."""
    named, known = labels(variants), figures(variants)
    heads = [code(".".join(filter(None, column.head))) for column in named]
    heads += [" ".join(filter(None, column.head)) for column in known]
    rows = [heads, ["---"] * len(named) + ["---:"] * len(known)]
    for index, variant in enumerate(variants):
        row = [code(column.cells[index] or "") for column in named]
        if variant.sound:
            row += [_bold(column, index) for column in known]
        else:
            row += [code(_reason(variant)), *[""] * (len(known) - 1)]
        rows.append(row)
    lines = [f"| {' | '.join(row)} |" for row in rows]
    note = "Memory is for training. Differences from the first are bold."
    warned = [f"- {code(printable(line))}" for line in _warnings(variants)]
    return "\n".join([*lines, "", note, *([""] if warned else []), *warned])


def _bold(column: Column, index: int) -> str:
    cell = column.cells[index] or ""
    return f"**{cell}**" if column.differs(index) else cell
