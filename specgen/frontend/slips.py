"""Slips in the form of a spec: each is reported once, and then read as it was meant."""

from __future__ import annotations

import re
from collections.abc import Collection, Mapping
from dataclasses import replace
from itertools import takewhile
from typing import Any

from specgen.diagnostics import Diagnostic, Path, Problems, short
from specgen.frontend.advice import INDENT
from specgen.frontend.annotations import fields, plain
from specgen.frontend.definitions import PARAMS
from specgen.frontend.expressions import rewritten
from specgen.frontend.foreign import others
from specgen.frontend.known import Known
from specgen.frontend.scan import items
from specgen.spec import Spec
from specgen.spec.entries import FIRST, FROM, GROUP, KINDS, USE, WITH

OF_VALUES = ("wrong-type", "bad-choice", "unknown-op")
NO_COLON = re.compile(r"(\w+) *\{ *(\w+)")  # name {key
NAMES = re.compile(r"[^\s,;+&]+")  # in a text that lists them
SOURCES = others(FROM)


def cut(raw: Any, path: Path, problems: Problems) -> bool:
    """Report brackets that YAML cut at a comma: `{p: $(max(1, 2))}`, `{p: (2, 2)}`.

    Returns whether there is one.
    """
    if "(" not in str(raw):
        return False
    is_list = isinstance(raw, list)
    pairs = list(items(raw))
    found = False
    for place, (key, value) in enumerate(pairs):
        if isinstance(value, dict | list):
            found |= key != GROUP and cut(value, (*path, key), problems)
        elif isinstance(value, str) and _open(value):
            text = value
            for other, rest in pairs[place + 1 :]:
                if not _open(text) or not (is_list or rest is None):
                    break
                text += f", {rest if is_list else other}"
            if _open(text):
                continue  # its syntax is wrong
            found = True
            here = (*path, key)
            problems.add(_cut(text, here, None if is_list else str(key)))
    return found


def _cut(text: str, here: Path, key: str | None) -> Diagnostic:
    name = f"{key}: " if key else ""
    if text.startswith("("):
        message, inside = "YAML cuts these values at their comma", text[1:-1]
        help = f"write a list in brackets: {name}[{short(inside)}]"
        return Diagnostic("wrong-type", message, here, help=help)
    message = "YAML cuts this expression at its comma"
    help = f'quote it: {name}"{short(text)}"'
    return Diagnostic("bad-expression", message, here, help=help)


def meant(raw: dict[str, Any], path: Path, problems: Problems) -> dict[str, Any]:
    """Return entries as they were meant, each of which is a mapping.

    What follows an entry without content is its fields, which are not indented. A name
    without a colon is reported: `relu1 {op: relu}`.
    """
    found: dict[str, Any] = {}
    above: Any = ()
    for key, value in raw.items():
        if above is None and not isinstance(value, dict | None):
            continue
        above = value
        if (lost := NO_COLON.fullmatch(key)) and isinstance(value, str):
            name, field = lost.groups()
            help = f"write {name}: {{{field}: {short(value)}"
            message, here = "there is no colon after this name", (*path, key)
            problems.add(Diagnostic("bad-name", message, here, True, help=help))
            key, value = name, {field: value.rstrip("} ")}
        found[key] = value
    return found


def with_sources(raw: dict[str, Any], path: Path, problems: Problems) -> dict[str, Any]:
    """Report what a layer reads under another key, or without brackets; mend it.

    In `{op: add, from: a, b}`, b is a key without a value.
    """
    for key in () if FROM in raw else raw:
        if key.casefold() in SOURCES and isinstance(raw[key], str | list):
            message, here = f"unknown key {short(key)}", (*path, key)
            help = f"it is called {FROM} here"
            problems.add(Diagnostic("unknown-key", message, here, True, help=help))
            rest = {name: value for name, value in raw.items() if name != key}
            return rest | {FROM: raw[key]}
    source = raw.get(FROM)
    if not isinstance(source, str):
        return raw
    keys = list(raw)
    after = keys[keys.index(FROM) + 1 :]
    cut_off = list(takewhile(lambda key: raw[key] is None, after))
    names = [*NAMES.findall(source), *cut_off]
    if len(names) < 2:
        return raw
    help = f"write from: [{short(', '.join(names))}]"
    message = "several inputs are a list, in brackets"
    problems.add(Diagnostic("bad-from", message, (*path, FROM), help=help))
    return {k: v for k, v in raw.items() if k not in cut_off} | {FROM: names}


