"""One comparison of what ran with what was planned, and how comparisons are shown."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass
from math import inf
from operator import eq
from typing import Any

from specgen.backends.report import Row, aligned, dimensions
from specgen.diagnostics import printable

LONGEST = 300  # characters of a reason
MOST = 8  # lines of details of one check


@dataclass(frozen=True, slots=True)
class Check:
    """One comparison, ready for JSON; what could not be measured is the reason why.

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
        reason = f"{type(error).__name__}: {error}"[:LONGEST]
        return Check(name, expected, reason, ok=False)
    return Check(name, expected, measured, agree(expected, measured))


def in_order(expected: Mapping[str, Any], measured: Mapping[str, Any]) -> bool:
    """Whether two mappings are equal, their order too."""
    return list(expected.items()) == list(measured.items())


def within(bound: float, differences: Mapping[str, float | str]) -> bool:
    """Whether there are differences at all, each a number and none too large."""
    return bool(differences) and not any(_large(bound, d) for d in differences.values())


def _large(bound: float, difference: float | str) -> bool:
    return isinstance(difference, str) or not difference <= bound


def as_json(checks: Sequence[Check]) -> str:
    """Return `{"ok", "checks": [{"name", "expected", "measured", "ok"}]}`."""
    content = {
        "ok": all(check.ok for check in checks),
        "checks": [asdict(check) for check in checks],
    }
    return json.dumps(content, indent=2, allow_nan=False)


def table(checks: Sequence[Check]) -> str:
    """Return a line a check, and one for each figure that is not as planned."""
    rows: list[Row] = [("", "check", "planned", "measured"), None]
    wrong = []
    for check in checks:
        status = "ok" if check.ok else "FAILED"
        rows.append((status, check.name, *_figures(check)))
        if not check.ok:
            wrong.append(f"{check.name}:\n" + "\n".join(_details(check)))
    count = f"{len(wrong)} of {len(checks)}" if wrong else f"all {len(checks)}"
    verdict = f"{count} checks {'failed' if wrong else 'passed'}"
    return "\n\n".join([aligned(rows, "<<>>"), *wrong, verdict])


def _figures(check: Check) -> tuple[str, str]:
    """What was planned and what was measured, in a word each."""
    expected, measured = check.expected, check.measured
    if isinstance(expected, float):
        planned = f"at most {expected:g}"
    elif isinstance(expected, Mapping):
        planned = f"{len(expected)} figures"
    else:
        planned = _shown(expected)
    if isinstance(measured, str):
        return planned, "an error"
    if not isinstance(measured, Mapping):
        return planned, _shown(measured)
    if isinstance(expected, float):
        numbers = [n for n in measured.values() if isinstance(n, float)]
        return planned, _shown(max(numbers, default=inf))
    return planned, f"{len(_differing(check))} differ" if not check.ok else "the same"


def _details(check: Check) -> list[str]:
    """One line for each figure that is not as planned."""
    if isinstance(check.measured, str):
        return [f"  {printable(check.measured)}"]
    lines = [
        f"  {printable(name)}: {_shown(wanted)} planned, {_shown(found)} measured"
        for name, wanted, found in _differing(check)
    ]
    more = len(lines) - MOST
    return [*lines[:MOST], f"  and {more} more"] if more > 0 else lines


def _differing(check: Check) -> list[tuple[str, Any, Any]]:
    """Name, planned and measured figure where these disagree."""
    expected, measured = check.expected, check.measured
    if isinstance(expected, float):
        bound = f"at most {expected:g}"
        return [(k, bound, d) for k, d in measured.items() if _large(expected, d)]
    if not isinstance(expected, Mapping):
        return [(check.name, expected, measured)]
    names = dict.fromkeys([*expected, *measured])
    pairs = [(name, expected.get(name), measured.get(name)) for name in names]
    differing = [pair for pair in pairs if pair[1] != pair[2]]
    return differing or [("order", ", ".join(expected), ", ".join(measured))]


def _shown(figure: Any) -> str:
    match figure:
        case None:
            return "nothing"
        case int():
            return f"{figure:,}"
        case float():
            return f"{figure:.1e}" if figure else "0"
        case list():
            return dimensions(figure)
    return printable(str(figure))
