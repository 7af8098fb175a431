"""The statements of `forward`, in order, with the variables they read and assign.

The torch backend prints them, and the plan of memory replays them: a variable keeps its
value until a statement gives it another. A statement ends by structure, never by the
width of a line: a layer that multiplies begins one, and so does a join, what moves,
what reads a value that others read, too, and a call with a shape or a parameter in it.
Other layers are wrapped around what they follow, up to MOST_CALLS in all.

Each scope has a routine of its own, which the one around it calls. What crosses between
devices is fetched in the innermost routine that knows both the value and its reader.

The tensor that runs through a routine is called `x`, or by the letters of its devices
where it is split: a, b, ... A branch is called after its last layer: `bn2`, `bn2_a`.
"""

from __future__ import annotations

import builtins
from collections import Counter
from collections.abc import Collection, Iterable, Iterator, Mapping
from functools import lru_cache
from itertools import zip_longest

from specgen.graph import INPUT, Placed, PlacedGraph, Scope
from specgen.names import GLOBALS, end_of_path
from specgen.passes.nesting import Item, is_sequence, tree
from specgen.passes.routine import Apply, Fetch, Pad, Routine, Run, Step
from specgen.passes.shares import LETTERS, letters

MOST_CALLS = 4  # a convolution, its normalization, activation and pooling
X = "x"
TRUNK = ""
# What a variable would hide.
TAKEN = GLOBALS.union({X, *LETTERS, "self"}, dir(builtins))


@lru_cache(maxsize=1)  # the plan and the backends ask for that of the same network
def schedule(placed: PlacedGraph) -> Routine:
    """Return what `forward` does; it gives the logits.

    A final softmax is left out, but its input is still fetched.
    """
    last = placed.layers[-1].shares[0]
    logits = last.inputs[0] if last.op.after_logits else last.name
    return _Writer(tree(placed), _Values(placed), [INPUT], [logits]).write()


class _Values:
    """Where each value is: the output of a share, or what a move brings."""

    def __init__(self, placed: PlacedGraph) -> None:
        self.letter = letters(placed.devices)
        self.device = {INPUT: ""}
        self.of = placed.wholes
        self.shared: set[str] = set()  # those that are for one of several shares
        for layer in placed.layers:
            made = {move.name: move.device for move in layer.moves}
            made |= {share.name: share.device for share in layer.shares}
            self.device |= made
            if len(layer.shares) > 1:
                self.shared.update(made)

    def variable(self, track: str, value: str) -> str:
        """Return the variable that a value has in a track."""
        return self.on(track, self.device[value] if value in self.shared else None)

    def on(self, track: str, device: str | None) -> str:
        """Return the variable of a track for one of several devices, or for the one."""
        if device is None:
            return track or X
        return f"{track}_{self.letter[device]}" if track else self.letter[device]


