"""Values with expressions become values without."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from functools import cache
from typing import Any

from specgen.diagnostics import Diagnostic, Path, Problems
from specgen.frontend.expressions import (
    Call,
    Expression,
    ExpressionError,
    Value,
    is_expression,
    parse,
    parts,
)
from specgen.frontend.validate import Form, said, validate
from specgen.ops.base import Shape
from specgen.schema import Count

AXES = ("channels", "height", "width")
DIGITS = 15  # that a float always has: 0.1 * 3 is 0.3, not 0.30000000000000004
WHOLE = "// divides whole numbers, and round(...) gives one"


# What the value of a param is called, by the type of its default.
KINDS: dict[type, str] = {
    bool: "true or false",
    int: "a whole number",
    float: "a number",
    str: "a word",
}


class Unknown(Exception):  # noqa: N818 - it stops one entry
    """A value cannot be computed: `problems`, or because something else is unknown."""

    def __init__(self, *problems: Diagnostic) -> None:
        super().__init__()
        self.problems = problems


@dataclass(frozen=True, slots=True)
class Names:
    """What names stand for: params, `index` and `count`, and what `in` is the shape of.

    `spend` is told how many steps are taken.
    """

    values: Mapping[str, Value]
    shape: Shape | None
    spend: Callable[[int], None]

    def __getitem__(self, name: str) -> Value:
        if not name.startswith("in."):
            if name not in self.values:
                raise Unknown
            return self.values[name]
        if self.shape is None:
            raise Unknown
        axis = AXES.index(name.removeprefix("in."))
        if axis >= len(self.shape):
            message = f"there is no {name}: in is {self.shape}"
            raise ExpressionError(message)
        return self.shape[axis]


def compute(value: Any, path: Path, names: Names) -> Any:
    """Return a value with every expression in it computed.

    Raises:
        Unknown: one has no value.
    """
    if isinstance(value, dict):
        return {key: compute(v, (*path, key), names) for key, v in value.items()}
    if isinstance(value, list):
        return [compute(v, (*path, index), names) for index, v in enumerate(value)]
    return _evaluate(parse(value), path, names) if is_expression(value) else value


def compute_text(text: str, path: Path, names: Names) -> str:
    """Return a text with every expression in it computed."""
    found = [
        str(_evaluate(part, path, names)) if isinstance(part, Expression) else part
        for part in parts(text)
    ]
    return "".join(found)


def _evaluate(expression: Expression, path: Path, names: Names) -> Value:
    names.spend(1 + expression.size // 2)
    try:
        found = expression.evaluate(names)
        computed = isinstance(expression.term, Call) and isinstance(found, float)
        return float(f"{found:.{DIGITS}g}") if computed else found
    except ExpressionError as error:
        problem = Diagnostic("bad-expression", str(error), path, help=error.help)
        raise Unknown(problem) from None


def compute_as(
    read: Callable[[Any, Path, Problems], Any],
    value: Any,
    path: Path,
    names: Names,
    problems: Problems,
) -> Any:
    """Return a value, computed and read as its type, or None if it is malformed.

    Raises:
        Unknown: an expression has no value.
    """
    computed = compute(value, path, names)

    def help(problem: Diagnostic) -> Diagnostic:
        written: Any = value
        got: Any = computed
        inside: tuple[Any, ...] = (problem.path or ())[len(path) :]
        for key in inside:
            if isinstance(written, dict | list):
                written, got = written[key], got[key]
        fraction = isinstance(got, float) and "a whole number" in problem.message
        computed_so = fraction and is_expression(written)
        return replace(problem, help=WHOLE) if computed_so else problem

    with problems.through(help) as found:
        return read(computed, path, found)


def compute_truth(value: Any, path: Path, names: Names) -> bool:
    """Return whether something is there.

    Raises:
        Unknown: it is neither true nor false.
    """
    known = compute(value, path, names)
    if isinstance(known, bool):
        return known
    message = f"expected true or false, got {said(known)}"
    raise Unknown(Diagnostic("wrong-type", message, path))


def compute_count(value: Any, path: Path, names: Names, problems: Problems) -> int:
    """Return how often an entry repeats.

    Raises:
        Unknown: that is wrong.
    """
    count: int | None = compute_as(_count, value, path, names, problems)
    if count is None:
        raise Unknown
    return count


def _count(value: Any, path: Path, problems: Problems) -> int | None:
    return validate(_count_form(), value, path, problems)


@cache
def _count_form() -> Form[int]:
    return Form(Count)


def typed(value: Any, path: Path, default: Any) -> Value:
    """Return the value of a param, of the type that its default has.

    Raises:
        Unknown: it has another type.
    """
    wanted = float if is_expression(default) else type(default)
    if default is None and isinstance(value, bool | int | float | str):
        return value
    if wanted is float and type(value) is int:
        return float(value) if type(default) is float else value
    if type(value) is wanted and wanted in KINDS:
        known: Value = value
        return known
    kind = KINDS.get(wanted, "a number, true, false or a word")
    message = f"expected {kind}, got {said(value)}"
    help = WHOLE if wanted is int and type(value) is float else None
    raise Unknown(Diagnostic("wrong-type", message, path, help=help))
