"""YAML text to plain data, with the place of every key and value.

Scalars are those of the YAML 1.2 core schema, which PyYAML (YAML 1.1) does not read:
its parser gives the events, the values are made here. Limits keep a hostile file from
taking more than a moment: on bytes, on depth, and on values after aliases expand.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, replace
from pathlib import Path as FilePath
from typing import Any, NoReturn

import yaml

from specgen.diagnostics import Diagnostic, Path, Span, SpecError, in_order, short
from specgen.yaml12 import LINE_BREAK, bad_characters, scalar

try:
    from yaml import CSafeLoader as Loader  # 5 times faster than the Python one
except ImportError:  # PyYAML was built without libyaml
    from yaml import SafeLoader as Loader  # type: ignore[assignment]

MAX_BYTES = 2**20
MAX_DEPTH = 50
MAX_VALUES = 100_000
MAX_ERRORS = 100  # then reading stops

# The anchor and tag before a value; bounded, as it may be tried at every character.
PROPERTIES = re.compile(r"(?:[&!]\S{,200}[ \t]+){1,2}")

TAG = "tag:yaml.org,2002:"
SCALAR_TAGS: dict[str, tuple[type, ...]] = {
    TAG + "null": (type(None),),
    TAG + "bool": (bool,),
    TAG + "int": (int,),
    TAG + "float": (float, int),
}


@dataclass(frozen=True)
class Source:
    """What a spec says, and where it says it.

    ``keys`` and ``values`` have the span of every key and value by its path; a block
    mapping or sequence has the span of its key. ``comments`` has the full-line comments
    that stand directly above a key, in its column. ``files`` has the exact bytes of
    every file read, base first.
    """

    data: dict[str, Any]
    keys: Mapping[Path, Span]
    values: Mapping[Path, Span]
    comments: Mapping[Path, tuple[str, ...]]
    files: Mapping[FilePath, bytes]

    def locate(self, diagnostics: Iterable[Diagnostic]) -> tuple[Diagnostic, ...]:
        """Fill in the spans from the paths and sort by place.

        A path that the file does not have gets the place of its nearest ancestor.
        """
        return in_order(
            replace(d, span=self._span(d.path, d.at_key))
            if d.span is None and d.path is not None
            else d
            for d in diagnostics
        )

    def _span(self, path: Path, at_key: bool) -> Span:
        if not at_key and path in self.values:
            return self.values[path]
        while path and path not in self.keys:
            if path in self.values:  # an item of a sequence has no key
                return self.values[path]
            path = path[:-1]
        return self.keys[path] if path else self.values[()]


def parse(text: bytes, file: str) -> Source:
    """Read one YAML document whose top is a mapping.

    Raises SpecError with everything found: all unusable characters, else all errors up
    to the first one of syntax, the hundredth or the limits.
    """
    if len(text) > MAX_BYTES:
        start = Span(file, 1, 1, 1, "")
        limit = f"{MAX_BYTES // 2**20} MiB"
        raise SpecError(
            [Diagnostic("too-large", f"the file is larger than {limit}", span=start)]
        )
    # Bytes that are not UTF-8 become surrogates, which are refused with the rest.
    decoded = text.decode("utf-8", "surrogateescape").removeprefix("\ufeff")
    lines = LINE_BREAK.split(decoded)
    if bad := list(bad_characters(lines, file)):
        raise SpecError(bad)
    reader = _Reader(decoded, lines, file)
    data = reader.document()
    if reader.errors:
        raise SpecError(in_order(reader.errors))
    return Source(
        data, reader.keys, reader.values, reader.comments, {FilePath(file): text}
    )


class _Reader:
    """Builds the data from the events of one document."""

    def __init__(self, text: str, lines: list[str], file: str) -> None:
        self.events: Iterator[Any] = yaml.parse(text, Loader)
        self.lines = lines
        self.file = file
        self.keys: dict[Path, Span] = {}
        self.values: dict[Path, Span] = {}
        self.comments: dict[Path, tuple[str, ...]] = {}
        self.errors: list[Diagnostic] = []
        # What an anchor names, as (path, value); None while its value is being read.
        self.anchors: dict[str, tuple[Path, Any] | None] = {}
        self.count = 0  # values, with aliases expanded
        self.scalar_end: Any = None  # where the last scalar value ends
        # The column of every line that may be a comment.
        self.comment_columns = {
            number: len(line) - len(text)
            for number, line in enumerate(lines)
            if (text := line.lstrip(" ")).startswith("#")
        }

    def document(self) -> dict[str, Any]:
        try:
            return self._document()
        except (yaml.YAMLError, ValueError, OverflowError) as error:
            self.syntax_error(error)

    def _document(self) -> dict[str, Any]:
        next(self.events)  # the start of the stream
        event = next(self.events)
        if isinstance(event, yaml.StreamEndEvent):
            self.fail("empty-file", "the file has no content", self.span(0, 0, 1))
        first = next(self.events)
        start = self.event_span(first)
        data = self.value(first, (), start)
        next(self.events)  # the end of the document
        event = next(self.events)
        if not isinstance(event, yaml.StreamEndEvent):
            self.error(
                "several-documents",
                "a spec is one document, but a second one starts here",
                self.event_span(event),
            )
        if isinstance(data, dict):
            return data
        if data is None and not self.errors:
            self.fail("empty-file", "the file has no content", start)
        place = self.values[()]
        self.fail("not-a-mapping", "a spec is a mapping of keys to values", place)

    def value(self, event: Any, path: Path, span: Span) -> Any:
        """Read one value whose first event is given; ``span`` is where it stands."""
        self.values[path] = span
        if isinstance(event, yaml.AliasEvent):
            return self.alias(event, path, span)
        self.count_value(path, span)
        if event.anchor is not None:
            self.anchors[event.anchor] = None
        data: Any
        if isinstance(event, yaml.ScalarEvent):
            data = self.scalar(event, span)
            self.scalar_end = event.end_mark
        elif isinstance(event, yaml.MappingStartEvent):
            self.check_tag(event, TAG + "map")
            data = self.mapping(event, path)
        else:
            self.check_tag(event, TAG + "seq")
            data = self.sequence(event, path)
        if event.anchor is not None:
            self.anchors[event.anchor] = path, data
        return data

    def mapping(self, start: Any, path: Path) -> dict[str, Any]:
        data: dict[str, Any] = {}
        while not isinstance(event := next(self.events), yaml.MappingEndEvent):
            key_span = self.event_span(event)
            key = self.key(event, path, key_span)
            here = (*path, key)
            if key in data:
                first = self.keys[here]
                self.error(
                    "duplicate-key",
                    f"{short(key)} is given twice",
                    key_span,
                    notes=(f"first given at line {first.line}",),
                )
            else:
                self.keys[here] = key_span
                if comments := self.comments_above(key_span):
                    self.comments[here] = comments
                if not (data or start.flow_style or path in self.keys):
                    self.values[path] = key_span  # the top, or an item of a sequence
            event = next(self.events)
            data[key] = self.value(event, here, self.event_span(event, key_span))
        self.end(start, event, path)
        return data

    def sequence(self, start: Any, path: Path) -> list[Any]:
        data: list[Any] = []
        while not isinstance(event := next(self.events), yaml.SequenceEndEvent):
            data.append(self.value(event, (*path, len(data)), self.event_span(event)))
        self.end(start, event, path)
        return data

    def end(self, start: Any, end: Any, path: Path) -> None:
        """Make the span of a flow collection on one line end where that ends."""
        line, column = start.start_mark.line, start.start_mark.column
        if start.flow_style and end.end_mark.line == line:
            self.values[path] = self.span(line, column, end.end_mark.column - column)

    def key(self, event: Any, path: Path, span: Span) -> str:
        """Read a key; one that is not a string is an error, and stands for itself."""
        if not isinstance(event, yaml.ScalarEvent):
            self.error("non-string-key", "a key must be a plain name", span)
            # Read past it, at a path that no string has.
            self.value(event, (*path, -1), span)
            return ""
        key = self.scalar(event, span)
        if event.anchor is not None:
            self.anchors[event.anchor] = path, key
        if key == "<<" and event.implicit[0]:
            self.error(
                "merge-key",
                "merge keys (<<) are not part of YAML 1.2",
                span,
                help="write the keys out, or base the spec on another with extends",
            )
        elif not isinstance(key, str):
            self.error(
                "non-string-key",
                f"a key must be a string, but {short(event.value) or 'nothing'} is not",
                span,
                help=f'write "{short(event.value)}"' if event.value else None,
            )
        return event.value

    def scalar(self, event: Any, span: Span) -> Any:
        plain, quoted = event.implicit
        tag = event.tag
        text: str = event.value
        if event.style == '"' and any("\ud800" <= c <= "\udfff" for c in text):
            # Half a character, as \ud800: only the Python loader lets it pass.
            self.error("bad-character", "an escape here is not a character", span)
        if quoted or tag in ("!", TAG + "str"):
            return text
        if not plain and tag not in SCALAR_TAGS:
            self.bad_tag(event)
            return text
        try:
            data = scalar(text)
        except ValueError as error:
            self.error("bad-number", str(error), span)
            return text
        if not plain and type(data) not in SCALAR_TAGS[tag]:
            self.bad_tag(event)
        return float(data) if tag == TAG + "float" and type(data) is int else data

    def alias(self, event: Any, path: Path, span: Span) -> Any:
        name = short(event.anchor)
        if event.anchor not in self.anchors:
            self.error("unknown-anchor", f"there is no anchor &{name} above", span)
            return None
        target = self.anchors[event.anchor]
        if target is None:
            self.error("recursive-anchor", f"*{name} stands inside &{name}", span)
            return None
        origin, data = target
        return self.copy(data, origin, path, span)

    def copy(self, data: Any, origin: Path, path: Path, span: Span) -> Any:
        """Copy what an anchor names to the place of its alias, with its spans."""
        self.count_value(path, span)
        if isinstance(data, dict):
            items: Iterable[tuple[Any, Any]] = data.items()
        elif isinstance(data, list):
            items = enumerate(data)
        else:
            return data
        copied = {}
        for key, value in items:
            old, new = (*origin, key), (*path, key)
            self.values[new] = self.values[old]
            if old in self.keys:
                self.keys[new] = self.keys[old]
            if old in self.comments:
                self.comments[new] = self.comments[old]
            copied[key] = self.copy(value, old, new, span)
        return copied if isinstance(data, dict) else list(copied.values())

    def count_value(self, path: Path, span: Span) -> None:
        self.count += 1
        if self.count > MAX_VALUES:
            self.fail(
                "too-many-values",
                f"the file has more than {MAX_VALUES} values",
                span,
                notes=("what an alias (*) names is counted each time it is used",),
            )
        if len(path) > MAX_DEPTH:
            self.fail("too-deep", f"values nest deeper than {MAX_DEPTH} levels", span)

    def check_tag(self, event: Any, allowed: str) -> None:
        if event.tag not in (None, "!", allowed):
            self.bad_tag(event)

    def bad_tag(self, event: Any) -> None:
        tag = short(event.tag.replace(TAG, "!!"))
        start = event.start_mark
        match = PROPERTIES.match(self.lines[start.line], start.column)
        length = len(match[0].rstrip()) if match else 1
        span = self.span(start.line, start.column, length)
        self.error("bad-tag", f"the tag {tag} does not fit this value", span)

    def comments_above(self, key: Span) -> tuple[str, ...]:
        """Return the comment lines that end right above a key, in its column."""
        column, last = key.column - 1, key.line - 1
        top = 0  # the line after the last value, which may hold a # of its own
        if end := self.scalar_end:
            top = end.line + 1 if end.column else end.line
        first = last
        while first > top and self.comment_columns.get(first - 1) == column:
            first -= 1
        if first == last or key.text[:column].strip(" "):
            return ()  # there is none, or the key is not the first on its line
        return tuple(_comment(line) for line in self.lines[first:last])

    def event_span(self, event: Any, key: Span | None = None) -> Span:
        """Return where an event stands; a block collection or nothing has its key's."""
        start, end = event.start_mark, event.end_mark
        line, column = start.line, start.column
        if isinstance(event, yaml.ScalarEvent):
            if event.tag is not None or event.anchor is not None:
                match = PROPERTIES.match(self.lines[line], column)
                column = match.end() if match else column
            if end.line > line:  # the first line stands for all
                return self.span(line, column, len(self.lines[line].rstrip()) - column)
            if end.column == column and key is not None:
                return key
        elif key is not None and not getattr(event, "flow_style", True):
            return key
        # Of a collection this is the bracket, until its end is known.
        return self.span(line, column, end.column - column)

    def span(self, line: int, column: int, length: int) -> Span:
        line = min(line, len(self.lines) - 1)
        return Span(self.file, line + 1, column + 1, max(length, 1), self.lines[line])

    def syntax_error(self, error: Exception) -> NoReturn:
        problem = getattr(error, "problem", None) or str(error)
        note = getattr(error, "context", None)
        mark = getattr(error, "problem_mark", None)
        start = getattr(error, "context_mark", None)
        span = self.span(mark.line, mark.column, 1) if mark else self.span(0, 0, 1)
        if note and start and start.line + 1 != span.line:
            note += f" that starts at line {start.line + 1}"
        at_tab = span.text[span.column - 1 : span.column] == "\t"
        self.fail(
            "yaml-syntax",
            problem,
            span,
            notes=(note,) if note else (),
            help="indent with spaces, not tabs" if at_tab else None,
        )

    def error(self, code: str, message: str, span: Span, **more: Any) -> None:
        self.errors.append(Diagnostic(code, message, span=span, **more))
        if len(self.errors) >= MAX_ERRORS:
            raise SpecError(in_order(self.errors))

    def fail(self, code: str, message: str, span: Span, **more: Any) -> NoReturn:
        """Report an error after which nothing can be read."""
        self.error(code, message, span, **more)
        raise SpecError(in_order(self.errors))


def _comment(line: str) -> str:
    """Return the text of a comment line, without what a generated file cannot hold."""
    text = line.strip().removeprefix("#").replace("\t", " ")
    return "".join(c for c in text if c.isprintable()).strip()
