"""An overlay merged into its base: key by key, and layers by name.

`null` removes; `after: NAME` places a new layer. A new layer must say where it goes:
the end, after the softmax, is hardly ever right, and a typo must not add a layer.
"""

from __future__ import annotations

from collections.abc import Collection, Iterator, Sequence
from copy import deepcopy
from dataclasses import dataclass, field, replace
from typing import Any

from specgen.diagnostics import (
    MOST_COMPARED,
    Diagnostic,
    Path,
    in_order,
    nearest_help,
    short,
)
from specgen.frontend import ranges
from specgen.frontend.places import (
    BLOCKS,
    LAYERS,
    PLACED,
    is_block,
    is_layers,
    is_whole,
    numbered,
    of_instance,
    paths,
    same_kind,
    without_after,
)
from specgen.graph import INPUT
from specgen.source import Source
from specgen.spec.entries import KINDS

# The sections that define what the network computes.
NETWORK = ("input", "params", "blocks", "layers")
BASED_ON = "Based on: "


@dataclass(slots=True)
class Order:
    """Entries beside each other, as an overlay changes them.

    `followers` has, by entry, those that it puts after it; `lost` are new ones without
    a place. `names` has all in order: the `new` ones, and even those that are `gone`.
    """

    followers: dict[str, list[str]] = field(default_factory=dict)
    lost: list[str] = field(default_factory=list)
    names: list[str] = field(default_factory=list)
    new: set[str] = field(default_factory=set)
    gone: set[str] = field(default_factory=set)


