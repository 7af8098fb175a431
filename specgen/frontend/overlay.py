"""Combine files and options into one source: `extends` and `--set`."""

from __future__ import annotations

import os
import re
from collections.abc import Iterable, Iterator, Sequence
from copy import deepcopy
from dataclasses import replace
from pathlib import Path as FilePath
from typing import Any, NoReturn

from specgen.diagnostics import (
    Diagnostic,
    Path,
    Span,
    SpecError,
    in_order,
    nearest,
    nearest_help,
    short,
)
from specgen.frontend.foreign import others
from specgen.frontend.merge import Merge
from specgen.frontend.places import same_kind
from specgen.source import MAX_BYTES, Source, parse
from specgen.yaml12.reader import Reader
from specgen.yaml12.scalars import LINE_BREAK, bad_characters

# Files that mark the top folder of a project.
PROJECT = (".git", "pyproject.toml")

NO_PATH = re.compile(r"[\s/\[\]]+\.?")  # training/epochs, layers[0].stride
DOT = re.compile(r"(?<!\.)\.(?!\.)")  # not those of a range like conv1..pool2


def load(
    path: FilePath,
    sets: Sequence[str] = (),
    root: FilePath | None = None,
    text: bytes | None = None,
) -> Source:
    """Read a spec, merge it into what it extends, and apply `--set KEY=VALUE` options.

    Bases must be in `root`, by default the project of the spec. Every place in the
    result is in the file or the option that gave the value. Errors in merging are in
    ``problems``. `text`, if given, is the content of the spec, which is then not read.

    Raises:
        SpecError: a file cannot be read.
    """
    try:
        source = read(path, root, text)
    except SpecError as error:
        _, problems = read_options(sets)
        raise SpecError(in_order([*error.diagnostics, *problems])) from None
    return change(source, sets)


def read(
    path: FilePath, root: FilePath | None = None, text: bytes | None = None
) -> Source:
    """Read a spec and merge it into what it extends: `load` without options.

    Raises:
        SpecError: a file cannot be read.
    """
    chain = []
    try:
        for source in _chain(path, root, text):
            chain.append(source)
    except SpecError as error:
        problems = [problem for source in chain for problem in source.problems]
        raise SpecError(in_order([*error.diagnostics, *problems])) from None
    base, *overlays = reversed(chain)
    return _merged(base, overlays) if overlays else base


def change(source: Source, sets: Sequence[str]) -> Source:
    """Return a spec that was read as the options change it; it stays as it is."""
    options, problems = read_options(sets)
    if options:
        copied = replace(source, data=deepcopy(source.data))
        source = _merged(copied, [_one_overlay(options)])
    found = in_order([*source.problems, *problems])
    return replace(source, problems=found, options=tuple(sets))


def _merged(base: Source, overlays: Iterable[Source]) -> Source:
    """Merge overlays into a base, whose data is changed."""
    merge = Merge(base)
    for overlay in overlays:
        merge.overlay(overlay)
    return merge.result()


# --- files


def _chain(
    path: FilePath, root: FilePath | None, text: bytes | None
) -> Iterator[Source]:
    """Read the spec, its base, the base of that, and so on."""
    folder = os.path.realpath(root or _project(path.parent))
    seen = []
    span = None
    while True:
        seen.append(os.path.realpath(path))
        source = parse(_read(path, span) if text is None else text, str(path))
        yield source
        text = None
        for key, value in source.data.items():
            is_spec = isinstance(value, str) and value.endswith((".yaml", ".yml"))
            if is_spec and key != "extends" and _means_extends(key):
                help = "it is called extends here"
                message, span = f"unknown key {short(key)}", source.keys[key,]
                _refuse("unknown-key", message, span, help)
        if "extends" not in source.data:
            return
        span = source.values["extends",]
        path = _base(source.data["extends"], path, span)
        if not FilePath(os.path.realpath(path)).is_relative_to(folder):
            _refuse(
                "extends-outside",
                f"this base is outside {short(folder)}",
                span,
                "copy the base into this folder, or give --root a folder that has both",
            )
        if os.path.realpath(path) in seen:
            _refuse(
                "extends-cycle",
                f"{path} extends itself, directly or through other specs",
                span,
            )


def _means_extends(key: str) -> bool:
    return key.casefold() in others("extends") or bool(nearest(key, ["extends"]))


def _project(folder: FilePath) -> FilePath:
    """Return the nearest parent folder of a project, or else the folder itself."""
    folder = FilePath(os.path.realpath(folder))
    for parent in (folder, *folder.parents):
        if any((parent / mark).exists() for mark in PROJECT):
            return parent
    return folder


