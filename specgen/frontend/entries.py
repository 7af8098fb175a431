"""The definitions of a spec: entries of `layers`, blocks and params, not yet expanded.

What can be said of them without any values is reported here, once: their form, names,
the syntax of expressions, and what nothing uses.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping
from dataclasses import replace
from functools import cache, partial
from typing import Any

from specgen.diagnostics import Diagnostic, Path, Problems, short
from specgen.frontend.annotations import tags
from specgen.frontend.computing import Names, Unknown, compute, typed
from specgen.frontend.definitions import (
    BLOCKS,
    PARAMS,
    Definition,
    Entry,
    Fields,
    Inner,
    Used,
)
from specgen.frontend.expressions import Value
from specgen.frontend.known import Known
from specgen.frontend.layers import LAYERS
from specgen.frontend.scan import has_expressions, mark, scan
from specgen.frontend.slips import (
    as_expression,
    cut,
    is_block,
    meant,
    several_kinds,
    with_params,
    with_sources,
    without_layers,
)
from specgen.frontend.validate import Form, validate
from specgen.graph import INPUT
from specgen.names import (
    attribute_problem,
    identifier_problem,
    item_problem,
    part_problem,
    write_instead,
)
from specgen.ops import AnyOp
from specgen.ops.base import Op
from specgen.spec.entries import (
    FIRST,
    FROM,
    GROUP,
    OP,
    USE,
    WITH,
    Block,
    Group,
    Use,
    Wiring,
)

WIRING = frozenset(f.alias or name for name, f in Wiring.model_fields.items())
GROUP_KEYS = WIRING | {GROUP}
PLAIN = Wiring.model_construct()
USE_KEYS = WIRING | {USE, WITH, FIRST}


@cache
def op_form() -> Form[Op]:
    """Return the form of an op."""
    return Form(AnyOp)


@cache
def _form(model: type[Any]) -> Form[Any]:
    return Form(model)


class Ops:
    """Reads the fields of layers as ops. Equal fields are one op, and read once."""

    def __init__(self) -> None:
        self._known: dict[str, Op] = {}

    def read(
        self, fields: Mapping[str, Any], path: Path, problems: Problems
    ) -> Op | None:
        """Return the op, or None if it is malformed, which is reported."""
        text = repr(fields)
        if op := self._known.get(text):
            return op
        before = len(problems)
        found: Op | None = validate(op_form(), fields, path, problems)
        if found and len(problems) == before:
            self._known[text] = found
        return found


class Reader:
    """Reads definitions; `unread` are places where the source has stand-ins."""

    def __init__(self, ops: Ops, unread: Iterable[Path], problems: Problems) -> None:
        self.problems = problems
        self._ops = ops
        self._exact = set(unread)
        self._above = {p[:end] for p in self._exact for end in range(1, len(p) + 1)}
        # By block, or None for the network, the blocks that it uses.
        self._uses: dict[str | None, set[str]] = {}
        self._blocks: Mapping[str, Any] | None = None  # as written, if known

    def add(self, code: str, message: str, path: Path, **more: Any) -> None:
        """Report what is wrong."""
        self.problems.add(Diagnostic(code, message, path, **more))

    def _scan(self, value: Any, path: Path, known: Known, **more: Any) -> bool:
        return scan(value, path, known, self.problems, **more)

    # --- params and blocks

    def params(self, raw: Mapping[str, Any], known: Known) -> dict[str, Value]:
        """Return the values of the spec's params that have one."""
        values: dict[str, Value] = {}
        for name, value in raw.items():
            path = (PARAMS, name)
            self._check_param(name, path, ())
            names = Names(dict(values), None, lambda steps: None)
            try:
                if self._scan(value, path, known):
                    values[name] = typed(compute(value, path, names), path, None)
            except Unknown as unknown:
                self.problems.add(*unknown.problems)
            known.names[name] = False
        return values

    def blocks(
        self, raw: Mapping[str, Any] | None, params: Known
    ) -> dict[str, Definition | None]:
        """Return each block, or None for one that is wrong."""
        self._blocks = raw
        raw = raw or {}
        return {name: self._block(name, value, params) for name, value in raw.items()}

    def _block(self, name: str, raw: Any, params: Known) -> Definition | None:
        path = (BLOCKS, name)
        if problem := identifier_problem(name):
            self.add("bad-name", problem, path, at_key=True)
        inside = (*path, LAYERS)
        unread = any(p[:2] == path and p[:3] != inside for p in self._exact)
        if without_layers(raw, path, self.problems):
            return None
        block: Block | None = validate(_form(Block), raw, path, self.problems)
        if block is None or unread:
            return None
        before = len(self.problems)
        known = params.block(name, block.inputs)
        if block.inputs != [INPUT] and len(set(block.inputs)) < len(block.inputs):
            message = "two inputs have the same name"
            self.add("bad-name", message, (*path, "inputs"))
        sound = True
        for param, default in block.params.items():
            here = (*path, PARAMS, param)
            self._check_param(param, here, params.names)
            sound &= self._scan(default, here, known)
            known.own[param] = False
        for index, read in enumerate(block.inputs):
            if read != INPUT and (problem := identifier_problem(read)):
                self.add("bad-name", problem, (*path, "inputs", index))
        entries = self.entries(block.layers, inside, known)
        if len(self.problems) == before:
            for param in known.unused():
                message = f"nothing in {name} uses the param {param}"
                here = (*path, PARAMS, param)
                near = self.problems.nearest(param, known.used())
                self.add("no-effect", message, here, at_key=True, help=near)
        if entries is None or not sound:
            return None
        return Definition(name, block.params, tuple(block.inputs), entries)

    def _check_param(self, name: str, path: Path, taken: Collection[str]) -> None:
        """Report a param that cannot have this name."""
        problem = Known.problem(name)
        if problem is None and name in taken:
            problem = f"the spec has a param {name}, too"
        if problem:
            self.add("bad-name", problem, path, at_key=True)

    def check_used(self, params: Known) -> None:
        """Report params and blocks that the network has no use of."""
        for name in params.unused():
            message = f"nothing uses the param {name}"
            near = self.problems.nearest(name, params.used())
            self.add("no-effect", message, (PARAMS, name), at_key=True, help=near)
        reached: set[str] = set()
        waiting: list[str | None] = [None]
        while waiting:
            found = self._uses.get(waiting.pop(), set()) - reached
            reached |= found
            waiting += found
        for name in self._blocks or ():
            if name not in reached:
                message = f"no layer uses the block {name}"
                near = self.problems.nearest(name, reached)
                self.add("no-effect", message, (BLOCKS, name), at_key=True, help=near)

    # --- entries

    def entries(self, raw: Any, path: Path, known: Known) -> tuple[Entry, ...] | None:
        """Return the entries of a network, block or group."""
        if path in self._exact:
            return None
        if not isinstance(raw, dict | list):
            validate(_form(dict[str, Any] | list[Any]), raw, path, self.problems)
            return None
        if not raw:
            what = "a network" if len(path) == 1 else f"{path[-2]}"
            message = f"{what} needs at least one layer"
            self.add("no-layers", message, path, at_key=True)
            return None
        if isinstance(raw, dict):
            raw = meant(raw, path, self.problems)
            for key in raw:
                self._check_name(key, (*path, key), path, known)
        pairs = raw.items() if isinstance(raw, dict) else enumerate(raw)
        found = []
        twice = False
        names = set(known.inputs if path[:-2] == (BLOCKS,) else ())
        for key, value in pairs:
            here = (*path, key)
            name = key if isinstance(key, str) else None
            entry = self._entry(name, value, here, known)
            # That would be the image, or a path.
            if entry.key == INPUT or "." in str(entry.key):
                entry = replace(entry, body=None)
            if entry.key in names:
                message = f"{entry.key} is given twice"
                self.add("bad-name", message, here, at_key=True)
                twice = True
            found.append(entry)
            if entry.key is not None:
                names.add(entry.key)
        return None if twice else tuple(found)

    def _check_name(self, name: str, here: Path, path: Path, known: Known) -> None:
        """Report a name that a layer, or what is in its place, cannot have."""
        check = attribute_problem if len(path) == 1 else part_problem
        if here[-1] == "name":
            check = item_problem
        problem = check(name)
        if name == INPUT:
            block = f"what the block {known.of} reads"
            read = block if known.of else "the image that the network reads"
            problem = f"{INPUT!r} already names {read}"
        if problem:
            help = None if name == INPUT else write_instead(name, check)
            self.add("bad-name", problem, here, at_key=True, help=help)

    def _entry(self, key: str | None, raw: Any, path: Path, known: Known) -> Entry:
        """Return one entry, of which parts may be unknown."""
        if not isinstance(raw, dict):
            if path not in self._above:
                validate(op_form(), raw, path, self.problems)
            return Entry(path, key, None, Fields({}, None, computed=False))
        wrong = several_kinds(raw, path, self.problems)
        wrong |= cut(raw, path, self.problems)
        kind = next((kind for kind in (GROUP, USE) if kind in raw), OP)
        raw = with_sources(raw, path, self.problems) if kind == OP else raw
        repeats = known.repeated() if "repeat" in raw else known
        wiring = {name: raw[name] for name in WIRING if name in raw}
        wired = self._wiring(wiring, path, known) if wiring else PLAIN
        if wired and key is None and (name := wired.name) is not None:
            key = name
            self._check_name(name, (*path, "name"), path, known)
        elif "name" in wiring and key is not None:
            help = "an entry of a mapping is named by its key"
            here = (*path, "name")
            self.add("unknown-key", "unknown key name", here, at_key=True, help=help)
        own, changes = _parted(raw, kind)
        mark(changes, known)
        body: Fields | Inner | Used | None
        if wrong:
            body = Fields(own, None, computed=False) if kind == OP else None
        else:
            read = {OP: self._fields, GROUP: self._group, USE: self._use}[kind]
            body = read(own, path, repeats)
        if wired is None:
            return Entry(path, key, {}, None)
        return Entry(
            path,
            key,
            self._sources(wired, path, kind, "when" in raw),
            body,
            True if wired.when is None else wired.when,
            wired.repeat,
            wired.names,
            changes,
        )

    def _wiring(
        self, wiring: Mapping[str, Any], path: Path, known: Known
    ) -> Wiring | None:
        wired: Wiring | None = validate(_form(Wiring), wiring, path, self.problems)
        if wired is None or any((*path, key) in self._above for key in wiring):
            return None
        known_names = known.repeated() if "repeat" in wiring else known
        sound = [
            self._scan(wired.when, (*path, "when"), known),
            self._scan(wired.repeat, (*path, "repeat"), known),
            self._scan(wired.names, (*path, "names"), known_names, inside=True),
        ]
        if wired.names is not None and wired.repeat is None:
            message = "names has no effect without repeat"
            self.add("no-effect", message, (*path, "names"), at_key=True)
        return wired if all(sound) else None

    def _sources(
        self, wired: Wiring, path: Path, kind: str, optional: bool
    ) -> Mapping[Path, str] | None:
        """Return what an entry reads, by its place."""
        here = (*path, FROM)
        if wired.from_ is None:
            return None
        if isinstance(wired.from_, str):
            return {here: wired.from_}
        several = len(wired.from_) > 1
        message = None
        if several and optional:
            message = "an entry with `when` reads one input"
        elif several and wired.repeat is not None:
            message = "an entry with `repeat` reads one input"
        elif several and kind == GROUP:
            message = "a group reads one input"
        if message:
            message = f"{message}, not {len(wired.from_)}"
            help = "its layers can read others by name" if kind == GROUP else None
            self.add("bad-from", message, here, help=help)
            return {}
        return {(*here, index): name for index, name in enumerate(wired.from_)}

    def _fields(self, fields: Mapping[str, Any], path: Path, known: Known) -> Fields:
        op = None
        if is_block(fields.get(OP), self._blocks or (), path, self.problems):
            return Fields(fields, None, computed=False)
        if is_computed := has_expressions(fields):
            sound = self._scan(fields, path, known)
        else:
            help = partial(as_expression, fields, path, known)
            with self.problems.through(help) as found:
                op = self._ops.read(fields, path, found)
            sound = op is not None
        if not sound or path in self._above:
            return Fields(fields, None, computed=False)
        return Fields(fields, op, is_computed)

    def _group(self, own: Mapping[str, Any], path: Path, known: Known) -> Inner | None:
        group = validate(_form(Group), {**own, GROUP: {}}, path, self.problems)
        entries = self.entries(own[GROUP], (*path, GROUP), known)
        return Inner(entries) if group and entries is not None else None

    def _use(self, own: Mapping[str, Any], path: Path, known: Known) -> Used | None:
        if any((*path, key) in self._above for key in own):
            return None
        own = with_params(dict(own), self._blocks or {}, path, self.problems)
        use: Use | None = validate(_form(Use), own, path, self.problems)
        if use is None:
            return None
        self._uses.setdefault(known.of, set()).add(use.block)
        if self._blocks is not None and use.block not in self._blocks:
            message = f"there is no block {short(use.block)}"
            help = self.problems.nearest(use.block, self._blocks)
            if use.block in tags(AnyOp):
                help = f"it is an op: write op: {use.block}"
            causes = ((BLOCKS, use.block),)
            self.add("unknown-block", message, (*path, USE), help=help, causes=causes)
            return None
        if "first" in own and "repeat" not in own:
            message = "first has no effect without repeat"
            self.add("no-effect", message, (*path, "first"), at_key=True)
        sound = [
            self._scan(use.with_, (*path, "with"), known),
            self._scan(use.first, (*path, "first"), known),
        ]
        return Used(use.block, use.with_, use.first) if all(sound) else None


def _parted(raw: Mapping[str, Any], kind: str) -> tuple[dict[str, Any], dict[str, Any]]:
    """Return the keys of an op, a group or a use, and those of what is inside of it.

    An op has only WIRING beside its fields; inside of what repeats are its instances.
    """
    if kind == OP:
        inner = {n for n in raw if n.isdecimal()} if "repeat" in raw else set()
        own = {n: v for n, v in raw.items() if n not in WIRING and n not in inner}
    else:
        keys = GROUP_KEYS if kind == GROUP else USE_KEYS
        inner = {n for n, v in raw.items() if isinstance(v, dict) or v is None} - keys
        own = {n: v for n, v in raw.items() if n not in inner}
    return own, {n: v for n, v in raw.items() if n in inner}
