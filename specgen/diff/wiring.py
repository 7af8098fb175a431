"""What layers read and in which order they are written, in two networks.

A layer that is put into a chain, taken out of it or moved within it changes what the
next one reads, although that still reads the layer before it. This is no change of its
own.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from functools import cached_property
from typing import Any, NamedTuple

from specgen.compiler import Program
from specgen.diagnostics import Path
from specgen.diff.function import Meaning, values
from specgen.diff.match import Matching
from specgen.diff.tiers import Tier
from specgen.graph import INPUT, Node, around
from specgen.source import UNWRITTEN
from specgen.spec.entries import FROM

AFTER = "after"


class Rewired(NamedTuple):
    """An entry of `layers` that reads other values, or comes after another entry."""

    path: Path
    before: str | list[str]
    after: str | list[str]
    tier: Tier


class Side:
    """One of the networks."""

    def __init__(self, program: Program) -> None:
        self.source, self.place = program.source, program.place
        self.nodes = {node.name: node for node in program.graph.nodes}
        self.scopes = {scope.path: scope for scope in program.graph.scopes}
        self._stand_for: dict[str, list[str]] = {}
        for scope in program.graph.scopes:
            self._stand_for.setdefault(scope.output, []).append(scope.path)
        self._first: dict[str, str] = {}  # layer of each scope
        self._before: dict[str, str] = {}  # each layer
        last = INPUT
        for name in self.nodes:
            for path in around(name)[1:]:
                self._first.setdefault(path, name)
            self._before[name], last = last, name

    def is_first(self, entry: str) -> bool:
        """Tell whether an entry is the first in its scope."""
        first = self._first.get(_parent(entry), "")
        return f"{first}.".startswith(f"{entry}.")

    def sibling(self, entry: str) -> str:
        """Return the entry before another one in its scope; `input` if it is first."""
        if self.is_first(entry):
            return INPUT
        before = self._before[self._first.get(entry, entry)]
        depth = entry.count(".") + 1
        return ".".join(before.split(".")[:depth])

    def reads(self, entry: str) -> tuple[str, ...]:
        """Return the values that an entry names, or would name, in `from`."""
        if entry in self.nodes:
            return self.nodes[entry].inputs
        scope = self.scopes[entry]
        return scope.inputs if scope.block else scope.inputs[:1]

    def written(self, entry: str) -> Any:
        """Return the `from` of an entry; None if it reads the one before."""
        before = self._before[self._first.get(entry, entry)]
        if self.reads(entry) == (before,):
            return None
        found = self.source.value(self.place(entry).of((FROM,)))
        return None if found is UNWRITTEN else found

    def called(self, value: str, entry: str) -> str:
        """Return what a value is called where an entry is written."""
        names: list[str] = [value, *self._stand_for.get(value, ())]
        for path in around(entry)[1:]:
            inside = [name for name in names if name.startswith(f"{path}.")]
            if inside:
                return min(inside, key=len).removeprefix(f"{path}.")
            use = self.scopes[path]
            if use.block and value in use.inputs:
                return use.arguments[use.inputs.index(value)]
        return min(names, key=len)


class Wiring:
    """The layers of two networks that read other values, or are in another place."""

    def __init__(self, old: Program, new: Program, matching: Matching) -> None:
        self._old, self._new, self._matching = Side(old), Side(new), matching
        self._graph = new.graph
        self._readers = old.graph.readers(), new.graph.readers()
        self._scopes = dict(self._same_scopes())
        before, after = self._old.nodes, self._new.nodes
        # Moved within a chain: out of one place in it, and into another.
        self.moved = {b for a, b in matching.pairs.items() if self._in_chain(a, b)}
        kept = {a: b for a, b in matching.pairs.items() if b not in self.moved}
        self._behind = (
            _behind(before, kept),
            _behind(after, {name: name for name in kept.values()}),
        )

    def changes(self, old: Node, new: Node) -> Iterator[Rewired]:
        """Yield what has changed for a layer that both networks have, or around it."""
        tier = self._tier(old, new)
        if new.name in self._matching.moved:
            in_chain = new.name in self.moved
            yield from self._after(old.name, new.name, tier if in_chain else Tier.SAME)
            if in_chain:
                return
        implied: dict[tuple[str, str], bool] = {}
        if len(old.inputs) != len(new.inputs):
            implied[old.name, new.name] = False
        for was, now in zip(old.inputs, new.inputs, strict=False):
            if self._renamed(was) != now:
                entry = self._entry(old.name, new.name, was, now)
                behind = self._behind[0][was] & self._behind[1][now]
                implied[entry] = implied.get(entry, True) and bool(behind)
        for (a, b), is_implied in implied.items():
            written = self._old.written(a) != self._new.written(b)
            if written and b == new.name and old.op.op != new.op.op:
                continue  # another op is shown with what it reads
            if written or not is_implied:
                names = [self._old.called(v, a) for v in self._old.reads(a)]
                others = [self._new.called(v, b) for v in self._new.reads(b)]
                if names == others:  # the name of a group or a block, of other values
                    names, others = [*self._old.reads(a)], [*self._new.reads(b)]
                path = ("layers", b, FROM)
                yield Rewired(path, _plain(names), _plain(others), tier)

    def _after(self, old: str, new: str, tier: Tier) -> Iterator[Rewired]:
        """Yield that an entry comes after another one: perhaps one around a layer."""
        while self._old.is_first(old) and self._new.is_first(new):
            old, new = _parent(old), _parent(new)
        was, now = self._old.sibling(old), self._new.sibling(new)
        if self._renamed(was) != now:
            names = self._old.called(was, old), self._new.called(now, new)
            yield Rewired(("layers", new, AFTER), *names, tier)

    def _in_chain(self, old: str, new: str) -> bool:
        """Tell whether a layer is moved, and reads what comes before it."""
        if new not in self._matching.moved:
            return False
        reads = self._old.reads(old)[0], self._new.reads(new)[0]
        a, b = self._entry(old, new, *reads)
        return self._old.written(a) is None and self._new.written(b) is None

    def _entry(self, old: str, new: str, was: str, now: str) -> tuple[str, str]:
        """Return the entry that says what a layer reads: itself, or one around it.

        That is the use of a block of which it reads an input, or a group that it
        begins.
        """
        for a, b in zip(around(old)[1:], around(new)[1:], strict=False):
            scopes = self._old.scopes[a], self._new.scopes[b]
            if all(scope.block for scope in scopes):
                inputs = zip(*(scope.inputs for scope in scopes), strict=False)
                if (was, now) not in inputs:
                    break
                old, new = a, b
            elif (
                not any(scope.block for scope in scopes)
                and self._begins(self._old, old, a)
                and self._begins(self._new, new, b)
            ):
                old, new = a, b
        return old, new

    @staticmethod
    def _begins(side: Side, entry: str, scope: str) -> bool:
        """Tell whether an entry reads what a group does, as it does not say."""
        if _parent(entry) != scope or not side.is_first(entry):
            return False
        # An instance of a repeat is written where the repeat is.
        repeats = side.place(entry).path == side.place(scope).path
        return repeats or side.written(entry) is None

    def _renamed(self, name: str) -> str | None:
        """Return the new name of a layer or of what is around it, if it has one."""
        if name == INPUT:
            return name
        return self._matching.pairs.get(name, self._scopes.get(name))

    def _same_scopes(self) -> Iterator[tuple[str, str]]:
        for a, b in self._matching.pairs.items():
            if a.count(".") == b.count("."):
                yield from zip(around(a)[1:], around(b)[1:], strict=True)

    # --- tiers

    @cached_property
    def _numbers(self) -> tuple[dict[str, int], dict[str, int]]:
        """What each new value is, outside training and in training."""
        numbers: dict[Meaning, int] = {}
        graph = self._graph
        return values(graph, numbers), values(graph, numbers, training=True)

    def _tier(self, old: Node, new: Node) -> Tier:
        """How far it reaches that a layer reads other values."""
        if self._reads_the_same(old, new, training=True):
            return Tier.SAME
        if self._reads_the_same(old, new, training=False):
            return Tier.RECIPE
        # A dropout that moves within a chain has other readers then.
        readers = {self._renamed(name) for name in self._readers[0][old.name]}
        stays = new.name not in self.moved or readers & {*self._readers[1][new.name]}
        passes = new.op.training_only and not stays
        return Tier.RECIPE if passes else Tier.FUNCTION

    def _reads_the_same(self, old: Node, new: Node, *, training: bool) -> bool:
        numbers = self._numbers[training]
        was = [numbers.get(self._still(v, training=training), -1) for v in old.inputs]
        now = [numbers[v] for v in new.inputs]
        if new.op.commutes:
            was.sort()
            now.sort()
        return was == now

    def _still(self, value: str, *, training: bool) -> str:
        """Return the new name of an old value, or of what it is outside training."""
        nodes = self._old.nodes
        while not training and value in nodes and nodes[value].op.training_only:
            (value,) = nodes[value].inputs
        return self._renamed(value) or ""


def _behind(
    nodes: Mapping[str, Node], kept: Mapping[str, str]
) -> dict[str, frozenset[str]]:
    """Return, for each value, the nearest ones that are kept, by their new names."""
    found = {INPUT: frozenset({INPUT})}
    for name, node in nodes.items():
        read = (found[value] for value in node.inputs)
        own = frozenset({kept[name]}) if name in kept else frozenset().union(*read)
        found[name] = own
    return found


def _parent(entry: str) -> str:
    return entry.rpartition(".")[0]


def _plain(names: list[str]) -> str | list[str]:
    return names[0] if len(names) == 1 else names
