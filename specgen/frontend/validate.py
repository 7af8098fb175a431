"""A source checked against its Pydantic model, with errors in terms of the spec.

Besides the keys of the spec, Pydantic's `loc` contains which member of a union was
tried; it is followed along the model's types. One mistake is one error: a value that no
member of a union accepts, a mistyped name that leaves another missing.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from copy import deepcopy
from dataclasses import dataclass, replace
from typing import Any, Generic, TypeVar

from pydantic import BaseModel, TypeAdapter, ValidationError

from specgen.diagnostics import (
    LIMIT_HELP,
    MOST_ERRORS,
    Diagnostic,
    Path,
    Problems,
    Span,
    in_order,
    nearest,
    nearest_help,
    short,
)
from specgen.frontend import advice
from specgen.frontend.annotations import (
    Key,
    element,
    fields,
    labeled,
    members,
    plain,
    tagged,
    tags,
)
from specgen.frontend.foreign import our_key, value_help
from specgen.source import Source

T = TypeVar("T")

# What a value should have been, by the first word of Pydantic's error type.
KINDS = {
    "int": "a whole number",
    "float": "a number",
    "string": "a string",
    "bool": "true or false",
    "dict": "a mapping",
    "mapping": "a mapping",
    "model": "a mapping",
    "list": "a list",
    "tuple": "a list",
}
WRONG_TYPE = re.compile(r"([a-z]+)_(type|attributes_type|parsing|from_float)")
LIMITS = {
    "greater_than": "must be greater than {gt}",
    "greater_than_equal": "must be at least {ge}",
    "less_than": "must be less than {lt}",
    "less_than_equal": "must be at most {le}",
    "multiple_of": "must be a multiple of {multiple_of}",
    "too_short": "must have a length of at least {min_length}",
    "too_long": "must have a length of at most {max_length}",
    "string_too_short": "must have a length of at least {min_length}",
    "string_too_long": "must have a length of at most {max_length}",
}
OWN_LIMITS = {2**20, 2**60, 1e15, -1e15}  # say nothing about a field


class Form(Generic[T]):
    """A type that values of a spec are checked against."""

    def __init__(self, annotation: Any) -> None:
        self.annotation = annotation
        self.adapter: TypeAdapter[T] = TypeAdapter(annotation)


def validate(form: Form[T], value: Any, path: Path, problems: Problems) -> T | None:
    """Return the value at a path as its type, or None if it is malformed.

    Unknown keys are reported and left out. A validator of a model may raise ValueError,
    or PydanticCustomError, whose type is the error's code if it has a hyphen. A message
    that begins with "expected" is completed by what the spec has instead.
    """
    try:
        return form.adapter.validate_python(value)
    except ValidationError as error:
        raw = error.errors(include_url=False)[:MOST_ERRORS]
    errors = (_Error.of(details, form.annotation, path) for details in raw)
    # A validator may have turned one value of the spec into several.
    found = [
        replace(problem, path=_given(problem.path or (), value, path))
        for problem in _translate(errors)
    ]
    problems.add(*dict.fromkeys(found))
    unknown = [p.path[len(path) :] for p in found if p.path and p.code == "unknown-key"]
    if len(unknown) < len(found):
        return None
    # One of these keys was meant to be the missing one.
    more = Problems()
    known = validate(form, _without(value, unknown), path, more)
    problems.add(*(problem for problem in more if problem.code != "missing-key"))
    return known


def validate_fields(
    model: type[BaseModel],
    data: Mapping[str, Any],
    problems: Problems,
    instead: Mapping[str, Any],
) -> dict[str, Any]:
    """Return each field of a model by itself, None if it is missing or wrong.

    Fields in `instead` have a different type from the model's.
    """
    types = fields(model)
    found = {}
    wrong = [
        _Error("extra_forbidden", "", data[key], {}, (), None, model, (key,))
        for key in data
        if key not in types
    ][:MOST_ERRORS]
    for name, field in model.model_fields.items():
        if name not in data:
            found[name] = field.get_default(call_default_factory=True)
            if field.is_required():
                found[name] = None
                wrong.append(_Error("missing", "", None, {}, (), None, model, (name,)))
        elif data[name] is None:
            says = "expected a value"
            wrong.append(_Error("null", says, None, {}, (), None, model, (name,)))
            found[name] = None
        else:
            form = Form[Any](instead.get(name, types[name]))
            found[name] = validate(form, data[name], (name,), problems)
    problems.add(*_translate(wrong))
    return found


def located(source: Source, problems: Iterable[Diagnostic]) -> tuple[Diagnostic, ...]:
    """Return all problems in order of their places, those of the source included.

    If a value cannot be read, the data has a stand-in, which is not a second error.
    """
    placed = source.locate(dict.fromkeys(problems))
    unread = {_start(problem) for problem in source.problems}
    unmerged = {
        p.path[:-1] for p in source.problems if p.path and p.code == "merge-key"
    }
    errors = [
        error
        for error in placed
        if not (error.span and _start(error) in unread)
        and not (error.code == "missing-key" and error.path in unmerged)
    ]
    return in_order([*source.problems, *errors])


def _without(data: Any, paths: Iterable[Path]) -> Any:
    """Return a copy of the data without the values at these paths."""
    copied = deepcopy(data)
    for path in paths:
        inner = copied
        for key in path[:-1]:
            inner = inner[key]
        inner.pop(path[-1], None)
    return copied


def _given(place: Path, value: Any, path: Path) -> Path:
    """Return as much of a place as exists in the value at a path."""
    for depth, key in enumerate(place[len(path) :], len(path)):
        there = key in value if isinstance(value, dict) else _has(value, key)
        if not there:
            return place[:depth]
        value = value[key]
    return place


def _has(value: Any, key: Key) -> bool:
    return isinstance(value, list) and isinstance(key, int) and key < len(value)


def _start(error: Diagnostic) -> tuple[str, int, int] | None:
    span: Span | None = error.span
    return (span.file, span.line, span.column) if span else None


@dataclass(frozen=True, slots=True)
class _Error:
    """One of Pydantic's errors; `rest` of its `loc` is still to be read from `path`."""

    kind: str
    message: str
    value: Any
    context: Mapping[str, Any]
    rest: tuple[Key, ...]
    type: Any  # of the value at `path`
    owner: Any = None  # the type of what contains that value
    path: Path = ()
    at_key: bool = False

    @classmethod
    def of(cls, raw: Mapping[str, Any], type: Any, path: Path) -> _Error:
        kind, context = raw["type"], raw.get("ctx", {})
        own = kind in ("value_error", "assertion_error")
        message = str(context["error"]) if own else raw["msg"]
        rest = raw["loc"]
        return cls(kind, message, raw["input"], context, rest, type, None, path)

    def advance(self) -> _Error:
        """Read on to the end, or to a union that is followed by a member's label."""
        error = self
        while error.rest:
            head, rest = error.rest[0], error.rest[1:]
            annotation, discriminator = plain(error.type)
            if members(annotation) and discriminator:
                inner = tagged(annotation, discriminator, head)
                error = replace(error, rest=rest, type=inner)
            elif head == "[key]" and not rest:
                error = replace(error, rest=rest, at_key=True)
            elif members(annotation):
                return replace(error, type=annotation)
            else:
                error = replace(
                    error,
                    rest=rest,
                    type=element(annotation, head),
                    owner=annotation,
                    path=(*error.path, head),
                )
        return error

    def diagnostic(
        self, code: str, message: str, help: str | None = None
    ) -> Diagnostic:
        return Diagnostic(code, message, self.path, self.at_key, help=help)