class Merge:
    """A base into which overlays are merged, one after another."""

    def __init__(self, base: Source) -> None:
        self.data = base.data
        self.keys = dict(base.keys)
        self.values = dict(base.values)
        self.comments = dict(base.comments)
        self.files = dict(base.files)
        self.removed = dict(base.removed)
        self.problems = list(base.problems)
        self.network_changed = False
        self.compared = 0  # names, to find near ones
        self.orders: dict[Path, Order] = {}  # what this overlay changes, by place

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
            removed=self.removed,
        )

    def overlay(self, top: Source) -> None:
        """Merge one more overlay."""
        self.files |= top.files
        self.problems += top.problems
        self.network_changed = False
        self.orders = {}
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
            elif value is None and not of_instance(base, key, path):
                self._missing("nothing-to-remove", "to remove", here, base, top)
            elif is_layers(path):
                self._layer(base, key, value, here, top)
            elif path == BLOCKS and key not in base and not is_block(value):
                default = "a new block needs layers, each with its op"
                what = "unknown-block", "to change"
                self._missing(*what, here, base, top, default)
            else:
                self._value(base, value, here, top)
        # Last, so that a new layer can follow one that it replaces.
        if is_layers(path):
            self._arrange(base, removed, path)
        for key in removed:
            self._touch((*path, key))
            self.removed[*path, key] = top.keys[*path, key]
            self._forget(base.pop(key), (*path, key))

    def _value(self, base: dict[str, Any], value: Any, path: Path, top: Source) -> None:
        old = base.get(str(path[-1]))
        if isinstance(old, list) and isinstance(value, dict) and is_layers(path):
            self._items(old, value, path, top)
        elif same_kind(old, value, path) and not is_whole(value, path):
            if path in top.comments:
                self.comments[path] = top.comments[path]
            self._mapping(old, value, path, top)
        else:
            self._replace(base, value, path, top)

    def _items(
        self, old: list[Any], over: dict[str, Any], path: Path, top: Source
    ) -> None:
        """Change items of a list of layers, by their numbers."""
        items = {str(index): item for index, item in enumerate(old)}
        removed = []
        for key, value in over.items():
            if key not in items:
                default = f"it has the items 0 to {len(old) - 1}"
                here = (*path, key)
                self._missing("new-layer", "to change", here, (), top, default)
            elif value is None:
                removed.append(int(key))
            else:
                renamed = numbered(top, (*path, key))
                self._value(items, value, (*path, int(key)), renamed)
        old[:] = items.values()
        for index in sorted(removed, reverse=True):
            self._touch(path)
            self._forget(old.pop(index), (*path, index))
            for later in range(index, len(old)):
                self._move(old[later], (*path, later + 1), (*path, later))

    def _layer(
        self, layers: dict[str, Any], name: str, layer: Any, path: Path, top: Source
    ) -> None:
        fields = layer if isinstance(layer, dict) else {}
        if name not in layers:
            self._new_layer(layers, name, fields, path, top)
            return
        if "after" in fields:
            message = (
                f"{short(name)} is not a new layer, and after does not move layers"
            )
            place = (*path, "after")
            self._report(
                top, Diagnostic("misplaced-after", message, place, at_key=True)
            )
            layer = without_after(fields)
        self._value(layers, layer, path, top)

    def _new_layer(
        self,
        layers: dict[str, Any],
        name: str,
        fields: dict[str, Any],
        path: Path,
        top: Source,
    ) -> None:
        order = self.orders.setdefault(path[:-1], Order())
        known = fields.keys() & {"op", "after"} and fields.keys() & set(KINDS)
        if not known:
            default = "a new layer needs op, and after: NAME to say where it goes"
            if LAYERS[0] in layers:
                default = f"if it is in the layer called layers: layers.layers.{name}"
            self._missing("new-layer", "to change", path, layers, top, default)
            return
        after: Any = fields.get("after")
        place = top.values.get((*path, "after"))
        problem: Diagnostic | None = None
        if after is None:
            message = f"the new layer {short(name)} does not say where it goes"
            hint = "add after: NAME of a layer, or after: input"
            names = [INPUT, *layers]
            if (before := str(fields.get("before"))) in layers:
                hint = f"write after: {short(names[names.index(before) - 1])}"
            problem = Diagnostic("new-layer", message, path, at_key=True, help=hint)
        elif not isinstance(after, str):
            problem = Diagnostic(
                "new-layer", "after takes the name of a layer", path, span=place
            )
        elif after != INPUT and after not in layers:
            message = f"there is no layer {short(after)} to follow"
            near = self._nearest(after, layers)
            problem = Diagnostic("new-layer", message, path, help=near, span=place)
        layer = without_after(fields)
        if problem and "before" in layer:
            del layer["before"]
        self._touch(path)
        self._adopt(layer, path, top)
        layers[name] = layer
        if problem:  # the layer stays at the end, so that it is checked
            self._report(top, problem)
            order.lost.append(name)
        else:
            order.followers.setdefault(after, []).append(name)

    def _arrange(
        self, layers: dict[str, Any], removed: Sequence[str], path: Path
    ) -> None:
        """Put each new layer after the one it follows, before later followers."""
        order = self.orders.setdefault(path, Order())
        following = {name for each in order.followers.values() for name in each}
        waiting = [name for name in (INPUT, *layers) if name not in following][::-1]
        names = []
        while waiting:
            names.append(name := waiting.pop())
            waiting += reversed(order.followers.get(name, []))
        arranged = {name: layers[name] for name in names if name in layers}
        layers.clear()
        layers.update(arranged)
        order.names, order.gone = list(arranged), set(removed)
        order.new = following.union(order.lost)

    def _update_placement(self, top: Source) -> None:
        """Update the base's placement for added and removed layers.

        A range shrinks to what is left of it. A new layer that no entry names goes
        where the layer before it is or, if it is the first, where the next one is.
        """
        placement = self.data.get("placement")
        entries = placement.get("layers") if isinstance(placement, dict) else None
        if not isinstance(entries, dict) or not entries:
            return
        own = {str(path[-1]) for path in top.keys if path[:-1] == PLACED}
        layers = dict(self._placeable(self.data.get(LAYERS[0]), LAYERS, ""))
        at = ranges.spans(layers)
        kept = [name for name, path in layers.items() if not self._is_gone(path)]
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
        new = {name for name, path in layers.items() if self._is_new(path)}
        for name, like in ranges.missing(entries, kept, new).items():
            entries[name] = deepcopy(entries[like])
            for inner in paths(entries[name], ()):
                self._inherit((*PLACED, like, *inner), (*PLACED, name, *inner))
            self.keys[*PLACED, name] = self.keys[layers[name]]

    def _placeable(
        self, entries: Any, path: Path, prefix: str
    ) -> Iterator[tuple[str, Path]]:
        """Yield what a placement can name, even if it is gone, and where it is.

        What repeats, a list, or a new group is one thing.
        """
        if not isinstance(entries, dict):
            return
        order = self.orders.get(path)
        for name in order.names if order else entries:
            here = (*path, name)
            entry: Any = entries.get(name)
            known = isinstance(entry, dict) and not self._is_new(here)
            if (
                known
                and "repeat" not in entry
                and isinstance(entry.get("layers"), dict)
            ):
                inside = entry["layers"], (*here, *LAYERS), f"{prefix}{name}."
                yield from self._placeable(*inside)
            else:
                yield f"{prefix}{name}", here

    def _is_gone(self, path: Path) -> bool:
        order = self.orders.get(path[:-1])
        return order is not None and path[-1] in order.gone

    def _is_new(self, path: Path) -> bool:
        order = self.orders.get(path[:-1])
        return order is not None and path[-1] in order.new

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
        for here in paths(value, path):
            self.removed.pop(here, None)
            self.values[here] = top.values[here]
            if here in top.keys:
                self.keys[here] = top.keys[here]
            if here in top.comments:
                self.comments[here] = top.comments[here]

    def _forget(self, value: Any, path: Path) -> None:
        for here in paths(value, path):
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
        for path in paths(value, ()):
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
        kind = "layer " if is_layers(path[:-1]) else ""
        kind = "block " if path[:-1] == BLOCKS else kind
        message = f"there is no {kind}{short(name)} {what}"
        help = self._nearest(name, there) or default
        self._report(top, Diagnostic(code, message, path, at_key=True, help=help))

    def _nearest(self, name: str, there: Collection[str]) -> str | None:
        """Return the help with the nearest name, as long as finding it is fast."""
        self.compared += len(there)
        return nearest_help(name, there) if self.compared <= MOST_COMPARED else None

    def _report(self, top: Source, problem: Diagnostic) -> None:
        self.problems += top.locate([problem])