class _Writer:
    """Writes a routine: knows what each variable holds, and until when it is read.

    A track is the variable of one tensor after another, or its variables on several
    devices. What nothing reads any more leaves its track to what is made of it.
    """

    def __init__(
        self,
        item: Item,
        values: _Values,
        arguments: Iterable[str],
        wanted: Iterable[str],
    ) -> None:
        self._scope, self._items, self._values = item.scope, item.items, values
        self._wanted = dict.fromkeys(wanted)
        self._steps: list[Step] = []
        self._growing: list[Placed] = []
        self._operands: tuple[tuple[str, ...], ...] = ()
        self._last: dict[str, int] = {}  # the item that reads a value last
        self._readers: Counter[str] = Counter()  # how many items read it
        for index, inner in enumerate(self._items):
            for name in inner.needs() | inner.reads:
                self._last[name] = index
                self._readers[name] += 1
        self._last |= dict.fromkeys(self._wanted, len(self._items))
        self._readers.update(list(self._wanted))
        self._variable: dict[str, str] = {}  # of a value
        self._held: dict[str, str] = {}  # the value of a variable
        self._track: dict[str, str] = {}  # of a value
        self._tracks: dict[str, set[str]] = {TRUNK: set()}  # the variables of a track
        self._sequence = is_sequence(item, self._wanted)
        self._arguments = tuple(self._bind(arguments))

    def _bind(self, arguments: Iterable[str]) -> Iterator[tuple[str, str]]:
        """Give each argument its variable: the first input is the trunk."""
        scope = self._scope
        names = _arguments(scope) if scope else {INPUT: TRUNK}
        tracks = {v: name and self._new(name.lower()) for v, name in names.items()}
        for value in arguments:
            track = tracks[self._values.of[value]]
            variable = self._values.variable(track, value)
            if variable in self._held:
                variable = self._unused(f"{variable}_{self._values.device[value]}")
            self._hold(variable, value, track)
            yield variable, value

    def _follows(self, layer: Placed) -> bool:
        """Whether it follows the logits. Of a wrong spec, a softmax may be read."""
        return layer.node.op.after_logits and layer.node.name not in self._readers

    def write(self) -> Routine:
        """Return the routine."""
        for index, item in enumerate(self._items):
            if self._growing and not self._continues(item):
                self._flush()
            if item.moves:
                self._fetch(index, item)
            if item.scope:
                self._call(index, item)
            elif item.layer and not self._follows(item.layer):
                self._apply(index, item, item.layer)
        self._flush()
        results = tuple((self._variable[value], value) for value in self._wanted)
        steps = tuple(self._steps)
        return Routine(self._scope, self._arguments, steps, results, self._sequence)

    def _continues(self, item: Item) -> bool:
        """Whether a layer can be wrapped around those before it."""
        if item.moves or item.scope or not item.layer or self._sequence:
            return False
        node, before = item.layer.node, self._growing[-1]
        made = [share.name for share in before.shares]
        return (
            node.inputs == (before.node.name,)
            and [share.inputs[0] for share in item.layer.shares] == made
            and all(self._readers[value] == 1 for value in made)
            and not node.applied.macs
            and not node.applied.form.pad
            and not node.applied.form.begins
            and len(self._growing) < MOST_CALLS
        )

    def _flush(self) -> None:
        """End the statement that is growing."""
        if self._growing:
            variables = tuple(self._variable[s.name] for s in self._growing[-1].shares)
            apply = Apply(tuple(self._growing), self._operands, variables)
            self._steps.append(apply)
            self._growing = []

    def _fetch(self, index: int, item: Item) -> None:
        """Bring what the item, or each layer in it, reads from elsewhere."""
        waiting = {move.name: move for _, move in item.moves}
        for layer in {layer.node.name: layer for layer, _ in item.moves}.values():
            moves = {m.name: waiting.pop(m.name) for by, m in item.moves if by is layer}
            # The pieces of each value that a share is given.
            pieces = {
                name: [piece.value for piece in move.pieces]
                for name, move in moves.items()
            }
            if layer is item.layer:
                pieces |= {name: [name] for name in self._alone(index, layer)}
            kept = item.reads.keys() - pieces.keys()
            kept |= {piece.value for m in waiting.values() for piece in m.pieces}
            held: dict[str, str] = {}
            rows = []
            waits = _rows(layer, pieces, self._values.of)
            while waits:
                row = waits.pop(0)
                read = [piece for name in row for piece in pieces[name]]
                held = {piece: self._variable[piece] for piece in read} | held
                later = {piece for r in waits for name in r for piece in pieces[name]}
                rows.append(self._take(index, row, read[0], kept | later))
                kept |= row.keys()
            fetch = Fetch(layer, tuple(moves.values()), tuple(rows), held)
            self._steps.append(fetch)

    def _alone(self, index: int, layer: Placed) -> Iterator[str]:
        """What one device of several had alone, and its share now takes over."""
        for share in layer.shares if len(layer.shares) > 1 else ():
            for value in share.inputs:
                shared = value in self._values.shared
                if not shared and self._last.get(value, -1) == index:
                    yield value

    def _take(
        self,
        index: int,
        row: Mapping[str, str | None],
        piece: str,
        kept: Collection[str],
    ) -> tuple[tuple[str, str], ...]:
        """Give the values of a row their variables: those of the track of a piece.

        If something else in these is still read, they get a new track.
        """
        track = self._track[piece]
        targets = [self._values.on(track, device) for device in row.values()]
        if any(self._is_kept(variable, index, kept) for variable in targets):
            track = self._new(self._called(index, row))
            targets = [self._values.on(track, device) for device in row.values()]
        for variable, value in zip(targets, row, strict=True):
            self._hold(variable, value, track)
        return tuple(zip(targets, row, strict=True))

    def _called(self, index: int, row: Iterable[str]) -> str:
        """Return what a new track is called after: what it brings, or its branch."""
        brought = self._values.of[next(iter(row))]
        again = any(self._last[name] > index for name in row)
        if not again and self._items[index].inputs == 1:
            return self._end(index)
        return "image" if brought == INPUT else brought

    def _call(self, index: int, item: Item) -> None:
        """Run the routine of a scope."""
        assert item.scope
        inputs = {value: rank for rank, value in enumerate(_arguments(item.scope))}
        devices = {name: rank for rank, name in enumerate(self._values.letter)}
        arguments = sorted(
            item.reads,
            key=lambda value: (
                inputs[self._values.of[value]],
                devices.get(self._values.device[value], 0),
            ),
        )
        wanted = [value for value in item.makes if value in self._last]
        operands = tuple(self._variable[value] for value in arguments)
        routine = _Writer(item, self._values, arguments, wanted).write()
        main = self._choose(index, item)
        variables = []
        for value in wanted:
            of = self._values.of[value]
            track = main if of == item.scope.output else self._new(of)
            variables.append(self._values.variable(track, value))
            self._hold(variables[-1], value, track)
        self._steps.append(Run(routine, operands, tuple(variables)))

    def _apply(self, index: int, item: Item, layer: Placed) -> None:
        """Apply a layer, in the growing statement or in a new one."""
        operands = tuple(
            tuple(self._variable[value] for value in share.inputs)
            for share in layer.shares
        )
        track = self._choose(index, item)
        several = len(layer.shares) > 1
        variables = tuple(
            self._values.on(track, share.device if several else None)
            for share in layer.shares
        )
        if layer.node.applied.form.pad:
            self._steps.append(Pad(layer, tuple(x for (x,) in operands), variables))
            operands = tuple((variable,) for variable in variables)
        if not self._growing:
            self._operands = operands
        self._growing.append(layer)
        for share, variable in zip(layer.shares, variables, strict=True):
            self._hold(variable, share.name, track)

    def _choose(self, index: int, item: Item) -> str:
        """Return the track for what an item makes: one that is free, or a new one."""
        read = dict.fromkeys(self._track[value] for value in item.reads)
        free = [track for track in read if self._is_free(track, index)]
        joins = not free or item.inputs > 1
        if TRUNK in free or (joins and self._is_free(TRUNK, index)):
            return TRUNK
        return free[0] if free else self._new(self._end(index))

    def _is_free(self, track: str, index: int) -> bool:
        """Whether nothing in a track is read after an item."""
        values = (self._held[variable] for variable in self._tracks[track])
        return all(self._last.get(value, -1) <= index for value in values)

    def _end(self, index: int) -> str:
        """Return the path at the end of a stretch: each reads only the one before."""
        while True:
            item = self._items[index]
            made = [value for value in item.makes if value in self._last]
            after = {self._last[value] for value in made}
            once = all(self._readers[value] == 1 for value in made)
            if not once or len(after) != 1 or len(self._items) in after:
                return item.path
            (following,) = after
            if self._items[following].inputs > 1:
                return item.path
            index = following

    def _new(self, path: str) -> str:
        """Return a new track that is called like a layer."""
        track = self._unused(end_of_path(path).replace("-", "_"))
        self._tracks[track] = set()
        return track

    def _unused(self, name: str) -> str:
        """Return this name for a variable, or if it is taken, a longer one."""
        while (
            name in TAKEN
            or name in self._held
            or name in self._tracks
            or (name[-2:-1] == "_" and name[:-2] in self._tracks)
        ):
            name += "_"
        return name

    def _is_kept(self, variable: str, index: int, kept: Collection[str]) -> bool:
        """Whether what a variable holds is read by what is not in a fetch."""
        held = self._held.get(variable, "")
        return held in kept or self._last.get(held, -1) > index

    def _hold(self, variable: str, value: str, track: str) -> None:
        """Note that a variable gets a value, in a track."""
        self._variable[value], self._held[variable] = variable, value
        self._track[value] = track
        self._tracks[track].add(variable)


