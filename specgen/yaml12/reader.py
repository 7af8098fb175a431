"""One YAML document as plain data, with the place of every key and value.

PyYAML's parser gives the events; the values are made here. Limits keep a hostile file
from taking more than a moment: on depth, and on values after aliases expand.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator
from typing import Any, NoReturn

import yaml

from specgen.diagnostics import (
    LIMIT_HELP,
    Diagnostic,
    Path,
    Span,
    SpecError,
    in_order,
    short,
)
from specgen.yaml12.advice import advice
from specgen.yaml12.scalars import scalar

try:
    from yaml import CSafeLoader as Loader  # 5 times faster than the Python one
except ImportError:  # PyYAML was built without libyaml
    from yaml import SafeLoader as Loader  # type: ignore[assignment]

MAX_DEPTH = 50
MAX_VALUES = 100_000
MAX_ERRORS = 100  # then reading stops

# The anchor and tag before a value; bounded, since it may be tried at every character.
PROPERTIES = re.compile(r"(?:[&!]\S{,200}[ \t]+){1,2}")

COLON = re.compile(r"\s*:")  # after a key that has a value

TAG = "tag:yaml.org,2002:"
SCALAR_TAGS: dict[str, tuple[type, ...]] = {
    TAG + "null": (type(None),),
    TAG + "bool": (bool,),
    TAG + "int": (int,),
    TAG + "float": (float, int),
}


class Reader:
    """Builds the data from the events of one document.

    ``text`` has the ``lines``, in the same columns. After `document`, ``keys``,
    ``values`` and ``comments`` are those of a `Source`, and ``problems`` are the errors
    that could be read past: a stand-in is in the data.
    """

    def __init__(self, text: str, lines: list[str], file: str) -> None:
        self.events: Iterator[Any] = yaml.parse(text, Loader)
        self.lines = lines
        self.file = file
        self.keys: dict[Path, Span] = {}
        self.values: dict[Path, Span] = {}
        self.comments: dict[Path, tuple[str, ...]] = {}
        self.problems: list[Diagnostic] = []
        # The value of an anchor, as (path, value); None while it is being read.
        self.anchors: dict[str, tuple[Path, Any] | None] = {}
        self.count = 0  # values, with aliases expanded
        self.scalar_end: Any = None  # where the last scalar value ends
        # The column of every line that may be a comment.
        self.comment_columns = {
            number: len(line) - len(text)
            for number, line in enumerate(lines)
            if (text := line.lstrip(" ")).startswith("#")
        }

    def document(self, path: Path = ()) -> Any:
        """Read the one document of the text, as the value at ``path``.

        Raises:
            SpecError: it cannot be read to its end.
        """
        try:
            return self._document(path)
        except (yaml.YAMLError, ValueError, OverflowError) as error:
            # The last two come from the Python loader, of an escape like \UFFFFFFFF.
            self._syntax_error(error)

    def _document(self, path: Path) -> Any:
        next(self.events)  # the start of the stream
        event = next(self.events)
        if isinstance(event, yaml.StreamEndEvent):
            self.fail("empty-file", "there is nothing here", self._span(0, 0, 1))
        first = next(self.events)
        data = self._value(first, path, self._event_span(first))
        if data is None and not first.end_mark.index - first.start_mark.index:
            self.fail("empty-file", "there is nothing here", self.values[path])
        next(self.events)  # the end of the document
        event = next(self.events)
        if not isinstance(event, yaml.StreamEndEvent):
            message = "a spec is one document, but a second one starts here"
            self.fail("several-documents", message, self._event_span(event))
        return data

    def _value(self, event: Any, path: Path, span: Span) -> Any:
        """Read one value whose first event is given; ``span`` is its place."""
        self.values[path] = span
        if isinstance(event, yaml.AliasEvent):
            return self._alias(event, path, span)
        self._count_value(path, span)
        if event.anchor is not None:
            self.anchors[event.anchor] = None
        data: Any
        if isinstance(event, yaml.ScalarEvent):
            data = self._scalar(event, path, span)
            self.scalar_end = event.end_mark
        elif isinstance(event, yaml.MappingStartEvent):
            data = self._mapping(event, path)
            self._check_tag(event, path, TAG + "map")
        else:
            data = self._sequence(event, path)
            self._check_tag(event, path, TAG + "seq")
        if event.anchor is not None:
            self.anchors[event.anchor] = path, data
        return data

    def _mapping(self, start: Any, path: Path) -> dict[str, Any]:
        data: dict[str, Any] = {}
        while not isinstance(event := next(self.events), yaml.MappingEndEvent):
            key_span = self._event_span(event)
            key = self._key(event, path, key_span, data if start.flow_style else {})
            if key is None:
                next(self.events)  # it has no value
                continue
            here = (*path, key)
            if key in data:
                first = self.keys[here]
                self._error(
                    "duplicate-key",
                    f"{short(key)} is given twice",
                    key_span,
                    here,
                    notes=(f"first given at line {first.line}",),
                )
            else:
                self.keys[here] = key_span
                if comments := self._comments_above(key_span):
                    self.comments[here] = comments
                if not (data or start.flow_style or path in self.keys):
                    self.values[path] = key_span  # the top, or an item of a sequence
            event = next(self.events)
            data[key] = self._value(event, here, self._event_span(event, key_span))
        self._end(start, event, path)
        return data

    def _sequence(self, start: Any, path: Path) -> list[Any]:
        data: list[Any] = []
        while not isinstance(event := next(self.events), yaml.SequenceEndEvent):
            here, span = (*path, len(data)), self._event_span(event)
            dash = span.text[: span.column - 1].rstrip(" ")
            above = self._comments_above(span._replace(column=len(dash)))
            if above and dash.strip(" ") == "-":
                self.comments[here] = above
            data.append(self._value(event, here, span))
        self._end(start, event, path)
        return data

    def _end(self, start: Any, end: Any, path: Path) -> None:
        """Make the span of a flow collection on one line end where that ends."""
        line, column = start.start_mark.line, start.start_mark.column
        if start.flow_style and end.end_mark.line == line:
            self.values[path] = self._span(line, column, end.end_mark.column - column)

    @staticmethod
    def _second_number(data: dict[str, Any], key: Span) -> str | None:
        """Return the help for {kernel_size: 3,3}, where the second 3 is a key."""
        if not data:
            return None
        name, first = next(reversed(data.items()))
        start, end = key.column - 1, key.column - 1 + key.length
        # Copies nothing: a line can be as long as the file, with as many keys.
        if not isinstance(first, int | float) or COLON.match(key.text, end):
            return None
        second = key.text[start:end]
        if first == 0 and key.text[start - 1] == "," and second[0] == "0":
            return f"write {short(name)}: {first}.{second}"  # a comma for the point
        return f"two numbers need brackets: {short(name)}: [{first}, {second}]"

    def _key(
        self, event: Any, path: Path, span: Span, before: dict[str, Any]
    ) -> str | None:
        """Read a key; the text of one that is not a string stands in for it.

        None is the rest of the value before.
        """
        if not isinstance(event, yaml.ScalarEvent):
            here = (*path, "")
            self._error("non-string-key", "a key must be a plain name", span, here)
            self._value(event, here, span)  # read past it
            return ""
        text: str = event.value
        here = (*path, text)
        key = self._scalar(event, here, span)
        if event.anchor is not None:
            self.anchors[event.anchor] = here, key
        if key == "<<" and event.implicit[0]:
            self._error(
                "merge-key",
                "merge keys (<<) are not part of YAML 1.2",
                span,
                here,
                help="write the keys out, or base the spec on another with extends",
            )
        elif not isinstance(key, str):
            if help := self._second_number(before, span):
                message = "a number ends at a comma"
                first = (*path, next(reversed(before)))
                self._error(
                    "non-string-key", message, self.values[first], first, help=help
                )
                return None
            self._error(
                "non-string-key",
                f"a key must be a string, but {short(text) or 'an empty key'} is not",
                span,
                here,
                help=f'write "{short(text)}"' if text else None,
            )
        return text

    def _scalar(self, event: Any, path: Path, span: Span) -> Any:
        """Return the value of a scalar; if it has none, its text stands in."""
        plain, quoted = event.implicit
        tag = event.tag
        text: str = event.value
        if event.style == '"' and any("\ud800" <= c <= "\udfff" for c in text):
            # Half a character, such as \ud800: only the Python loader accepts it.
            self.fail("bad-character", "this escape is not a character", span)
        if quoted or tag in ("!", TAG + "str"):
            return text
        if not plain and tag not in SCALAR_TAGS:
            self._bad_tag(event, path)
            return text
        try:
            data = scalar(text)
        except ValueError as error:
            self._error("bad-number", str(error), span, path)
            return text
        if not plain and type(data) not in SCALAR_TAGS[tag]:
            self._bad_tag(event, path)
        return float(data) if tag == TAG + "float" and type(data) is int else data

    def _alias(self, event: Any, path: Path, span: Span) -> Any:
        """Return a copy of what the alias names, or its name as a stand-in."""
        name = short(event.anchor)
        if event.anchor not in self.anchors:
            message = f"there is no anchor &{name} above"
            self._error("unknown-anchor", message, span, path)
            return name
        target = self.anchors[event.anchor]
        if target is None:
            message = f"*{name} is used inside &{name}"
            self._error("recursive-anchor", message, span, path)
            return name
        origin, data = target
        return self._copy(data, origin, path, span)

    def _copy(self, data: Any, origin: Path, path: Path, span: Span) -> Any:
        """Copy what an anchor names to the place of its alias, with its spans."""
        self._count_value(path, span)
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
            copied[key] = self._copy(value, old, new, span)
        return copied if isinstance(data, dict) else list(copied.values())

    def _count_value(self, path: Path, span: Span) -> None:
        self.count += 1
        if self.count > MAX_VALUES:
            self.fail(
                "too-many-values",
                f"the file has more than {MAX_VALUES} values",
                span,
                notes=("what an alias (*) names is counted each time it is used",),
                help=LIMIT_HELP,
            )
        if len(path) > MAX_DEPTH:
            self._too_deep(span)

    def _too_deep(self, span: Span) -> NoReturn:
        message = f"values are nested more than {MAX_DEPTH} levels deep"
        self.fail("too-deep", message, span, help=LIMIT_HELP)

    def _check_tag(self, event: Any, path: Path, allowed: str) -> None:
        if event.tag not in (None, "!", allowed):
            self._bad_tag(event, path)

    def _bad_tag(self, event: Any, path: Path) -> None:
        start = event.start_mark
        match = PROPERTIES.match(self.lines[start.line], start.column)
        length = len(match[0].rstrip()) if match else 1
        span = self.values[path] = self._span(start.line, start.column, length)
        tag = short(event.tag.replace(TAG, "!!"))
        self._error("bad-tag", f"the tag {tag} does not fit this value", span, path)

    def _comments_above(self, key: Span) -> tuple[str, ...]:
        """Return the comment lines right above a key, or a dash, in its column."""
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

    def _event_span(self, event: Any, key: Span | None = None) -> Span:
        """Return where an event is; a block collection or no value is at its key."""
        start, end = event.start_mark, event.end_mark
        line, column = start.line, start.column
        if isinstance(event, yaml.ScalarEvent):
            if event.tag is not None or event.anchor is not None:
                match = PROPERTIES.match(self.lines[line], column)
                column = match.end() if match else column
            if end.line > line:  # the first line stands for all
                return self._span(line, column, len(self.lines[line].rstrip()) - column)
            if end.column == column and key is not None:
                return key
        elif key is not None and not getattr(event, "flow_style", True):
            return key
        # Of a collection this is the bracket, until its end is known.
        return self._span(line, column, end.column - column)

    def _span(self, line: int, column: int, length: int) -> Span:
        if line >= len(self.lines):  # libyaml's end of a text without a final newline
            line = len(self.lines) - 1
            column = len(self.lines[line])
        return Span(self.file, line + 1, column + 1, max(length, 1), self.lines[line])

    def _syntax_error(self, error: Exception) -> NoReturn:
        problem = getattr(error, "problem", None) or str(error)
        note = getattr(error, "context", None)
        mark = getattr(error, "problem_mark", None)
        start = getattr(error, "context_mark", None)
        span = self._span(mark.line, mark.column, 1) if mark else self._span(0, 0, 1)
        if note and start and start.line + 1 != span.line:
            note += f" that starts at line {start.line + 1}"
        if "maximum nesting depth" in problem:
            # Since 0.2.6 libyaml itself stops at a depth of 1,000. It reads ahead,
            # so that may be before it gives the event that is too deep for us.
            self._too_deep(span)
        if "find expected ':'" in problem and start and start.line + 1 < span.line:
            line = self.lines[start.line].rstrip()
            span = self._span(start.line, start.column, len(line) - start.column)
            note = None
        if "end of stream" in problem and start:  # a quote without its end
            span, note = self._span(start.line, start.column, 1), None
            problem = "this quote is not closed"
        before = self.lines[span.line - 2].strip() if span.line > 1 else ""
        help = advice(problem, span, before)
        self.fail(
            "yaml-syntax", problem, span, notes=(note,) if note else (), help=help
        )

    def _error(
        self, code: str, message: str, span: Span, path: Path, **more: Any
    ) -> None:
        """Note an error; ``path`` has a stand-in for what is wrong there."""
        if len(self.problems) == MAX_ERRORS - 1:
            self.fail(code, message, span, **more)
        self.problems.append(Diagnostic(code, message, path, span=span, **more))

    def fail(self, code: str, message: str, span: Span, **more: Any) -> NoReturn:
        """Report an error after which nothing can be read."""
        error = Diagnostic(code, message, span=span, **more)
        raise SpecError(in_order([*self.problems, error]))


def _comment(line: str) -> str:
    """Return the text of a comment, without what generated files cannot contain."""
    text = line.strip().removeprefix("#").replace("\t", " ")
    return "".join(c for c in text if c.isprintable()).strip()
