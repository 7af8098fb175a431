"""A placed network as nested scopes: what each reads, makes, and has moved before it.

What crosses between devices is moved in the innermost scope that has both the value and
its reader; so a copy can be used by all that come after.
"""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass, field

from specgen.graph import INPUT, Move, Placed, PlacedGraph, Scope, around
from specgen.names import SEQUENTIAL_ATTRIBUTES


@dataclass(slots=True)
class Item:
    """A layer, or a scope with what is in it: a step of the routine around it.

    `moves` are fetched just before it. `reads` are the values from outside that it then
    needs, `makes` all that it leaves.
    """

    path: str
    layer: Placed | None = None
    scope: Scope | None = None
    items: list[Item] = field(default_factory=list)
    moves: list[tuple[Placed, Move]] = field(default_factory=list)
    reads: dict[str, None] = field(default_factory=dict)
    makes: dict[str, None] = field(default_factory=dict)

    @property
    def moved(self) -> set[str]:
        """The values that its moves bring."""
        return {move.name for _, move in self.moves}

    def needs(self) -> dict[str, None]:
        """What its moves read, and what it reads besides."""
        if not self.moves:
            return self.reads
        moved = self.moved
        found = {piece.value: None for _, move in self.moves for piece in move.pieces}
        found |= self.reads
        return {name: None for name in found if name not in moved}

    @property
    def inputs(self) -> int:
        """How many layers it reads."""
        if self.layer:
            return len(self.layer.node.inputs)
        return len(self.scope.inputs) if self.scope else 1


def tree(placed: PlacedGraph) -> Item:
    """Return the network as nested scopes, each move in its place.

    That is the innermost scope that has the pieces, all readers of what is moved, and
    layers on each device that it comes from.
    """
    scopes = {scope.path: scope for scope in placed.graph.scopes}
    readers, devices = _uses(placed)
    kept = _with_modules(placed)
    made = {INPUT: ""}  # the scope in which there is each share and what moves bring
    open_ = [Item("")]  # the scopes around the layer, from the outside inward
    for layer in placed.layers:
        inside = around(layer.node.scope)
        while open_[-1].path not in ("", *inside):
            _close(open_)
        for path in reversed(inside):
            if path in kept and len(path) > len(open_[-1].path):
                open_.append(Item(path, scope=scopes[path]))
        item = Item(layer.node.name, layer)
        for move in layer.moves:
            known = {
                path for piece in move.pieces for path in around(made[piece.value])
            }
            common = {"", *around(readers[move.name])}
            sources = {piece.device for piece in move.pieces}
            levels = [*open_, item]
            level = 1 + sum(outer.path in known for outer in open_)
            while (
                level < len(open_)
                and open_[level].path in common
                and devices[open_[level].path] >= sources
            ):
                level += 1
            level = len(open_) if move.local else level
            levels[level].moves.append((layer, move))
            made[move.name] = open_[level - 1].path
        item.reads = dict.fromkeys(name for s in layer.shares for name in s.inputs)
        item.makes = dict.fromkeys(share.name for share in layer.shares)
        made |= dict.fromkeys(item.makes, layer.node.scope)
        open_[-1].items.append(item)
    while len(open_) > 1:
        _close(open_)
    return open_[0]


def _uses(placed: PlacedGraph) -> tuple[dict[str, str], dict[str, set[str]]]:
    """Return the scope that all readers of each value are in, and devices by scope."""
    readers: dict[str, str] = {}
    devices: dict[str, set[str]] = {}
    for layer in placed.layers:
        here = layer.node.scope
        read = {name for share in layer.shares for name in share.inputs}
        read |= {piece.value for move in layer.moves for piece in move.pieces}
        for name in read:
            outer = {"", *around(here)}
            known = readers.get(name, here)
            readers[name] = next((p for p in around(known) if p in outer), "")
        for path in around(here):
            devices.setdefault(path, set()).update(s.device for s in layer.shares)
    return readers, devices


def _with_modules(placed: PlacedGraph) -> set[str]:
    """The scopes in which there are modules; the others need no code of their own."""
    found: set[str] = set()
    for layer in placed.layers:
        if layer.node.applied.form.module:
            found.update(around(layer.node.scope))
    return found


def _close(open_: list[Item]) -> None:
    """Put the innermost scope among the items of the one around it."""
    closed = open_.pop()
    for item in closed.items:
        closed.makes |= dict.fromkeys(move.name for _, move in item.moves) | item.makes
        own = closed.makes
        closed.reads |= {name: None for name in item.needs() if name not in own}
    open_[-1].items.append(closed)


def is_sequence(group: Item, wanted: Collection[str]) -> bool:
    """Whether each item of a scope reads only what the one before makes, in a list.

    `wanted` are the values that the group is read for.
    """
    if not group.scope or len(group.reads) != 1 or not _is_list(group):
        return False
    read = group.reads.keys()
    for item in group.items:
        if not (item.reads.keys() <= read) or len(item.reads) != 1:
            return False
        if item.moves or (item.layer and not _is_module(item.layer)):
            return False
        read = item.makes.keys()
    return len(wanted) == 1 and read >= {*wanted}


def _is_list(group: Item) -> bool:
    """Whether the names are those of a list; of a group, others can be kept as well.

    These must differ: two layers of one name may be from scopes without modules.
    """
    names = [item.path.rpartition(".")[2] for item in group.items]
    is_group = group.scope and not group.scope.block
    named = is_group and all(map(str.isidentifier, names))
    named = named and SEQUENTIAL_ATTRIBUTES.isdisjoint(names)
    # A group without modules has no part of its own: its layers are among the others.
    named = named and len({*names}) == len(names)
    return bool(named) or names == [str(index) for index in range(len(names))]


def _is_module(layer: Placed) -> bool:
    form = layer.node.applied.form
    return len(layer.shares) == 1 and not form.pad and bool(form.called or form.item)
