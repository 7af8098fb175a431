"""A spec file as plain data, with the place of every key and value."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path as FilePath
from typing import Any

from specgen.diagnostics import LIMIT_HELP, Diagnostic, Path, Span, SpecError, in_order
from specgen.yaml12.reader import Reader
from specgen.yaml12.scalars import LINE_BREAK, bad_characters

MAX_BYTES = 2**20
UNWRITTEN = object()  # what is where nothing is written


@dataclass(frozen=True)
class Source:
    """What a spec says, and where it says it.

    ``keys`` and ``values`` have the span of every key and value by its path; a block
    mapping or sequence has the span of its key. ``comments`` has the full-line comments
    that stand directly above a key, in its column. ``files`` has the exact bytes of
    every file read, base first. ``problems`` are errors that do not keep the rest from
    being checked: the data has a stand-in at their path, and whoever checks the data
    reports them, too. ``options`` are the `--set` options that changed it. ``removed``
    has the places that say so.
    """

    data: dict[str, Any]
    keys: Mapping[Path, Span]
    values: Mapping[Path, Span]
    comments: Mapping[Path, tuple[str, ...]]
    files: Mapping[FilePath, bytes]
    problems: tuple[Diagnostic, ...] = ()
    options: tuple[str, ...] = ()
    removed: Mapping[Path, Span] = field(default_factory=dict)

    def locate(self, diagnostics: Iterable[Diagnostic]) -> tuple[Diagnostic, ...]:
        """Fill in the spans from the paths and sort by place.

        A path that is not in the file gets the place of its nearest ancestor.
        """
        return in_order(
            replace(
                d,
                span=self.span(d.path, d.at_key),
                notes=(*d.notes, *map(self._use, d.uses)),
                uses=(),
            )
            if d.span is None and d.path is not None
            else d
            for d in diagnostics
        )

    def _use(self, use: tuple[str, Path]) -> str:
        """Say where a block is used."""
        name, path = use
        span = self.span(path, at_key=True)
        return f"used as {name} at {span.file}:{span.line}"

    def value(self, path: Path) -> Any:
        """Return what is at a path of the data, or UNWRITTEN."""
        value: Any = self.data
        for key in path:
            if not _has(value, key):
                return UNWRITTEN
            value = value[key]
        return value

    def span(self, path: Path, at_key: bool = False) -> Span:
        """Return the place of a value or its key, or of its nearest ancestor."""
        if not at_key and path in self.values:
            return self.values[path]
        while path and path not in self.keys:
            if path in self.values:  # an item of a sequence has no key
                return self.values[path]
            path = path[:-1]
        return self.keys[path] if path else self.values[()]


def parse(text: bytes, file: str) -> Source:
    """Read one YAML document whose top is a mapping.

    Errors that do not stop the reading are in ``problems``.

    Raises:
        SpecError: the rest cannot be read: unusable characters (all of them), invalid
            syntax, a limit. Includes the problems found before that.
    """
    if len(text) > MAX_BYTES:
        start = Span(file, 1, 1, 1, "")
        message = f"the file is larger than {MAX_BYTES // 2**20} MiB"
        raise SpecError([Diagnostic("too-large", message, span=start, help=LIMIT_HELP)])
    # Bytes that are not UTF-8 become surrogates, which are refused with the rest.
    decoded = text.decode("utf-8", "surrogateescape").removeprefix("\ufeff")
    lines = LINE_BREAK.split(decoded)
    if bad := list(bad_characters(lines, file)):
        raise SpecError(bad)
    if conflicts := list(_conflicts(lines, file)):
        raise SpecError(conflicts)
    reader = Reader(decoded, lines, file)
    data = reader.document()
    if not isinstance(data, dict):
        message = "a spec is a mapping of keys to values"
        reader.fail("not-a-mapping", message, reader.values[()])
    return Source(
        data,
        reader.keys,
        reader.values,
        reader.comments,
        {FilePath(file): text},
        in_order(reader.problems),
    )


def _has(value: Any, key: str | int) -> bool:
    if isinstance(value, list):
        return isinstance(key, int) and key < len(value)
    return isinstance(value, dict) and key in value


def _conflicts(lines: Sequence[str], file: str) -> Iterator[Diagnostic]:
    """Yield an error for each conflict that a git merge left in a file."""
    for number, line in enumerate(lines, 1):
        if line.startswith("<<<<<<< "):
            message = f"line {number} begins a merge conflict"
            help = "keep one version, and delete the lines <<<<<<<, ======= and >>>>>>>"
            span = Span(file, number, 1, len(line), line)
            yield Diagnostic("yaml-syntax", message, span=span, help=help)
