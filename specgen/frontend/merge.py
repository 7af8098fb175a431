"""An overlay merged into its base: key by key, and layers by name.

`null` removes; `after: NAME` places a new layer. A new layer must say its place: the
end, after the softmax, is hardly ever meant, and a mistyped name is no new layer.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import replace
from typing import Any, TypeGuard

from specgen.diagnostics import Diagnostic, Path, in_order, nearest_help, short
from specgen.graph import INPUT
from specgen.source import Source

WHOLE = {("placement",)}  # an overlay's replaces the base's
LAYERS = ("layers",)
MOST_HELP = 100  # errors; to find the nearest of ten thousand names takes 25 ms
TAGS = ("op", "kind")  # where one changes, nothing is left of the old mapping


class Merge:
    """A base into which overlays are merged, one after the other."""

    def __init__(self, base: Source) -> None:
        self.data = base.data
        self.keys = dict(base.keys)
        self.values = dict(base.values)
        self.comments = dict(base.comments)
        self.files = dict(base.files)
        self.problems = list(base.problems)
        # By layer, those that this overlay, or the options, put after it.
        self.followers: dict[str, list[str]] = {}

    def result(self) -> Source:
        """Return the merged source; what has gone from it is no path of a problem."""
        problems = [
            problem if problem.path in self.values else replace(problem, path=None)
            for problem in self.problems
        ]
        return Source(
            self.data,
            self.keys,
            self.values,
            self.comments,
            self.files,
            in_order(problems),
        )

    def overlay(self, top: Source) -> None:
        """Merge a file into what there is."""
        self.files |= top.files
        self.problems += top.problems
        self.followers = {}
        data = {key: value for key, value in top.data.items() if key != "extends"}
        self._mapping(self.data, data, (), top)

    def options(self, options: Iterable[tuple[tuple[str, ...], Source]]) -> None:
        """Merge values at paths whose mapping must be there already."""
        self.followers = {}
        for path, top in options:
            self.problems += top.problems
            base, data = self.data, top.data
            for depth, key in enumerate(path[:-1], 1):
                if key not in base:
                    self._missing("bad-set", "here", path[:depth], base, top)
                    break
                if not isinstance(base[key], dict):
                    message = f"{short(key)} is not a mapping"
                    self._report(top, Diagnostic("bad-set", message, path[:depth]))
                    break
                base, data = base[key], data[key]
            else:
                self._mapping(base, data, path[:-1], top)

    def _mapping(
        self, base: dict[str, Any], over: dict[str, Any], path: Path, top: Source
    ) -> None:
        """Merge ``over``, which ``top`` has at ``path``, into ``base``."""
        removed = []
        for key, value in over.items():
            here = (*path, key)
            if value is None and key in base:
                removed.append(key)
            elif value is None:
                self._missing("nothing-to-remove", "to remove", here, base, top)
            elif path == LAYERS:
                self._layer(base, key, value, top)
            else:
                self._value(base, value, here, top)
        # Last, so that a new layer can come after one that it replaces.
        if path == LAYERS:
            self._arrange(base, removed)
        for key in removed:
            self._forget(base.pop(key), (*path, key))

    def _value(self, base: dict[str, Any], value: Any, path: Path, top: Source) -> None:
        old = base.get(str(path[-1]))
        if path not in WHOLE and _same_kind(old, value):
            if path in top.comments:
                self.comments[path] = top.comments[path]
            self._mapping(old, value, path, top)
        else:
            self._replace(base, value, path, top)

    def _layer(
        self, layers: dict[str, Any], name: str, layer: Any, top: Source
    ) -> None:
        path = (*LAYERS, name)
        fields = layer if isinstance(layer, dict) else {}
        if name not in layers:
            self._new_layer(layers, name, fields, top)
            return
        if "after" in fields:
            message = f"{short(name)} is not a new layer, and after moves none"
            place = (*path, "after")
            self._report(
                top, Diagnostic("misplaced-after", message, place, at_key=True)
            )
            layer = _without_after(fields)
        self._value(layers, layer, path, top)

    def _new_layer(
        self, layers: dict[str, Any], name: str, fields: dict[str, Any], top: Source
    ) -> None:
        path = (*LAYERS, name)
        if "op" not in fields:
            default = "a new layer has an op, and says after which layer it goes"
            self._missing("new-layer", "to change", path, layers, top, default)
            return
        after: Any = fields.get("after")
        place = top.values.get((*path, "after"))
        problem: Diagnostic | None = None
        if after is None:
            message = f"the new layer {short(name)} does not say where it goes"
            hint = "add after: NAME of a layer, or after: input"
            problem = Diagnostic("new-layer", message, path, at_key=True, help=hint)
        elif not isinstance(after, str):
            problem = Diagnostic(
                "new-layer", "after takes the name of a layer", path, span=place
            )
        elif after != INPUT and after not in layers:
            message = f"there is no layer {short(after)} to follow"
            near = nearest_help(after, layers)
            problem = Diagnostic("new-layer", message, path, help=near, span=place)
        layer = _without_after(fields)
        self._adopt(layer, path, top)
        layers[name] = layer
        if problem:  # the layer stays at the end, so that it is checked
            self._report(top, problem)
        else:
            self.followers.setdefault(after, []).append(name)

    def _arrange(self, layers: dict[str, Any], removed: Sequence[str]) -> None:
        """Put each new layer behind the one it follows, before later followers."""
        new = {name for names in self.followers.values() for name in names}
        waiting = [name for name in (INPUT, *layers) if name not in new][::-1]
        order = []
        while waiting:
            order.append(name := waiting.pop())
            waiting += reversed(self.followers.get(name, []))
        arranged = {name: layers[name] for name in order if name in layers}
        layers.clear()
        layers.update(arranged)
        # What follows a removed layer has its place; nothing more can come after that.
        gone = set(removed)
        self.followers = {
            after: [name for name in names if name not in gone]
            for after, names in self.followers.items()
            if after not in gone
        }

    def _replace(
        self, base: dict[str, Any], value: Any, path: Path, top: Source
    ) -> None:
        key = str(path[-1])
        if key in base:
            self._forget(base[key], path)
        base[key] = value
        self._adopt(value, path, top)

    def _adopt(self, value: Any, path: Path, top: Source) -> None:
        """Take the places of a value and of all in it from its overlay."""
        for here in _paths(value, path):
            self.values[here] = top.values[here]
            if here in top.keys:
                self.keys[here] = top.keys[here]
            if here in top.comments:
                self.comments[here] = top.comments[here]

    def _forget(self, value: Any, path: Path) -> None:
        for here in _paths(value, path):
            self.values.pop(here, None)
            self.keys.pop(here, None)
            self.comments.pop(here, None)

    def _missing(
        self,
        code: str,
        what: str,
        path: Path,
        there: Iterable[str],
        top: Source,
        default: str | None = None,
    ) -> None:
        """Report a key that the base does not have."""
        name = str(path[-1])
        kind = "layer " if path[:-1] == LAYERS else ""
        message = f"there is no {kind}{short(name)} {what}"
        help = default
        if len(self.problems) < MOST_HELP:
            help = nearest_help(name, there) or default
        self._report(top, Diagnostic(code, message, path, at_key=True, help=help))

    def _report(self, top: Source, problem: Diagnostic) -> None:
        self.problems += top.locate([problem])


def _paths(value: Any, path: Path) -> Iterator[Path]:
    yield path
    if isinstance(value, dict):
        for key, item in value.items():
            yield from _paths(item, (*path, key))
    elif isinstance(value, list):
        for index, item in enumerate(value):
            yield from _paths(item, (*path, index))


def _without_after(layer: dict[str, Any]) -> dict[str, Any]:
    return {key: value for key, value in layer.items() if key != "after"}


def _same_kind(old: Any, new: Any) -> TypeGuard[dict[str, Any]]:
    """Tell whether two values are mappings that can be merged."""
    if not (isinstance(old, dict) and isinstance(new, dict)):
        return False
    return all(tag not in old or new.get(tag, old[tag]) == old[tag] for tag in TAGS)
