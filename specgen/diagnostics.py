"""Errors in a spec, their places, and how they are shown.

Text that comes from a spec is shown with its control characters escaped, so that
a spec cannot write to the reader's terminal.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from itertools import zip_longest
from typing import NamedTuple

from specgen.paint import BLUE, BOLD, CYAN, RED, YELLOW, Paint, plain

Path = tuple[str | int, ...]
"""A place in the spec's data: ``("layers", "conv2", "groups")``."""

LINE_WIDTH = 120  # characters of a source line that are shown; longer ones are cut
MAX_QUOTED = 60  # characters of the spec that a message repeats
MOST_ERRORS = 1000  # then checking stops
MOST_COMPARED = 100_000  # names compared to find a near one: a quarter of a second
TAB = "    "
LIMITS = "specgen explain limits"
LIMIT_HELP = f"this is a limit of specgen: see {LIMITS}"


class Span(NamedTuple):
    """A piece of one source line: ``line`` and ``column`` count from 1.

    ``column`` and ``length`` are in characters; ``text`` is the whole line.
    """

    file: str
    line: int
    column: int
    length: int
    text: str


@dataclass(frozen=True, slots=True)
class Diagnostic:
    """One error: a stable ``code`` and one lowercase sentence without a period.

    A ``warning`` is about what is valid but probably a mistake.

    ``path`` says where in the data; `Source.locate` turns it into ``span``: that of
    the value, or of its key with ``at_key``. ``uses`` are those of the blocks that it
    is in, the innermost first: the name there, and the path of the entry. ``causes``
    are the paths of values that, together with this one, make it wrong.
    """

    code: str
    message: str
    path: Path | None = None
    at_key: bool = False
    notes: tuple[str, ...] = ()
    help: str | None = None
    span: Span | None = None
    warning: bool = False
    uses: tuple[tuple[str, Path], ...] = ()
    causes: tuple[Path, ...] = ()

    @property
    def severity(self) -> str:
        """What it is, in one word."""
        return "warning" if self.warning else "error"

    def __str__(self) -> str:
        """Return the place and the sentence, as in a traceback."""
        at = self.span
        place = f"{at.file}:{at.line}:{at.column}: " if at else ""
        return f"{place}{self.message}"


class SpecError(Exception):
    """A spec cannot be compiled; has all its errors."""

    def __init__(self, diagnostics: Iterable[Diagnostic]) -> None:
        self.diagnostics = tuple(diagnostics)
        super().__init__("\n".join(map(str, self.diagnostics)))


class TooManyProblems(Exception):  # noqa: N818 - it stops a search, nothing went wrong
    """There are MOST_ERRORS already, or the network is too large to look further."""


@dataclass(frozen=True, slots=True)
class Place:
    """Where a layer, or what contains layers, is written, and the uses of its blocks.

    ``changed`` has the places of what is written elsewhere for this one alone,
    ``given`` those of the values that a use of a block gives to its params.
    """

    path: Path
    uses: tuple[tuple[str, Path], ...] = ()
    changed: Mapping[Path, Path] = field(default_factory=dict)
    given: Mapping[str, Path] = field(default_factory=dict)

    def of(self, inner: Path) -> Path:
        """Return the place of something in the layer."""
        for end in range(len(inner), 0, -1):
            if inner[:end] in self.changed:
                return (*self.changed[inner[:end]], *inner[end:])
        return (*self.path, *inner)


