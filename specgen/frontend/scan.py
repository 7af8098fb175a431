"""Finds expressions in values of a spec, and what is wrong with them as written."""

from __future__ import annotations

import re
from collections.abc import Iterator
from contextlib import suppress
from itertools import takewhile
from typing import Any

from specgen.diagnostics import Diagnostic, Path, Problems, short
from specgen.frontend.definitions import PARAMS
from specgen.frontend.expressions import (
    Expression,
    ExpressionError,
    is_expression,
    parse,
    parts,
)
from specgen.frontend.known import Known
from specgen.spec.entries import FROM, GROUP

NO_COLON = re.compile(r"(\w+) *\{ *(\w+)")  # name {key
NAMES = re.compile(r"[^\s,;+&]+")  # in a text that lists them


def scan(
    value: Any, path: Path, known: Known, problems: Problems, *, inside: bool = False
) -> bool:
    """Report expressions that cannot be read, or name what is not known.

    Returns whether there are none. With `inside`, they may be parts of a text.
    """
    if isinstance(value, dict | list):
        sound = True
        for key, item in items(value):
            sound &= scan(item, (*path, key), known, problems)
        return sound
    if not isinstance(value, str) or "$" not in value:
        return True
    if not (inside or is_expression(value)):
        return True
    try:
        found = parts(value) if inside else (parse(value),)
    except ExpressionError as error:
        problems.add(Diagnostic("bad-expression", str(error), path, help=error.help))
        return False
    names = {n for e in found if isinstance(e, Expression) for n in e.names}
    unknown = [name for name in sorted(names) if not known.use(name)]
    for name in unknown:
        message, help = known.unknown(name)
        help = help or problems.nearest(name, known.all())
        cause = ((PARAMS, name),)
        problems.add(
            Diagnostic("unknown-param", message, path, help=help, causes=cause)
        )
    return not unknown


def mark(value: Any, known: Known) -> None:
    """Note the names that expressions use; what is wrong with them is found later."""
    if not has_expressions(value):
        return
    if isinstance(value, dict | list):
        for _, item in items(value):
            mark(item, known)
    else:
        with suppress(ExpressionError):
            for name in parse(value).names:
                known.use(name)


def cut(raw: Any, path: Path, problems: Problems) -> bool:
    """Report brackets that YAML cut at a comma: `{p: $(max(1, 2))}`, `{p: (2, 2)}`.

    Returns whether there is one.
    """
    if "(" not in str(raw):
        return False
    is_list = isinstance(raw, list)
    pairs = list(items(raw))
    found = False
    for place, (key, value) in enumerate(pairs):
        if isinstance(value, dict | list):
            found |= key != GROUP and cut(value, (*path, key), problems)
        elif isinstance(value, str) and _open(value):
            text = value
            for other, rest in pairs[place + 1 :]:
                if not _open(text) or not (is_list or rest is None):
                    break
                text += f", {rest if is_list else other}"
            if _open(text):
                continue  # its syntax is wrong
            found = True
            here = (*path, key)
            problems.add(_cut(text, here, None if is_list else str(key)))
    return found


def _cut(text: str, here: Path, key: str | None) -> Diagnostic:
    name = f"{key}: " if key else ""
    if text.startswith("("):
        message, inside = "YAML cuts these values at their comma", text[1:-1]
        help = f"write a list in brackets: {name}[{short(inside)}]"
        return Diagnostic("wrong-type", message, here, help=help)
    message = "YAML cuts this expression at its comma"
    help = f'quote it: {name}"{short(text)}"'
    return Diagnostic("bad-expression", message, here, help=help)


def meant(raw: dict[str, Any], path: Path, problems: Problems) -> dict[str, Any]:
    """Return entries as they were meant, each of which is a mapping.

    What follows an entry without content is its fields, which are not indented. A name
    without a colon is reported: `relu1 {op: relu}`.
    """
    found: dict[str, Any] = {}
    above: Any = ()
    for key, value in raw.items():
        if above is None and not isinstance(value, dict | None):
            continue
        above = value
        if (lost := NO_COLON.fullmatch(key)) and isinstance(value, str):
            name, field = lost.groups()
            help = f"write {name}: {{{field}: {short(value)}"
            message, here = "there is no colon after this name", (*path, key)
            problems.add(Diagnostic("bad-name", message, here, True, help=help))
            key, value = name, {field: value.rstrip("} ")}
        found[key] = value
    return found


def bracketed(raw: dict[str, Any], path: Path, problems: Problems) -> dict[str, Any]:
    """Report names in `from` without brackets; return a layer with them as a list.

    In `{op: add, from: a, b}`, b is a key without a value.
    """
    source = raw.get(FROM)
    if not isinstance(source, str):
        return raw
    keys = list(raw)
    after = keys[keys.index(FROM) + 1 :]
    cut_off = list(takewhile(lambda key: raw[key] is None, after))
    names = [*NAMES.findall(source), *cut_off]
    if len(names) < 2:
        return raw
    help = f"write from: [{short(', '.join(names))}]"
    message = "several inputs are a list, in brackets"
    problems.add(Diagnostic("bad-from", message, (*path, FROM), help=help))
    return {k: v for k, v in raw.items() if k not in cut_off} | {FROM: names}


def has_expressions(value: Any) -> bool:
    """Tell whether there are expressions in a value."""
    if "$" not in str(value):  # most layers; 10 times faster than to look at each
        return False
    inside = items(value) if isinstance(value, dict | list) else ()
    return is_expression(value) or any(has_expressions(item) for _, item in inside)


def items(value: dict[str, Any] | list[Any]) -> Iterator[tuple[str | int, Any]]:
    """Yield the keys, or indices, and values."""
    yield from value.items() if isinstance(value, dict) else enumerate(value)


def _open(text: str) -> bool:
    """Tell whether brackets of an expression are not closed."""
    return text.startswith(("$(", "(")) and text.count("(") > text.count(")")
