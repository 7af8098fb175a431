"""An overlay merged into its base: key by key, and layers by name.

`null` removes; `after: NAME` places a new layer. A new layer must say where it goes: at
the end, after the softmax, is hardly ever right, and a mistyped name is no new layer.
"""

from __future__ import annotations

from collections.abc import Collection, Iterator, Sequence
from copy import deepcopy
from dataclasses import replace
from typing import Any, TypeGuard

from specgen.diagnostics import (
    MOST_COMPARED,
    Diagnostic,
    Path,
    in_order,
    nearest_help,
    short,
)
from specgen.frontend import ranges
from specgen.graph import INPUT
from specgen.source import Source

LAYERS = ("layers",)
PLACED = ("placement", "layers")
NETWORK = ("input", "layers")  # the sections that define what the network computes
TAGS = ("op", "kind")  # if one of these changes, the old mapping is replaced
BASED_ON = "Based on: "


class Merge:
    """A base into which overlays are merged, one after another."""

    def __init__(self, base: Source) -> None:
        self.data = base.data
        self.keys = dict(base.keys)
        self.values = dict(base.values)
        self.comments = dict(base.comments)
        self.files = dict(base.files)
        self.problems = list(base.problems)
        self.network_changed = False
        self.compared = 0  # names, to find near ones
        # By layer, those that this overlay puts after it; new ones without a place.
        self.followers: dict[str, list[str]] = {}
        self.lost: list[str] = []
        # The layers including those that this overlay removes, and the removed ones.
        self.order: list[str] = []
        self.gone: set[str] = set()

    def result(self) -> Source:
        """Return the merged source; a problem at a removed path loses its place."""
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
        """Merge one more overlay."""
        self.files |= top.files
        self.problems += top.problems
        self.network_changed = False
        self.followers, self.lost, self.order, self.gone = {}, [], [], set()
        data = {key: value for key, value in top.data.items() if key != "extends"}
        self._mapping(self.data, data, (), top)
        self._update_placement(top)
        if self.network_changed:
            self._credit(data)

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
        # Last, so that a new layer can follow one that it replaces.
        if path == LAYERS:
            self._arrange(base, removed)
        for key in removed:
            self._touch((*path, key))
            self._forget(base.pop(key), (*path, key))

    def _value(self, base: dict[str, Any], value: Any, path: Path, top: Source) -> None:
        old = base.get(str(path[-1]))
        if same_kind(old, value) and not _is_whole(value, path):
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
            message = (
                f"{short(name)} is not a new layer, and after does not move layers"
            )
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
            default = "a new layer needs op, and after: NAME to say where it goes"
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
            near = self._nearest(after, layers)
            problem = Diagnostic("new-layer", message, path, help=near, span=place)
        layer = _without_after(fields)
        self._touch(path)
        self._adopt(layer, path, top)
        layers[name] = layer
        if problem:  # the layer stays at the end, so that it is checked
            self._report(top, problem)
            self.lost.append(name)
        else:
            self.followers.setdefault(after, []).append(name)

    def _arrange(self, layers: dict[str, Any], removed: Sequence[str]) -> None:
        """Put each new layer after the one it follows, before later followers."""
        new = {name for names in self.followers.values() for name in names}
        waiting = [name for name in (INPUT, *layers) if name not in new][::-1]
        order = []
        while waiting:
            order.append(name := waiting.pop())
            waiting += reversed(self.followers.get(name, []))
        arranged = {name: layers[name] for name in order if name in layers}
        layers.clear()
        layers.update(arranged)
        self.order, self.gone = list(arranged), set(removed)

    def _update_placement(self, top: Source) -> None:
        """Let the base's placement follow added and removed layers.

        A range ends at what is left of it. A new layer that no entry names goes where
        the layer before it is, the first where the layer behind it is.
        """
        placement = self.data.get("placement")
        entries = placement.get("layers") if isinstance(placement, dict) else None
        if not self.order or not isinstance(entries, dict) or not entries:
            return
        own = {path[-1] for path in top.keys if path[:-1] == PLACED}
        at = {name: index for index, name in enumerate(self.order)}
        kept = [name for name in self.order if name not in self.gone]
        for key, value in list(entries.items()):
            new_key = key if key in own else ranges.shrink(key, at, kept)
            if new_key in entries:
                new_key = key  # two keys for one layer are an error, found later
            del entries[key]
            if new_key is None:
                self._forget(value, (*PLACED, key))
            else:
                entries[new_key] = value
                self._move(value, (*PLACED, key), (*PLACED, new_key))
        new = {name for names in self.followers.values() for name in names}
        found = ranges.missing(entries, kept, new.union(self.lost))
        for name, like in found.items():
            entries[name] = deepcopy(entries[like])
            for path in _paths(entries[name], ()):
                self._inherit((*PLACED, like, *path), (*PLACED, name, *path))
            self.keys[*PLACED, name] = self.keys[*LAYERS, name]

    def _credit(self, over: dict[str, Any]) -> None:
        """Mark the base's description as that of another network."""
        for key in ("summary", "reference"):
            text = self.data.get(key)
            if key not in over and isinstance(text, str) and text:
                if not text.startswith(BASED_ON):
                    self.data[key] = BASED_ON + text
                return

    def _replace(
        self, base: dict[str, Any], value: Any, path: Path, top: Source
    ) -> None:
        key = str(path[-1])
        if key in base:
            self._forget(base[key], path)
        if key not in base or base[key] != value:
            self._touch(path)
        base[key] = value
        self._adopt(value, path, top)

    def _adopt(self, value: Any, path: Path, top: Source) -> None:
        """Take the places of a value and its parts from its overlay."""
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

    def _inherit(self, old: Path, new: Path) -> None:
        """Give a path the places of another path."""
        for places in (self.values, self.keys):
            if old in places:
                places[new] = places[old]

    def _move(self, value: Any, old: Path, new: Path) -> None:
        if old == new:
            return
        for path in _paths(value, ()):
            self._inherit((*old, *path), (*new, *path))
            if (*old, *path) in self.comments:
                self.comments[*new, *path] = self.comments[*old, *path]
        self._forget(value, old)

    def _touch(self, path: Path) -> None:
        """Note what this overlay changes."""
        self.network_changed |= path[0] in NETWORK

    def _missing(
        self,
        code: str,
        what: str,
        path: Path,
        there: Collection[str],
        top: Source,
        default: str | None = None,
    ) -> None:
        """Report a key that the base does not have."""
        name = str(path[-1])
        kind = "layer " if path[:-1] == LAYERS else ""
        message = f"there is no {kind}{short(name)} {what}"
        help = self._nearest(name, there) or default
        self._report(top, Diagnostic(code, message, path, at_key=True, help=help))

    def _nearest(self, name: str, there: Collection[str]) -> str | None:
        """Return the help with the nearest name, as long as finding it is fast."""
        self.compared += len(there)
        return nearest_help(name, there) if self.compared <= MOST_COMPARED else None

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


def same_kind(old: Any, new: Any) -> TypeGuard[dict[str, Any]]:
    """Tell whether two values are mappings that can be merged."""
    if not (isinstance(old, dict) and isinstance(new, dict)):
        return False
    return all(tag not in old or new.get(tag, old[tag]) == old[tag] for tag in TAGS)


def _is_whole(value: dict[str, Any], path: Path) -> bool:
    """Tell whether a mapping has every key that is possible in its place.

    A placement with devices and layers is another placement; one with less is a change.
    """
    return path == PLACED[:1] and value.keys() >= {"devices", "layers"}