def several_kinds(raw: Mapping[str, Any], path: Path, problems: Problems) -> bool:
    """Report an entry that is two things at once: an op, a group, or a block's use."""
    kinds = [kind for kind in raw if kind in KINDS]
    if len(kinds) > 1:
        message = f"an entry has {kinds[0]} or {kinds[1]}, not both"
        here = (*path, kinds[1])
        problems.add(Diagnostic("unknown-key", message, here, at_key=True))
    return len(kinds) > 1


def unindented(data: Mapping[str, Any]) -> dict[str, str]:
    """Return the keys below an empty section that belong in it, each with its name."""
    found: dict[str, str] = {}
    sections = fields(Spec)
    above = ""
    for key in data:
        if key not in sections and above and data[above] is None:
            if key in fields(plain(sections.get(above))[0]):
                found[key] = above
        else:
            above = key
    return found


def outside(problem: Diagnostic, data: Mapping[str, Any]) -> Diagnostic:
    """Give what is beside the sections help: it belongs in one of them."""
    path = problem.path or ()
    if path and path[0] in unindented(data).values():
        return replace(problem, help=INDENT)
    if problem.code != "unknown-key" or len(path) != 1:
        return problem
    key, layers = str(path[0]), data.get("layers")
    help = problem.help
    if isinstance(layers, dict) and key in layers:
        help = f"it is a layer: layers.{key}"
    elif isinstance(value := data[key], dict) and value.keys() & set(KINDS):
        help = "a layer belongs below layers, indented"
    return replace(problem, help=help)


def is_block(op: Any, blocks: Collection[str], path: Path, problems: Problems) -> bool:
    """Report a block that is used like an op."""
    if not isinstance(op, str) or op not in blocks:
        return False
    message, help = f"there is no op {short(op)}", f"it is a block: write block: {op}"
    problems.add(Diagnostic("unknown-op", message, (*path, "op"), help=help))
    return True


def as_expression(
    fields: Any, path: Path, known: Known, problem: Diagnostic
) -> Diagnostic:
    """Give a value of the wrong type help if it is meant to be an expression."""
    inside: tuple[Any, ...] = (problem.path or ())[len(path) :]
    for key in inside:
        fields = fields[key] if isinstance(fields, dict | list) else None
    if not isinstance(fields, str) or problem.code not in OF_VALUES:
        return problem
    meant = f"${fields}" if fields in known.all() else rewritten(fields)
    return replace(problem, help=f"write {meant}") if meant else problem


def with_params(
    own: dict[str, Any], blocks: Mapping[str, Any], path: Path, problems: Problems
) -> dict[str, Any]:
    """Report params beside the block that they are for; return the use with them."""
    block = blocks.get(str(own.get(USE)))
    params = block.get(PARAMS) if isinstance(block, dict) else None
    names = params if isinstance(params, dict) else {}
    beside = {key: own[key] for key in own if key in names and key not in (WITH, FIRST)}
    if not beside:
        return own
    for key in beside:
        help = f"it is a param of the block: with: {{{key}: ...}}"
        here = (*path, key)
        message = f"unknown key {short(key)}"
        problems.add(Diagnostic("unknown-key", message, here, at_key=True, help=help))
    given = own.get(WITH)
    rest = {key: value for key, value in own.items() if key not in beside}
    return {**rest, WITH: {**beside, **(given if isinstance(given, dict) else {})}}


def without_layers(raw: Any, path: Path, problems: Problems) -> bool:
    """Report a block that is a layer, or that has layers beside its params."""
    if not isinstance(raw, dict) or GROUP in raw:
        return False
    inside = [raw, *(value for value in raw.values() if isinstance(value, dict))]
    if not any(each.keys() & set(KINDS) for each in inside):
        return False
    message = "layers is missing: a block has its layers below that key"
    problems.add(Diagnostic("missing-key", message, path, at_key=True))
    return True


def _open(text: str) -> bool:
    """Tell whether brackets of an expression are not closed."""
    return text.startswith(("$(", "(")) and text.count("(") > text.count(")")