def _rows(
    layer: Placed, names: Collection[str], of: Mapping[str, str]
) -> list[dict[str, str | None]]:
    """Return what shares are given of each value: names, with the device if of several.

    If a share reads several parts of a value, there are several rows for it.
    """
    several = len(layer.shares) > 1
    rows = []
    for value in dict.fromkeys(layer.node.inputs):
        columns = [
            [n for n in dict.fromkeys(share.inputs) if n in names and of[n] == value]
            for share in layer.shares
        ]
        rows += [
            {
                name: share.device if several else None
                for name, share in zip(row, layer.shares, strict=True)
                if name
            }
            for row in zip_longest(*columns)
        ]
    return rows


def _arguments(scope: Scope) -> dict[str, str]:
    """Return the inputs of a scope, with what it calls them; the first is the trunk.

    A group reads names around it. The input of the block that it is in goes first.
    """
    if scope.block:
        return dict(zip(scope.inputs, (TRUNK, *scope.arguments[1:]), strict=True))
    outer = scope.path.rpartition(".")[0]
    names: dict[str, str] = {}
    for value in scope.inputs:
        inside = value.removeprefix(f"{outer}.") if outer else value
        name = inside.partition(".")[0] if inside != value or not outer else ""
        # An item of a list is called after the list, too: features_0.
        names[value] = f"{outer}.{name}" if name[:1].isdigit() else name
    first = next((v for v, name in names.items() if not name), scope.inputs[0])
    return {first: TRUNK} | {v: n for v, n in names.items() if v != first}
