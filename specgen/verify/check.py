"""One comparison of a measurement with the plan, and how comparisons are shown."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass
from operator import eq
from typing import Any

from specgen.diagnostics import printable
from specgen.tables import Row, aligned, dimensions

LONGEST = 300  # characters of a reason
MOST = 8  # lines of details of one check


@dataclass(frozen=True, slots=True)
class Check:
    """One comparison, ready for JSON; if measuring failed, `measured` is the reason.

    Mappings compare in order. `expected` of differences is their bound.
    """

    name: str
    expected: Any
    measured: Any
    ok: bool


def compare(
    name: str,
    expected: Any,
    measure: Callable[[], Any],
    agree: Callable[[Any, Any], bool] = eq,
) -> Check:
    """Measure and compare; whatever the generated code raises is a finding."""
    try:
        measured = measure()
    except Exception as error:
        reason = " ".join(f"{type(error).__name__}: {error}".split())
        return Check(name, expected, reason[:LONGEST], ok=False)
    return Check(name, expected, measured, agree(expected, measured))


def in_order(expected: Mapping[str, Any], measured: Mapping[str, Any]) -> bool:
    """Whether two mappings are equal, including their order."""
    return list(expected.items()) == list(measured.items())


def within(bound: float, differences: Mapping[str, float | str]) -> bool:
    """Whether every difference is a number that is small enough."""
    return not any(_large(bound, d) for d in differences.values())


def _large(bound: float, difference: float | str) -> bool:
    return isinstance(difference, str) or not difference <= bound


def as_data(checks: Sequence[Check]) -> dict[str, Any]:
    """Return `{"ok", "checks": [{"name", "expected", "measured", "ok"}]}` for JSON."""
    return {
        "ok": all(check.ok for check in checks),
        "checks": [asdict(check) for check in checks],
    }


def table(checks: Sequence[Check], layers: Sequence[str] = ()) -> str:
    """Return a line per check, then what is not as planned; equal details show once.

    The verdict includes the first layer that differs.
    """
    rows: list[Row] = [("", "check", "planned", "measured"), None]
    news: dict[str, list[str]] = {}
    for check in checks:
        status = "ok" if check.ok else "FAILED"
        rows.append((status, check.name, *_figures(check)))
        if not check.ok and (lines := _details(check)):
            news.setdefault("\n".join(lines), []).append(check.name)
    details = [
        names[0] + (f" and {len(names) - 1} more" if names[1:] else "") + f":\n{text}"
        for text, names in news.items()
    ]
    failed = sum(not check.ok for check in checks)
    verdict = f"{failed} of {len(checks)}" if failed else f"all {len(checks)}"
    verdict += f" checks {'failed' if failed else 'passed'}"
    if first := first_difference(checks, layers):
        verdict += f"; the first layer that differs is {printable(first)}"
    return "\n\n".join([aligned(rows, "<<>>"), *details, verdict])


def first_difference(checks: Sequence[Check], layers: Sequence[str]) -> str | None:
    """Return the first layer, in their order, that is not as planned.

    A wrong gradient spreads to the layers before it, so gradients do not count.
    """
    differ = {
        re.split(r"[.:]", name)[0]
        for check in checks
        if not check.ok and not check.name.startswith(("gradients", "traffic backward"))
        for name in _differing(check)
    }
    return next((layer for layer in layers if layer in differ), None)


def _differing(check: Check) -> list[str]:
    """Return the names of the values in a check that are not as planned."""
    expected, measured = check.expected, check.measured
    if not isinstance(measured, Mapping):
        return []
    if isinstance(expected, float):
        return [name for name, d in measured.items() if _large(expected, d)]
    names = dict.fromkeys([*expected, *measured])
    return [name for name in names if measured.get(name) != expected.get(name)]


def _figures(check: Check) -> tuple[str, str]:
    """What was planned and what was measured, briefly."""
    expected, measured = check.expected, check.measured
    if isinstance(expected, float):
        planned = f"at most {expected:g}"
    elif isinstance(expected, Mapping):
        planned = f"{len(expected)} figure" + "s" * (len(expected) != 1)
    else:
        planned = _shown(expected)
    if isinstance(measured, str):
        return planned, "an error"
    if not isinstance(measured, Mapping):
        return planned, _shown(measured)
    numbers = [n for n in measured.values() if isinstance(n, float)]
    if isinstance(expected, float) and len(numbers) == len(measured):
        return planned, _shown(max(numbers, default=0))
    return planned, "the same" if check.ok else "differs"


def _details(check: Check) -> list[str]:
    """One line for each value that differs, if the table has no room for it."""
    expected, measured = check.expected, check.measured
    if isinstance(measured, str):
        return [f"  {printable(measured)}"]
    if isinstance(expected, float):
        lines = [
            f"  {printable(name)}: {_shown(measured[name])}"
            for name in _differing(check)
        ]
    elif isinstance(expected, Mapping):
        lines = [
            f"  {printable(name)}: {_shown(measured.get(name))}"
            f" instead of {_shown(expected.get(name))}"
            for name in _differing(check)
        ] or [f"  in this order: {printable(', '.join(measured))}"]
    else:
        lines = []
    more = len(lines) - MOST
    return [*lines[:MOST], f"  and {more} more"] if more > 0 else lines


def _shown(figure: Any) -> str:
    match figure:
        case None:
            return "nothing"
        case int():
            return f"{figure:,}"
        case float():
            return f"{figure:.1e}" if figure else "0"
        case [[*_], *_]:
            return " and ".join(map(dimensions, figure))
        case list():
            return dimensions(figure)
    return printable(str(figure))
