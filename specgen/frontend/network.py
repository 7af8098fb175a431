"""The network of a spec: its entries expanded, one layer after another, with shapes.

Blocks, groups and repeats become layers whose names are paths. What is wrong is
reported and unknown from then on; what reads an unknown is unknown as well, silently.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import replace
from typing import Any, NoReturn

from specgen.diagnostics import (
    LIMIT_HELP,
    Diagnostic,
    Path,
    Place,
    Problems,
    TooManyProblems,
)
from specgen.frontend import changes
from specgen.frontend.arguments import arguments, given
from specgen.frontend.changes import Change
from specgen.frontend.computing import (
    Names,
    Unknown,
    compute_as,
    compute_count,
    compute_text,
    compute_truth,
)
from specgen.frontend.definitions import Definition, Entry, Fields, Inner, Used
from specgen.frontend.entries import Ops
from specgen.frontend.expressions import Value
from specgen.frontend.formulas import formulas
from specgen.frontend.frame import Frame, Instance, called, numbers
from specgen.frontend.known import Known
from specgen.frontend.layers import LAYERS, UNKNOWN, Layers
from specgen.frontend.scan import scan
from specgen.graph import INPUT, Graph, Scope
from specgen.names import item_problem
from specgen.spec import Input
from specgen.spec.entries import FROM, USE, WITH

# Each takes a tenth of a millisecond; a spec of 1 MiB has room for 60,000.
MOST_LAYERS = 12_000
MOST_DEPTH = 32  # of groups and blocks within each other
MOST_WORK = 400_000  # of what is looked at, about 5 microseconds each
TOO_MANY = f"a network can have {MOST_LAYERS:,} layers, and this one has more"


class Network:
    """Expands the entries of a spec to layers and scopes."""

    def __init__(
        self,
        size: Input | None,
        ops: Ops,
        blocks: Mapping[str, Definition | None] | None,
        params: Mapping[str, Value],
        comments: Mapping[Path, tuple[str, ...]],
        problems: Problems,
    ) -> None:
        self.layers = Layers(size, problems)
        self._ops = ops
        self._blocks = blocks or {}
        self._params = params
        self._comments = comments
        self._problems = problems
        self._scopes: dict[str, Scope | None] = {}
        self.left_out: dict[str, int] = {}  # by path, the index of the next layer
        self._stands: dict[str, str] = {}  # by value, the scope that it stands for
        self._wired = True  # the inputs of every layer are known
        self._work = 0
        self._here = ""  # the entry of the network that is expanded

    def graph(self) -> Graph | None:
        """Return the layers that are sound, in their scopes."""
        return self.layers.graph(scope for scope in self._scopes.values() if scope)

    def expand(self, entries: Sequence[Entry]) -> None:
        """Add all layers, and report those that have no effect."""
        frame = Frame("", entries, {INPUT: INPUT}, None, self._params, INPUT)
        output = self._walk(frame, INPUT, ())
        if self._wired:
            self._check_all_read(output)

    def _walk(
        self,
        frame: Frame,
        before: str,
        change: Change,
        known: Collection[str] = (),
    ) -> str:
        """Add the entries of a frame; return the value of the last one.

        Changes may also have the names `known`, which are not those of entries.
        """
        change = changes.mappings(change, self._problems)
        taken = set(known)
        for entry in frame.entries:
            before = self._entry(entry, frame, before, change, taken)
        keys = [entry.key for entry in frame.entries if entry.key is not None]
        self._problems.add(*changes.left(change, taken, keys, self._problems))
        return before

    def _entry(
        self, entry: Entry, frame: Frame, before: str, change: Change, taken: set[str]
    ) -> str:
        """Add one entry, as often as it repeats; return its value."""
        is_item = entry.key is None
        name = str(frame.number) if entry.key is None else entry.key
        full = f"{frame.prefix}{name}"
        if not frame.depth:
            self._here = full
        self._spend(3)
        self._put(full, entry, frame)
        reads = self._sources(entry, frame, full, before)
        inside = changes.inside(change, name)
        it = Instance(entry, full, reads, frame, inside)
        try:
            if entry.when is not True and not self._is_there(it):
                value = reads[0]
                if not is_item:
                    self.left_out[full] = len(self.layers.order)
            elif entry.repeat is None:
                value = self._instance(it)
                frame.number += is_item
            elif is_item:
                return self._repeat(it, frame, change, taken)
            else:
                value = self._repeated(it)
        except Unknown as unknown:
            value = self._unknown(it, unknown)
        taken.add(name)
        frame.names[name] = value
        return value

    def _is_there(self, it: Instance) -> bool:
        """Compute `when`."""
        path, names = (*it.path, "when"), self._names(it.frame)
        return compute_truth(it.entry.when, path, names)

    def _repeated(self, it: Instance) -> str:
        """Add the instances of an entry with a name, in a scope of that name."""
        inner = it.frame.group(it.name, (), it.frame.values)
        change = (*changes.own(it.entry), *it.change)
        change = changes.mappings(change, self._problems)
        taken: set[str] = set()

        def instances() -> str:
            return self._repeat(it, inner, change, taken)

        value = self._in_scope(it, instances)
        names = list(inner.names)
        self._problems.add(*changes.left(change, taken, names, self._problems))
        return value

    def _repeat(
        self, it: Instance, within: Frame, change: Change, taken: set[str]
    ) -> str:
        """Add the instances of an entry, whose names are in the frame `within`."""
        entry, frame, reads = it.entry, it.frame, it.reads
        path, names = (*it.path, "repeat"), self._names(it.frame)
        count = compute_count(entry.repeat, path, names, self._problems)
        if count > MOST_LAYERS:
            self._stop(TOO_MANY)
        for index in range(count):
            each = frame.repeated(index, count)
            try:
                name = self._name_of(it, each, within)
            except Unknown as unknown:
                rest = replace(it, name=f"{it.name}.{index}", reads=reads)
                return self._unknown(rest, unknown)
            taken.add(name)
            full = f"{within.prefix}{name}"
            self._put(full, entry, frame)
            here = changes.inside(change, name)
            value = self._instance(Instance(entry, full, reads, each, here))
            within.names[name] = value
            reads = (value,)
        return reads[0]

    def _name_of(self, it: Instance, each: Frame, within: Frame) -> str:
        """Return the name of an instance."""
        if it.entry.names is None:
            within.number += 1
            return str(within.number - 1)
        path = (*it.path, "names")
        name = compute_text(it.entry.names, path, self._names(each))
        problem = item_problem(name)
        if name in within.names:
            problem = f"two instances have the name {name}"
        if problem:
            raise Unknown(Diagnostic("bad-name", problem, path))
        return name

    def _instance(self, it: Instance) -> str:
        """Add one layer, group or use of a block; return its value."""
        self._spend(8)
        body, frame = it.entry.body, it.frame
        try:
            if changes.removes(it.change):
                self.left_out[it.name] = len(self.layers.order)
                return it.left_out()
            if isinstance(body, Fields):
                return self._op(it, body)
            if frame.depth > MOST_DEPTH:
                message = f"groups and blocks are more than {MOST_DEPTH} levels deep"
                help = LIMIT_HELP
                raise Unknown(Diagnostic("too-deep", message, it.path, True, help=help))
            if it.entry.repeat is None or it.entry.key is None:
                it = replace(it, change=(*changes.own(it.entry), *it.change))
            if isinstance(body, Inner):
                inner = frame.group(it.name, body.entries, frame.values)
                before, change = it.reads[0], it.change
                return self._in_scope(it, lambda: self._walk(inner, before, change))
            if isinstance(body, Used):
                return self._use(it, body)
            raise Unknown
        except Unknown as unknown:
            return self._unknown(it, unknown)

    def _op(self, it: Instance, body: Fields) -> str:
        """Add one layer."""
        op, written = body.op, body.fields
        change = changes.fields(it.change, self._problems)
        wrong = op is None and not body.computed
        if not wrong and (change or body.computed):
            self._put(it.name, it.entry, it.frame, changes.places(change))
            self._scan(change, it.frame)
            names, written = self._names(it.frame), changes.merged(body.fields, change)
            op = compute_as(self._ops.read, written, it.path, names, self._problems)
        comments = self._comments.get(it.entry.path, ())
        named = it.entry.sources is not None
        found = self._formulas(written, it.frame) if op else {}
        self.layers.add(it.name, op, it.reads, comments, found, named=named)
        if len(self.layers.ops) > MOST_LAYERS:
            self._stop(TOO_MANY)
        return it.name

    def _use(self, it: Instance, body: Used) -> str:
        """Add the layers of a block."""
        block = self._blocks.get(body.block)
        if block is None:
            raise Unknown
        if block.name in it.frame.blocks:
            message = f"the block {block.name} uses itself"
            raise Unknown(Diagnostic("recursive-block", message, (*it.path, USE)))
        if len(it.reads) != len(block.inputs):
            count, named = len(block.inputs), ", ".join(block.inputs)
            wanted = f"{count} inputs ({named})" if count > 1 else "one input"
            message = f"the block {block.name} reads {wanted}, not {len(it.reads)}"
            key = USE if it.entry.sources is None else FROM
            raise Unknown(Diagnostic("bad-from", message, (*it.path, key)))
        change = changes.mappings(it.change, self._problems)
        self._put(it.name, it.entry, it.frame, changes.places(change))
        self._scan(
            changes.mappings(changes.inside(change, WITH), self._problems), it.frame
        )
        inputs = dict(zip(block.inputs, it.reads, strict=True))
        inner = it.frame.block(
            it.name, block.name, block.entries, inputs, it.entry.path
        )
        first = it.frame.values.get("index") == 0
        written = [*given(body, it.entry.path, change, first=first)]
        own = arguments(
            block,
            written,
            it.path,
            self._names(it.frame),
            lambda values: self._names(inner, values),
            self._params,
            self._problems,
        )
        inner.values = {**self._params, **own}
        given_last = {n: v for _, more in written for n, v in more.items()}
        scope = Scope(
            *(it.name, block.name, it.reads, block.inputs, "", numbers(own)),
            comments=self._comments.get(block.path, ()),
            defaults=numbers(block.params),
            formulas=self._formulas(given_last, it.frame),
        )
        value = self._in_scope(
            it, lambda: self._walk(inner, it.reads[0], change, {WITH}), scope
        )
        if self._wired:
            self._problems.add(*inner.unread(block))
        return value

    # --- scopes and values

    def _in_scope(
        self, it: Instance, add: Callable[[], str], scope: Scope | None = None
    ) -> str:
        """Add layers in a scope: of a block, or else of a group.

        If there are none, there is no scope, and its value is what it reads.
        """
        start = len(self.layers.order)
        full = it.name
        self._scopes[full] = None  # before those inside
        output = add()
        if len(self.layers.order) == start:
            del self._scopes[full]
            self.left_out[full] = start
            return it.reads[0]
        if scope is None:
            inputs = self.layers.read_from(full, start, it.reads[0])
            comments = self._comments.get(it.entry.path, ())
            scope = Scope(full, None, inputs, called(inputs), "", comments=comments)
        self._scopes[full] = replace(scope, output=output)
        self._stands[output] = full
        return output

    def _put(
        self,
        full: str,
        entry: Entry,
        frame: Frame,
        changed: Mapping[Path, Path] | None = None,
    ) -> None:
        """Note where something is written; most layers are where their name says."""
        if entry.path != (LAYERS, full) or changed:
            place = Place(entry.path, frame.uses, changed or {})
            self._problems.places[full] = place

    def _scan(self, change: Change, frame: Frame) -> None:
        """Report what is wrong with expressions in a change.

        Raises:
            Unknown: something is.
        """
        incomplete = bool(len(self._problems))  # a param may be wrong
        names, repeats = dict.fromkeys(frame.values, False), "index" in frame.values
        known = Known(names, repeats=repeats, incomplete=incomplete)
        sound = [scan(data, path, known, self._problems) for data, path in change]
        if not all(sound):
            raise Unknown

    def _names(self, frame: Frame, values: Mapping[str, Value] | None = None) -> Names:
        shape = self.layers.shapes.get(frame.read)
        known = frame.values if values is None else values
        return Names(known, shape, self._spend)

    def _formulas(self, values: Mapping[str, Any], frame: Frame) -> dict[str, str]:
        """Return how values follow from the params of the block that they are in."""
        block = self._blocks.get(frame.blocks[-1]) if frame.blocks else None
        return formulas(values, block.params, self._names(frame)) if block else {}

    def _unknown(self, it: Instance, unknown: Unknown) -> str:
        """Report why something is unknown; it is one unknown layer from now on."""
        self._problems.add(*unknown.problems)
        self._wired = False
        self.layers.add(it.name, None, it.reads)
        return UNKNOWN if it.name == INPUT else it.name  # INPUT means the image

    def _sources(
        self, entry: Entry, frame: Frame, full: str, before: str
    ) -> tuple[str, ...]:
        """Return the values that an entry reads; one that is wrong is UNKNOWN."""
        if entry.sources is None:
            if entry is frame.entries[0]:
                frame.used.update(frame.inputs[:1])
            return (before,)
        found = []
        for path, source in entry.sources.items():
            value = frame.find(source)
            if value is None:
                here = (LAYERS, full, *path[len(entry.path) :])
                self._problems.add(frame.missing(entry, source, here, self._problems))
                self._wired = False
            found.append(value or UNKNOWN)
        if not found:
            self._wired = False
        return tuple(found) or (UNKNOWN,)

    def _check_all_read(self, output: str) -> None:
        """A layer that no layer reads has no effect, except for the last one."""
        read = {name for names in self.layers.reads.values() for name in names}
        for name in self.layers.order:
            if name not in read and name != output:
                who = self._stands.get(name, name)
                message = f"no layer reads {who}, and it is not the last one"
                path = (LAYERS, who)
                self._problems.add(Diagnostic("no-effect", message, path, at_key=True))

    # --- limits

    def _spend(self, steps: int) -> None:
        self._work += steps
        if self._work > MOST_WORK:
            self._stop("there are too many repeats, even where `when` leaves them out")

    def _stop(self, message: str) -> NoReturn:
        """Report that the network is too large, and look no further."""
        path = (LAYERS, self._here)
        found = Diagnostic("too-large", message, path, at_key=True, help=LIMIT_HELP)
        self._problems.add(found)
        raise TooManyProblems
