"""A spec after merging, with its defaults, as YAML that builds the same files.

None in the model is a key that was left out, and it stays out: a spec cannot give a key
that value. Comments are those directly above keys.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from pydantic import BaseModel

from specgen.diagnostics import Path, printable
from specgen.ops.conv import Sides
from specgen.ops.pool import Pool2d
from specgen.ops.weighted import DEFAULT_START, used_defaults
from specgen.source import Source
from specgen.spec import Spec
from specgen.yaml12.scalars import scalar

FLOW_WIDTH = 100  # columns; a longer mapping has one line per key
ORIGIN_COLUMN = 40
# Text that needs no quotes unless it could mean something else; in a list, no comma.
PLAIN = re.compile(r"[$A-Za-z0-9_./+-](?:[\w $*%<>=!./+&'(),;-]*[\w./+)])?", re.ASCII)


def resolved(spec: Spec, source: Source, *, origins: bool = False) -> str:
    """Return a spec as YAML; with `origins`, each value says where it comes from."""
    data = _complete(spec, source.data)
    data["layers"] = _entries(spec.layers, source.data["layers"], "")
    data["init"] = data.get("init", {}) | _start(spec)
    side = spec.data.side(spec.input.height, spec.input.width)
    data["data"] = {"size": side} | data["data"]
    # In the order of the schema, so defaults appear where people look for them.
    data = {name: data[name] for name in Spec.model_fields if data.get(name, {}) != {}}
    above = {key[:depth] for key in source.comments for depth in range(len(key))}
    writer = _Writer(source, origins, frozenset(above))
    return "".join(f"{line}\n" for line in writer.block(data, ()))


def _complete(model: Any, data: Any) -> Any:
    """Return the keys of the spec, followed by the defaults of the others."""
    if not isinstance(data, Mapping):
        return data
    if isinstance(model, BaseModel):
        fields = type(model).model_fields.items()
        known = {field.alias or name: getattr(model, name) for name, field in fields}
        left = {key: _default(known[key]) for key in known if key not in data}
        if isinstance(model, Pool2d) and model.stride is None:
            left["stride"] = data["kernel_size"]
        left = {key: value for key, value in left.items() if value not in (None, {})}
    else:
        known, left = dict(model or {}), {}
    return {key: _complete(known.get(key), value) for key, value in data.items()} | left


def _entries(ops: Mapping[str, Any], data: Mapping[str, Any], prefix: str) -> Any:
    """Complete layers with their defaults, also those in groups that are mappings."""
    found = {}
    for name, entry in data.items():
        inner = entry.get("layers")
        if isinstance(inner, Mapping) and "repeat" not in entry:
            group = _entries(ops, inner, f"{prefix}{name}.")
            found[name] = {**entry, "layers": group}
        else:
            found[name] = _complete(ops.get(f"{prefix}{name}"), entry)
    return found


def _default(value: Any) -> Any:
    """Return a default as people write it: equal values for all directions once."""
    if isinstance(value, Sides):
        return value.top
    if isinstance(value, BaseModel):
        return value.model_dump(mode="json", by_alias=True, exclude_none=True)
    if isinstance(value, tuple) and len(set(value)) == 1:
        return value[0]
    return value


def _start(spec: Spec) -> dict[str, Any]:
    """Return the default initial values of parameters."""
    unsaid = used_defaults(spec.layers.values()) - spec.init.model_fields_set
    return {leaf: value for leaf, value in DEFAULT_START.items() if leaf in unsaid}


@dataclass(frozen=True, slots=True)
class _Writer:
    """Writes mappings; `commented` are those with a comment inside."""

    source: Source
    origins: bool
    commented: frozenset[Path]

    def block(self, data: Mapping[str, Any], path: Path) -> Iterator[str]:
        """Yield the lines of a mapping."""
        indent = "  " * len(path)
        for key, value in data.items():
            here = (*path, key)
            if not path and isinstance(value, dict):
                yield ""
            for comment in self.source.comments.get(here, ()):
                yield f"{indent}# {comment}".rstrip()
            start = f"{indent}{_text(key)}:"
            text = _text(value) if isinstance(value, str) else _flow(value)
            if self.fits(value, start + text, here):
                yield self.with_origin(f"{start} {text}", here)
            else:
                yield start
                write = self.block if isinstance(value, dict) else self.items
                yield from write(value, here)

    def items(self, data: Sequence[Any], path: Path) -> Iterator[str]:
        """Yield the lines of a list of layers."""
        indent = "  " * len(path)
        for index, item in enumerate(data):
            here = (*path, index)
            for comment in self.source.comments.get(here, ()):
                yield f"{indent}# {comment}".rstrip()
            line = f"{indent}- {_flow(item)}"
            if self.fits(item, line, here):
                yield self.with_origin(line, here)
            else:
                first, *rest = self.block(item, here)
                yield f"{indent}- {first.lstrip()}"
                yield from rest

    def fits(self, value: Any, line: str, path: Path) -> bool:
        """Tell whether a value goes on one line: a layer, or a few numbers."""
        has_layers = isinstance(value, list) and any(isinstance(v, dict) for v in value)
        if not (value and (isinstance(value, dict) or has_layers)):
            return True
        return (
            not self.origins
            and len(line) < FLOW_WIDTH
            and path not in self.commented
            and (len(path) > 1 or line.count("{") == 1)
        )

    def with_origin(self, line: str, path: Path) -> str:
        """Add where a value comes from: file and line, or an option."""
        if not self.origins:
            return line
        span = self.source.values.get(path)
        if span is None:
            origin = "default"
        elif span.file.startswith("--set "):
            origin = span.file
        else:
            origin = f"{span.file}:{span.line}"
        return f"{line:{ORIGIN_COLUMN}}  # {printable(origin)}"


def _flow(value: Any) -> str:
    if isinstance(value, dict):
        items = (f"{_flow(key)}: {_flow(item)}" for key, item in value.items())
        return f"{{{', '.join(items)}}}"
    if isinstance(value, list):
        return f"[{', '.join(map(_flow, value))}]"
    if value is None:
        return "null"
    if isinstance(value, bool):
        return str(value).lower()
    if isinstance(value, str):
        return _quoted(value) if "," in value else _text(value)
    return repr(value)


def _text(text: str) -> str:
    """Return text as YAML, in quotes if it could be taken for something else."""
    try:
        if PLAIN.fullmatch(text) and scalar(text) == text:
            return text
    except ValueError:  # a number that a spec cannot use
        pass
    return _quoted(text)


def _quoted(text: str) -> str:
    escaped = text.replace("\\", "\\\\").replace('"', '\\"')
    return f'"{"".join(map(_character, escaped))}"'


def _character(character: str) -> str:
    if character.isprintable() and character != "\ufeff":
        return character
    code = ord(character)
    return f"\\u{code:04x}" if code < 0x10000 else f"\\U{code:08x}"
