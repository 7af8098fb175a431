"""What a spec says about a network: every setting and every comment."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any, NamedTuple

from pydantic import BaseModel

from specgen.diagnostics import Path
from specgen.ops.weighted import DEFAULT_START, used_defaults
from specgen.source import Source
from specgen.spec import Spec

# Keys whose comments are on settings or, as the first line often is, for an editor.
RECIPE = ("specgen", "init", "data", "training")


class Setting(NamedTuple):
    """A value of the recipe, by its path, and the spec's own reason for it."""

    path: str
    value: str
    why: str


def recipe(spec: Spec, source: Source) -> Iterator[Setting]:
    """Yield how it starts, what it sees and how it learns, with the comments on that.

    A comment on several settings goes with the first of them.
    """
    said = {path: texts for path, texts in source.comments.items() if _in_recipe(path)}
    for path, value in _settings(spec, source):
        steps = [path[:end] for end in range(1, len(path) + 1)]
        why = [" ".join(said.pop(step, ())) for step in steps]
        yield Setting(_name(path), value, " ".join(filter(None, why)))


def said(spec: Spec, source: Source) -> Iterator[tuple[str, str]]:
    """Yield the other comments and what they are about, layers in their order."""
    sections = list(type(spec).model_fields)
    layers = {name: index for index, name in enumerate(source.data["layers"])}

    def place(path: Path) -> tuple[int, int]:
        section, *rest = map(str, path)
        of_layer = section == "layers" and rest
        return sections.index(section), layers[rest[0]] if of_layer else 0

    known = [
        path
        for path in source.comments
        if path in source.values and path[0] in sections and not _in_recipe(path)
    ]
    for path in sorted(known, key=place):
        if words := " ".join(source.comments[path]).strip():
            yield _name(path).removeprefix("layers."), words


def _in_recipe(path: Path) -> bool:
    return path[0] in RECIPE or path[2:3] == ("init",)


def _name(path: Path) -> str:
    return ".".join(map(str, path))


def _settings(spec: Spec, source: Source) -> Iterator[tuple[Path, str]]:
    """Yield what the spec says or leaves to defaults: the same for both.

    Of the starts of single layers, only those that differ from the defaults, or have a
    comment.
    """
    commented = {path[:3] for path in source.comments}
    used = used_defaults(spec.layers.values())
    start = DEFAULT_START | spec.init.given()
    for leaf, value in start.items():
        if leaf in used:
            dumped = value.model_dump() if isinstance(value, BaseModel) else value
            yield from _leaves(("init", leaf), dumped)
    for name, op in spec.layers.items():
        if isinstance(init := getattr(op, "init", None), BaseModel):
            path = ("layers", name, "init")
            changed = init.model_dump(exclude_defaults=path not in commented)
            yield from _leaves(path, changed)
    size = spec.data.side(spec.input.height, spec.input.width)
    yield from _leaves(("data",), spec.data.model_dump() | {"size": size})
    yield from _leaves(("training",), spec.training.model_dump())


def _leaves(path: Path, value: Any) -> Iterator[tuple[Path, str]]:
    match value:
        case None:
            return
        case Mapping():
            for key, inner in value.items():
                yield from _leaves((*path, key), inner)
        case bool():
            yield path, str(value).lower()
        case float():
            short = f"{value:g}"
            yield path, short if float(short) == value else repr(value)
        case list() | tuple():
            yield path, ", ".join(map(str, value))
        case _:
            yield path, str(value)
