"""A sweep: one path of a spec, and the values that it takes in turn."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass, replace
from itertools import product
from math import prod
from typing import Any, NoReturn

from specgen.diagnostics import Diagnostic, Span, SpecError, short
from specgen.frontend.overlay import DOT, option
from specgen.source import Source
from specgen.yaml12.reader import Reader
from specgen.yaml12.scalars import LINE_BREAK, bad_characters

MOST = 1000  # variants at once; each takes a few hundredths of a second

EXAMPLE = "write PATH=V1,V2, such as layers.conv1.kernel_size=7,9,11"
WRITE_OUT = "write it out: a mapping in {braces}, no anchor (&) and no alias (*)"


@dataclass(frozen=True, slots=True)
class Value:
    """One value of a sweep: as it was written, and as data."""

    text: str
    data: Any


@dataclass(frozen=True, slots=True)
class Sweep:
    """Each value makes a variant, as the option `--set path=text` does."""

    path: str
    values: tuple[Value, ...]


def read_sweeps(texts: Sequence[str]) -> tuple[list[Sweep], list[Diagnostic]]:
    """Read sweeps, each PATH=V1,V2: a YAML flow sequence without its brackets.

    Return them, and everything that is wrong with the others.
    """
    sweeps: dict[str, Sweep] = {}
    problems: list[Diagnostic] = []
    for text in texts:
        try:
            sweep = _read(text)
            if sweep.path in sweeps:
                cure = "give all its values in one --sweep"
                _refuse("this path is swept twice", text, 0, len(sweep.path), cure)
            sweeps[sweep.path] = sweep
        except SpecError as error:
            problems += error.diagnostics
    return list(sweeps.values()), problems


def combinations(sweeps: Sequence[Sweep], specs: int) -> list[tuple[Value, ...]]:
    """Return every choice of one value from each sweep; the last changes fastest.

    Raises:
        SpecError: with so many specs, these are more than MOST variants.
    """
    sizes = [len(sweep.values) for sweep in sweeps]
    if (count := specs * prod(sizes)) > MOST:
        factors = [f"{specs} specs"] if specs > 1 else []
        factors += [f"{len(s.values)} of {short(s.path)}" for s in sweeps]
        message = f"{count:,} variants ({' x '.join(factors)}) are more than {MOST:,}"
        cure = "sweep one thing at a time, or fewer values of each"
        raise SpecError([Diagnostic("too-many-variants", message, help=cure)])
    return list(product(*(sweep.values for sweep in sweeps)))


def value_of(option: Source, path: str) -> Any:
    """Return the value that an option gives, which is read as an overlay."""
    found: Any = option.data
    for _ in DOT.split(path):
        (found,) = found.values()
    return found


def _read(text: str) -> Sweep:
    file = _file(text)
    if bad := list(bad_characters([text], file)):
        raise SpecError(bad)
    if match := LINE_BREAK.search(text):
        _refuse("a sweep is a single line", text, match.start(), 1)
    path, equals, values = text.partition("=")
    start = len(path) + 1
    if not equals:
        _refuse("there is no = in this sweep", text, 0, len(text), EXAMPLE)
    if not values.strip(" "):
        _refuse("there is no value after the =", text, start - 1, 1, EXAMPLE)
    _check_path(path, text)
    # The bracket takes the place of the =, so all columns are those of the text.
    reader = Reader(" " * len(path) + f"[{values}]", [text], file)
    data: list[Any] = reader.document()
    if reader.problems:
        raise SpecError(reader.problems)
    whole = reader.values[()]
    if whole.length != len(values) + 2:  # what follows is a comment
        _refuse("a bracket ends the values here", text, whole.column + whole.length - 2)
    found: dict[str, Value] = {}
    for index, value in enumerate(data):
        span = reader.values[index,]
        first, length = span.column - 1, span.length
        written = text[first : first + length]
        key = json.dumps(value, sort_keys=True)  # tells 1 from 1.0 and from true
        if not _says(path, written, key):
            message = "this value cannot be read by itself"
            _refuse(message, text, first, length, WRITE_OUT)
        if key in found:
            _refuse("this value is given twice", text, first, length)
        found[key] = Value(written, value)
    return Sweep(path, tuple(found.values()))


def _check_path(path: str, text: str) -> None:
    """Let the reader of options say what is wrong with a path."""
    try:
        option(f"{path}=0")
    except SpecError as error:
        raise SpecError(
            replace(
                found,
                code="bad-sweep",
                span=found.span and found.span._replace(file=_file(text), text=text),
            )
            for found in error.diagnostics
        ) from None


def _says(path: str, written: str, key: str) -> bool:
    """Tell whether `--set PATH=WRITTEN` gives the value, which is `key` as JSON."""
    try:
        source = option(f"{path}={written}")
    except SpecError:
        return False
    found = json.dumps(value_of(source, path), sort_keys=True)
    return not source.problems and found == key


def _file(text: str) -> str:
    return f"--sweep {text}"


def _refuse(
    message: str, text: str, start: int, length: int = 1, help: str | None = None
) -> NoReturn:
    span = Span(_file(text), 1, start + 1, max(length, 1), text)
    raise SpecError([Diagnostic("bad-sweep", message, help=help, span=span)])