class Problems:
    """All errors of one compilation: each step adds what it finds and continues.

    A path ``("layers", NAME, ...)`` becomes the place where that layer is written, if
    ``places`` has it. What is written once is reported once, for the first layer.
    """

    def __init__(self, places: Mapping[str, Place] | None = None) -> None:
        self.places = dict(places or {})
        self._found: list[Diagnostic] = []
        self._compared = 0
        self._first: dict[tuple[str, Path], str] = {}  # the layer that has an error

    def add(self, *found: Diagnostic) -> None:
        """Add diagnostics, by path or with their span.

        Raises:
            TooManyProblems: there are enough now.
        """
        self._found += filter(None, map(self._placed, found))
        if len(self._found) >= MOST_ERRORS:
            del self._found[MOST_ERRORS - 1 :]
            message = f"there are more errors than the first {MOST_ERRORS - 1}"
            self._found.append(Diagnostic("too-many-errors", message))
            raise TooManyProblems

    @contextmanager
    def through(self, change: Callable[[Diagnostic], Diagnostic]) -> Iterator[Problems]:
        """Give a place for errors that are changed before they are added.

        Raises:
            TooManyProblems: there are enough now.
        """
        found = Problems()
        try:
            yield found
        finally:  # also those before there are too many
            self.add(*map(change, found))

    def place(self, path: Path) -> Path:
        """Return where something of a layer is written."""
        of_layer = path[:1] == ("layers",) and len(path) > 1
        place = self.places.get(str(path[1])) if of_layer else None
        return place.of(path[2:]) if place else path

    def _placed(self, problem: Diagnostic) -> Diagnostic | None:
        """Return an error in its place, or None if another layer has it there."""
        if problem.causes:
            causes = tuple(map(self.place, problem.causes))
            problem = replace(problem, causes=causes)
        path = problem.path or ()
        if path[:1] == ("layers",) and len(path) > 1:
            name = str(path[1])
            if place := self.places.get(name):
                here = self.place(path)
                problem = replace(problem, path=here, uses=place.uses)
        elif problem.uses:
            name = problem.uses[0][0]
        else:
            return problem
        assert problem.path
        key = problem.code, problem.path
        return problem if self._first.setdefault(key, name) == name else None

    def nearest(self, word: str, valid: Collection[str]) -> str | None:
        """Return the help that gives the nearest valid name, if there is one.

        After MOST_COMPARED names there is no more help, because searching takes time.
        """
        self._compared += len(valid)
        if self._compared > MOST_COMPARED:
            return None
        return nearest_help(word, valid)

    def __iter__(self) -> Iterator[Diagnostic]:
        return iter(self._found)

    def __len__(self) -> int:
        return len(self._found)


def in_order(diagnostics: Iterable[Diagnostic]) -> tuple[Diagnostic, ...]:
    """Sort by file, line and column; problems without a place come last."""

    def place(diagnostic: Diagnostic) -> tuple[bool, str, int, int]:
        span = diagnostic.span
        return (False, span.file, span.line, span.column) if span else (True, "", 0, 0)

    return tuple(sorted(diagnostics, key=place))


def counted(found: Collection[Diagnostic]) -> str:
    """Return "2 errors and 1 warning"."""
    warnings = sum(each.warning for each in found)
    counts = {"error": len(found) - warnings, "warning": warnings}
    texts = [f"{n} {what}{'s' if n > 1 else ''}" for what, n in counts.items() if n]
    return " and ".join(texts)


def render_text(
    diagnostics: Iterable[Diagnostic], paint: Paint = plain, width: int = LINE_WIDTH
) -> str:
    """Show each error with its source line and a caret under the exact span.

    If a line is longer than `width`, only the part around the span is shown. What many
    without a place have in common, such as files that are out of date, is said once.
    """
    found, text = list(diagnostics), ""
    for this, following in zip_longest(found, found[1:]):
        alike = following and not this.span
        if alike and replace(following, message=this.message) == this:
            this = replace(this, notes=(), help=None)
            text += f"{_text_block(this, paint, width)}\n"
        else:
            text += f"{_text_block(this, paint, width)}\n\n"
    return text.rstrip("\n")


def render_json(diagnostics: Iterable[Diagnostic]) -> str:
    """Return a JSON array with one object per error, for editors and bots."""
    import json

    records = []
    for diagnostic in diagnostics:
        span = diagnostic.span
        records.append(
            {
                "code": diagnostic.code,
                "severity": diagnostic.severity,
                "message": diagnostic.message,
                "file": span.file if span else None,
                "line": span.line if span else None,
                "column": span.column if span else None,
                "length": span.length if span else None,
                "path": diagnostic.path,
                "notes": diagnostic.notes,
                "help": diagnostic.help,
            }
        )
    return json.dumps(records, indent=2)


def render_github(diagnostics: Iterable[Diagnostic]) -> str:
    """Return one GitHub Actions command per line: ``::error``, ``::warning``."""
    lines = []
    for diagnostic in diagnostics:
        span = diagnostic.span
        properties = [f"title={_github(diagnostic.code, in_property=True)}"]
        if span:
            end = span.column + max(span.length, 1)
            file = _github(span.file, in_property=True)
            properties = [
                f"file={file}",
                f"line={span.line}",
                f"col={span.column}",
                f"endColumn={end}",
                *properties,
            ]
        texts = [diagnostic.message, *(text for _, text in _remarks(diagnostic))]
        message = "%0A".join(_github(text) for text in texts)
        lines.append(f"::{diagnostic.severity} {','.join(properties)}::{message}")
    return "\n".join(lines)