def _translate(errors: Iterable[_Error]) -> list[Diagnostic]:
    found: list[Diagnostic] = []
    unions: dict[Path, tuple[Any, dict[Key, list[_Error]]]] = {}
    advanced = [error.advance() for error in errors]
    meant = {_meant(error) for error in advanced if error.kind == "extra_forbidden"}
    for error in advanced:
        *above, key = error.path or ("",)
        if help := advice.for_sides(key, error.value, error.owner):
            meant |= {(*above, name) for name in fields(error.owner) if name in help}
    for error in advanced:
        if error.rest:
            label, rest = error.rest[0], error.rest[1:]
            inner = replace(error, rest=rest, type=labeled(error.type, label))
            _, tried = unions.setdefault(error.path, (error.type, {}))
            tried.setdefault(label, []).append(inner)
        elif error.kind != "missing" or error.path not in meant:
            found.append(_diagnostic(error))
    for union, tried in unions.values():
        found += _of_union(list(tried.values()), union)
    return found


def _of_union(tried: list[list[_Error]], union: Any) -> list[Diagnostic]:
    """Return the errors of the member that fits best, or one if none fits at all."""
    wanted: dict[str, None] = {}
    close: list[tuple[int, list[Diagnostic]]] = []
    for errors in tried:
        phrase = _expected(errors[0]) if not errors[0].rest else None
        if phrase:
            wanted |= dict.fromkeys(_choices(errors[0]) or [phrase])
        else:
            strange = [error.kind in ("extra_forbidden", "missing") for error in errors]
            close.append((sum(strange), _translate(errors)))
    if close:
        return min(close, key=lambda member: (member[0], len(member[1])))[1]
    choices = [choice for errors in tried for choice in _choices(errors[0])]
    *others, last = wanted
    phrase = " or ".join(filter(None, (", ".join(others), last)))
    return [_mismatch(replace(tried[0][0], type=union), phrase, choices)]


