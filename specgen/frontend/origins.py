"""What is wrong is placed where it was last written.

`$width` is never wrong by itself: the value of `width` is. In one file, an error in a
plain `$name` goes to the value that the name has. An error in a base goes to the option
or the overlay that gave one of the values in it, or that is the only change. A note
tells the place where the error appears.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, replace
from functools import cached_property

from specgen.diagnostics import Diagnostic, Path, Place, Span, short
from specgen.frontend.computing import WHOLE
from specgen.frontend.definitions import BLOCKS, PARAMS
from specgen.frontend.expressions import (
    Expression,
    ExpressionError,
    Name,
    is_expression,
    parse,
)
from specgen.frontend.layers import LAYERS, MOST_NAMED
from specgen.source import UNWRITTEN, Source

NETWORK = ("input", PARAMS, BLOCKS, LAYERS)
# What is wrong with several places together, so that a change elsewhere can cause it.
TOGETHER = {
    "bad-from",
    "cannot-split",
    "no-classes",
    "shape-mismatch",
    "softmax-inside",
    "unknown-layer",
}
Uses = tuple[tuple[str, Path], ...]


@dataclass(frozen=True, slots=True)
class Written:
    """A place in the source, and the uses of the blocks that it is in."""

    path: Path
    uses: Uses = ()


def traced(
    source: Source, places: Mapping[str, Place], problems: Iterable[Diagnostic]
) -> list[Diagnostic]:
    """Return problems with the paths of their origins.

    A value that is wrong in several places is wrong once, and what is computed from it
    is not another error.
    """
    origins = Origins(source, places)
    stay: list[Diagnostic] = []
    values: dict[Path | None, Diagnostic] = {}
    caused: list[tuple[tuple[object, ...], Diagnostic]] = []
    for problem in problems:
        origin = origins.trace(problem)
        if origin.path == problem.path:
            stay.append(origin)
        elif problem.code in TOGETHER:
            caused.append((origins.place(problem), origin))
        else:
            values.setdefault(origin.path, origin)
    wrong = [*stay, *values.values()]
    return [
        *(each for each in wrong if values.keys().isdisjoint(origins.parts(each))),
        *(origin for _, origin in sorted(caused, key=lambda each: each[0])),
    ]


class Origins:
    """Looks for the origins of problems in a source."""

    def __init__(self, source: Source, places: Mapping[str, Place]) -> None:
        self._source, self._places = source, places
        self._ages = {str(file): age for age, file in enumerate(source.files)}
        self._later_than: dict[int, list[Path]] = {}

    def place(self, problem: Diagnostic) -> tuple[object, ...]:
        """Return where a problem appears, to sort by."""
        return problem.span or self._source.span(problem.path or (), problem.at_key)

    def parts(self, problem: Diagnostic) -> set[Path]:
        """Return the paths of what the value at a problem's place is computed from."""
        here = Written(problem.path or (), problem.uses)
        return {part.path for part in self._parts(here)}

    def trace(self, problem: Diagnostic) -> Diagnostic:
        """Return a problem with the path of its origin, if that is another one."""
        if problem.path is None or problem.span:
            return problem
        here = latest = Written(problem.path, problem.uses)
        if not problem.at_key and problem.code != "unknown-param":
            origin = self._origin(here)
            latest = max((origin, *self._parts(origin)), key=self._rank)
        rank = self._rank(latest)
        later = [path for path in problem.causes if self._rank(Written(path)) > rank]
        if problem.code in TOGETHER and problem.path[0] in NETWORK:
            changed = self._later(rank)
            if problem.code == "cannot-split":  # no other layer has a part in it
                changed = [path for path in changed if path[:2] == problem.path[:2]]
                later = changed or later
            later = later or changed
        if len(later) == 1:
            return self._caused(problem, later[0])
        if latest != here:
            problem = self._computed(problem, latest)
        return self._with_changes(problem, later) if later else problem

    def _computed(self, problem: Diagnostic, origin: Written) -> Diagnostic:
        """Place an error in the value that an expression got."""
        assert problem.path
        keys = [key for key in problem.path if isinstance(key, str)]
        written, at = self._source.value(problem.path), self._source.span(problem.path)
        note = f"{keys[-1]} is {short(str(written))} at {at.file}:{at.line}"
        notes, help = (*problem.notes, note), problem.help
        value = self._source.value(origin.path)
        if help == WHOLE and not is_expression(value):
            whole = isinstance(value, float) and value.is_integer()
            help = f"write {int(value)}" if whole else None
        return replace(
            problem, path=origin.path, uses=origin.uses, notes=notes, help=help
        )

    def _caused(self, problem: Diagnostic, cause: Path) -> Diagnostic:
        """Place an error in what was changed elsewhere, and thereby caused it."""
        assert problem.path is not None
        at = self._source.span(problem.path, problem.at_key)
        what = _layer(problem.path, problem.uses) if problem.path else ""
        note = [f"{what} is at {at.file}:{at.line}"] if what else []
        help = problem.help
        if what and help:
            help = f"in {what}: {help}"
        return replace(
            problem,
            path=cause,
            at_key=isinstance(self._source.value(cause), dict),
            uses=(),
            notes=(*problem.notes, *note),
            help=help,
            span=self._source.removed.get(cause),
        )

    def _with_changes(self, problem: Diagnostic, later: Iterable[Path]) -> Diagnostic:
        """Tell what is changed in the network of a base in which an error appears."""
        places: dict[str, None] = {}
        for path in later:
            at = self._changes.get(path) or self._source.span(path)
            in_file = at.file in self._ages
            places[f"{at.file}:{at.line}" if in_file else at.file] = None
            if len(places) > MOST_NAMED:
                break
        named = [short(place) for place in places]
        if len(named) > MOST_NAMED:
            named[MOST_NAMED:] = ["others"]
        note = f"the network is changed by {', '.join(named)}"
        return replace(problem, notes=(*problem.notes, note))

    # --- what expressions are made of

    def _origin(self, here: Written) -> Written:
        """Follow names: the value of `$name` is written where `name` is."""
        seen = set()
        while (expression := self._expression(here)) and here not in seen:
            seen.add(here)
            name = expression.term.name if isinstance(expression.term, Name) else None
            found = self._named(name, here) if name else None
            if found is None:
                break
            here = found
        return here

    def _parts(self, here: Written) -> Iterator[Written]:
        """Yield the places of all values that an expression is computed from."""
        seen, waiting = {here}, [here]
        while waiting:
            here = waiting.pop()
            expression = self._expression(here)
            for name in sorted(expression.names) if expression else ():
                found = self._named(name, here)
                if found and found not in seen:
                    seen.add(found)
                    waiting.append(found)
                    yield found

    def _expression(self, here: Written) -> Expression | None:
        value = self._source.value(here.path)
        try:
            return parse(value) if is_expression(value) else None
        except ExpressionError:
            return None

    def _named(self, name: str, here: Written) -> Written | None:
        """Return where the value of a param is written, as seen from a place."""
        if here.uses:
            use = self._places.get(here.uses[0][0])
            if use and name in use.given:
                return Written(use.given[name], use.uses)
            default = (*here.path[:2], PARAMS, name)
            if here.path[0] == BLOCKS and self._source.value(default) is not UNWRITTEN:
                return Written(default, here.uses)
        path = (PARAMS, name)
        return None if self._source.value(path) is UNWRITTEN else Written(path)

    # --- what is written later: in an overlay, or an option

    def _rank(self, here: Written) -> int:
        span = self._source.removed.get(here.path)
        return self._age(span or self._source.span(here.path))

    def _age(self, span: Span) -> int:
        """Return the number of the file, bases first; options come last."""
        return self._ages.get(span.file, len(self._ages))

    def _later(self, rank: int) -> list[Path]:
        """Return what is changed in the network by later files than this one."""
        if rank not in self._later_than:
            changes = self._changes.items()
            found = [path for path, span in changes if self._age(span) > rank]
            self._later_than[rank] = found
        return self._later_than[rank]

    @cached_property
    def _changes(self) -> dict[Path, Span]:
        """What is not as in the first base: the whole of what is new or replaced."""
        values = self._source.values
        found = dict(self._source.removed)
        for path, span in values.items():
            above = self._source.span(path[:-1])
            if path and path[0] in NETWORK and self._age(span) > self._age(above):
                inside = self._inside(path)
                found[inside] = values[inside]
        return found

    def _inside(self, path: Path) -> Path:
        """Return the path of the one thing that a value has inside, if it is one."""
        value = self._source.value(path)
        while isinstance(value, dict) and len(value) == 1:
            ((key, value),) = value.items()
            path = (*path, key)
        return path


def _layer(path: Path, uses: Uses) -> str:
    """Return the path of the layer that a place is in, or else of the place."""
    if path[0] not in (LAYERS, BLOCKS):
        return ".".join(map(str, path))
    start = 1 if path[0] == LAYERS else 3
    names = [str(path[start])] if len(path) > start else []
    for key, name in zip(path[start + 1 :: 2], path[start + 2 :: 2], strict=False):
        if key != LAYERS:
            break
        names.append(str(name))
    inside = [uses[0][0]] if uses else []
    return ".".join([*inside, *names])