def nearest(word: str, valid: Iterable[str]) -> str | None:
    """Return the valid name that ``word`` most likely misspells, if any."""
    from difflib import get_close_matches  # 2 ms, needed only after an error

    word = _spelling(word[:100])
    names = {_spelling(name[:100]): name for name in valid}  # ReLU means relu
    for match in get_close_matches(word, names, n=3, cutoff=0.6):
        begins = match.startswith(word) or word.startswith(match)
        if begins or _edits(word, match) <= max(1, len(word) // 3):
            return names[match]
    return None


def _spelling(name: str) -> str:
    return name.casefold().replace("_", "").replace("-", "")


def _edits(one: str, other: str) -> int:
    """Return how many letters differ, are missing, extra, or swapped with the next.

    This is the restricted Damerau-Levenshtein distance.
    """
    before: list[int] = []
    row = list(range(len(other) + 1))
    for i, letter in enumerate(one, 1):
        before, last, row = row, before, [i]
        for j, its in enumerate(other, 1):
            cost = min(before[j] + 1, row[-1] + 1, before[j - 1] + (letter != its))
            if last and j > 1 and letter == other[j - 2] and one[i - 2] == its:
                cost = min(cost, last[j - 2] + 1)
            row.append(cost)
    return row[-1]


def nearest_help(word: str, valid: Iterable[str]) -> str | None:
    """Return the help that gives the nearest valid name, if there is one."""
    found = nearest(word, valid)
    return f"the nearest name is {short(found)}" if found else None


def printable(text: str) -> str:
    """Escape everything that is not printable: control and format characters."""
    if text.isprintable():
        return text
    return "".join(c if c.isprintable() else _escape(c) for c in text)


def short(text: str) -> str:
    """Shorten text of a spec that is quoted in a message."""
    return text if len(text) <= MAX_QUOTED else text[: MAX_QUOTED - 3] + "..."


def _text_block(diagnostic: Diagnostic, paint: Paint, width: int) -> str:
    shade = f"{BOLD};{YELLOW if diagnostic.warning else RED}"
    label = paint(f"{diagnostic.severity}[{diagnostic.code}]", shade)
    lines = [f"{label}: {paint(printable(diagnostic.message), BOLD)}"]
    span = diagnostic.span
    margin = " " * (len(str(span.line)) if span else 1)
    arrow, bar = paint("-->", BLUE), paint("|", BLUE)
    if span:
        excerpt, caret = _excerpt(span, width)
        lines += [
            f"{margin}{arrow} {printable(span.file)}:{span.line}:{span.column}",
            f"{margin} {bar}",
            f"{paint(str(span.line), BLUE)} {bar} {excerpt}".rstrip(),
            f"{margin} {bar} {paint(caret, shade)}",
        ]
    for kind, text in _remarks(diagnostic):
        name = paint(kind, CYAN)
        lines.append(f"{margin} {paint('=', BLUE)} {name}: {printable(text)}")
    return "\n".join(lines)


def _remarks(diagnostic: Diagnostic) -> list[tuple[str, str]]:
    notes = [("note", note) for note in diagnostic.notes]
    return [*notes, ("help", diagnostic.help)] if diagnostic.help else notes


def _excerpt(span: Span, width: int) -> tuple[str, str]:
    """Return the source line, cut around the span if long, and its caret line."""
    text, start = span.text, span.column - 1
    low, high = 0, len(text)
    if high > width:
        low = max(0, min(start - width // 3, high - width))
        high = low + width
    cut_left = "..." if low else ""
    cut_right = "..." if high < len(text) else ""
    before = cut_left + _shown(text[low:start])
    marked = _shown(text[start : min(start + span.length, high)])
    excerpt = cut_left + _shown(text[low:high]) + cut_right
    return excerpt, " " * _columns(before) + "^" * max(1, _columns(marked))


def _shown(text: str) -> str:
    return printable(text.replace("\t", TAB))


def _columns(text: str) -> int:
    """Return how many terminal columns a printable text takes."""
    if text.isascii():
        return len(text)
    from unicodedata import category, east_asian_width

    return sum(
        0 if category(c) in ("Mn", "Me") else 2 if east_asian_width(c) in "WF" else 1
        for c in text
    )


def _escape(character: str) -> str:
    code = ord(character)
    if 0xDC80 <= code <= 0xDCFF:  # a byte that is not UTF-8 (PEP 383)
        code -= 0xDC00
    return f"\\x{code:02x}" if code < 0x100 else f"\\u{code:04x}"


def _github(text: str, *, in_property: bool = False) -> str:
    text = printable(text).replace("%", "%25")
    return text.replace(":", "%3A").replace(",", "%2C") if in_property else text
