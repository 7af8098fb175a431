"""Finds expressions in values of a spec, and what is wrong with them as written."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import suppress
from typing import Any

from specgen.diagnostics import Diagnostic, Path, Problems
from specgen.frontend.definitions import PARAMS
from specgen.frontend.expressions import (
    Expression,
    ExpressionError,
    is_expression,
    parse,
    parts,
)
from specgen.frontend.known import Known


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


def has_expressions(value: Any) -> bool:
    """Tell whether there are expressions in a value."""
    if "$" not in str(value):  # most layers; 10 times faster than to look at each
        return False
    inside = items(value) if isinstance(value, dict | list) else ()
    return is_expression(value) or any(has_expressions(item) for _, item in inside)


def items(value: dict[str, Any] | list[Any]) -> Iterator[tuple[str | int, Any]]:
    """Yield the keys, or indices, and values."""
    yield from value.items() if isinstance(value, dict) else enumerate(value)