def _diagnostic(error: _Error) -> Diagnostic:
    kind, context = error.kind, error.context
    if kind == "extra_forbidden":
        return _unknown_key(error)
    if kind == "missing":
        return _missing_key(replace(error, path=error.path[:-1]), error.path[-1])
    if kind == "union_tag_not_found":
        return _missing_tag(error, context["discriminator"].strip("'"))
    if kind == "union_tag_invalid":
        return _unknown_tag(error)
    if phrase := _expected(error):
        return _mismatch(error, phrase, _choices(error))
    if kind in LIMITS:
        sized = kind.endswith(("too_short", "too_long"))
        got = len(error.value) if sized else error.value
        bounds = {
            name: f"{bound:g}" if isinstance(bound, float) else bound
            for name, bound in context.items()
        }
        message = f"{LIMITS[kind].format(**bounds)}, got {got}"
        own = not OWN_LIMITS.isdisjoint(context.values())
        return error.diagnostic("out-of-range", message, LIMIT_HELP if own else None)
    if kind == "string_pattern_mismatch":
        return error.diagnostic("bad-value", f"must match {context['pattern']}")
    code = kind if "-" in kind else "bad-value"
    return error.diagnostic(code, error.message[:1].lower() + error.message[1:])


def _unknown_key(error: _Error) -> Diagnostic:
    key = str(error.path[-1])
    help = advice.for_key(key, error.value, error.owner)
    error = replace(error, at_key=True)
    return error.diagnostic("unknown-key", f"unknown key {short(key)}", help)


def _meant(error: _Error) -> Path:
    """Return the path of the key that an unknown one means, or else its own."""
    key = str(error.path[-1])
    names = fields(error.owner)
    return (*error.path[:-1], our_key(key, names) or nearest(key, names) or key)


def _missing_key(error: _Error, key: Key) -> Diagnostic:
    found = replace(error, at_key=True).diagnostic("missing-key", f"{key} is missing")
    return replace(found, causes=((*error.path, key),))  # if something removes it


def _missing_tag(error: _Error, tag: str) -> Diagnostic:
    names = tags(error.type)
    key, help = advice.for_missing_tag(tag, error.value, names)
    path = error.path if key is None else (*error.path, key)
    return replace(_missing_key(error, tag), path=path, help=help)


def _unknown_tag(error: _Error) -> Diagnostic:
    key, tag = error.context["discriminator"].strip("'"), error.context["tag"]
    names = _listed(error.context["expected_tags"])
    value = error.value[key]
    error = replace(error, path=(*error.path, key), value=value)
    if not isinstance(value, str):
        return _mismatch(error, "a string", [])
    message = f"there is no {key} {short(tag)}"
    help = advice.for_op(key, tag, names)
    return error.diagnostic(
        "unknown-op" if key == "op" else "bad-choice", message, help
    )


def _mismatch(error: _Error, expected: str, choices: list[str]) -> Diagnostic:
    message = f"expected {expected}, got {said(error.value)}"
    key = error.path[-1] if error.path else None
    help = advice.for_sides(key, error.value, error.owner)
    help = help or advice.for_value(error.value, expected, error.type)
    if not choices:
        if error.kind == "null":
            help = advice.for_nothing(error.owner, str(error.path[-1]))
        return error.diagnostic("wrong-type", message, help)
    word = str(error.value)
    help = value_help(word, choices) or nearest_help(word, choices) or help
    return error.diagnostic("bad-choice", message, help)


def _expected(error: _Error) -> str | None:
    """Return what the value should have been, if it is something else."""
    if error.kind in ("literal_error", "enum"):
        return str(error.context["expected"]).replace("'", "")
    if error.message.startswith("expected "):
        return error.message.removeprefix("expected ")
    match = WRONG_TYPE.fullmatch(error.kind)
    return KINDS.get(match[1]) if match else None


def _choices(error: _Error) -> list[str]:
    if error.kind in ("literal_error", "enum"):
        return _listed(error.context["expected"])
    return []


def _listed(names: str) -> list[str]:
    """Return the names in Pydantic's "'a', 'b' or 'c'"."""
    return [name.strip("'") for name in re.split(", | or ", names)]


def said(value: Any) -> str:
    """Return a value as a message says what a spec has."""
    match value:
        case None:
            return "nothing"
        case bool():
            return str(value).lower()
        case str():
            return f'the string "{short(value)}"'
        case dict():
            return "a mapping"
        case list() | tuple():
            return "a list"
    return str(value)