def _base(name: Any, overlay: FilePath, span: Span) -> FilePath:
    if not isinstance(name, str) or not name:
        _refuse("wrong-type", "expected the name of a file", span)
    if "\0" in name:
        _refuse("cannot-read", "a file cannot have this name", span)
    # File names are UTF-8, even in the C locale, which knows only ASCII.
    path = overlay.parent / os.fsdecode(name.encode())
    plain = FilePath(os.path.normpath(path))  # without .., unless that follows a link
    return plain if os.path.realpath(plain) == os.path.realpath(path) else path


def _read(path: FilePath, span: Span | None) -> bytes:
    """Read a file, but not much more than the size limit of a spec."""
    try:
        # Only a path that the user gives may be something else, such as a pipe.
        if span and path.exists() and not path.is_file():
            _refuse("cannot-read", f"{short(str(path))} is not a file", span)
        with path.open("rb") as file:
            return file.read(MAX_BYTES + 1)
    except OSError as error:
        reason = (error.strerror or "unknown error").lower()
        help = None
        if isinstance(error, FileNotFoundError):
            beside = {file.name for file in path.parent.glob("*")}
            named = beside & {f"{path.name}.yaml", f"{path.name}.yml"}
            help = nearest_help(path.name, named or beside)
            if named:
                help = f"give the whole name, {min(named)}"
        message = f"cannot read {short(str(path))}: {reason}"
        _refuse("cannot-read", message, span, help=help)


def _refuse(
    code: str, message: str, span: Span | None, help: str | None = None
) -> NoReturn:
    raise SpecError([Diagnostic(code, message, help=help, span=span)])


# --- options


def read_options(sets: Sequence[str]) -> tuple[list[Source], list[Diagnostic]]:
    """Read options, each as an overlay; return these, and errors in the others."""
    options: list[Source] = []
    problems: list[Diagnostic] = []
    for text in sets:
        try:
            options.append(option(text))
        except SpecError as error:
            problems += error.diagnostics
    return options, problems


def _one_overlay(options: Sequence[Source]) -> Source:
    """Return the overlay of all options; the last one wins."""
    data: dict[str, Any] = {}
    keys: dict[Path, Span] = {}
    values: dict[Path, Span] = {}
    problems: list[Diagnostic] = []
    for option in options:
        _add(data, option.data)
        keys |= option.keys
        values |= option.values
        problems += option.problems
    return Source(data, keys, values, {}, {}, tuple(problems))


def _add(data: dict[str, Any], more: dict[str, Any], path: Path = ()) -> None:
    for key, value in more.items():
        here = (*path, key)
        if same_kind(data.get(key), value, here):
            _add(data[key], value, here)
        else:
            data[key] = value


def option(text: str) -> Source:
    """Read KEY=VALUE as an overlay with nothing else.

    Raises:
        SpecError: it is not an option.
    """
    file = f"--set {text}"
    name, equals, value = text.partition("=")
    start = len(name) + 1

    def at(column: int, length: int) -> Span:
        return Span(file, 1, column + 1, max(length, 1), text)

    if bad := list(bad_characters([text], file)):
        raise SpecError(bad)
    if match := LINE_BREAK.search(text):
        _refuse("bad-set", "an option must be a single line", at(match.start(), 1))
    if not equals:
        help = "write KEY=VALUE, such as layers.conv1.kernel_size=7"
        _refuse("bad-set", "there is no = in this option", at(0, len(text)), help)
    if found := NO_PATH.search(name):
        dotted = ".".join(filter(None, NO_PATH.split(name)))
        help = f"write {re.sub('[.]{3,}', '..', dotted)}"
        message = "a path has only dots between its names"
        _refuse("bad-set", message, at(found.start(), len(found[0])), help)
    path: tuple[str, ...] = ()
    keys: dict[Path, Span] = {}
    column = 0
    for part in DOT.split(name):
        if not part:
            _refuse("bad-set", "a name is missing in this path", at(column, 1))
        path = (*path, part)
        keys[path] = at(column, len(part))
        column += len(part) + 1
    if path[0] == "extends":
        _refuse("bad-set", "extends cannot be set with an option", keys[path[:1]])
    if value.lstrip(" ")[:1] in ("", "#"):
        help = "null removes the key, '' is an empty string"
        _refuse("bad-set", "there is no value after the =", at(start - 1, 1), help)
    reader = Reader(" " * start + value, [text], file)
    data = reader.document(path)
    if isinstance(data, dict | list) and value.lstrip(" ")[0] not in "[{":
        help = "quote a string that contains ': ' or begins with '- '"
        message = "a value is a scalar, a [list] or a {mapping}"
        _refuse("bad-set", message, at(start, len(value)), help)
    for part in reversed(path):
        data = {part: data}
    return Source(
        data,
        {**keys, **reader.keys},
        {**keys, **reader.values},
        {},
        {},
        tuple(reader.problems),
    )
