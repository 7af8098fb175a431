"""The network of a spec: what each layer reads, and its shape.

What is wrong is reported and unknown from then on; what reads an unknown is unknown as
well, silently.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, replace
from functools import cache
from typing import Any

from specgen.diagnostics import LIMIT_HELP, Diagnostic, Path, Problems, short
from specgen.frontend.validate import Form, validate
from specgen.graph import INPUT, Graph, Node
from specgen.ops import AnyOp
from specgen.ops.base import Op, Refusal, Shape, volume
from specgen.spec import FROM, Input, Reads

LAYERS = "layers"
# Values in one tensor, of one image: 4 TiB. With a batch, bytes still fit in 64 bits.
MOST_VALUES = 2**40


@dataclass(frozen=True, slots=True)
class Entry:
    """One entry of `layers`: its op, and the names that it reads.

    `sources` has each name by its place; it is None for the layer before, and empty
    where it is wrong. `op` is None where that is wrong.
    """

    name: str
    op: Op | None
    sources: Mapping[Path, str] | None


def entry(name: str, value: Any, problems: Problems) -> Entry:
    """Check the form of an entry: what it reads, and its op by itself."""
    path = (LAYERS, name)
    sources: dict[Path, str] | None = None
    if isinstance(value, dict) and FROM in value:
        here = (*path, FROM)
        reads = validate(_reads(), value[FROM], here, problems)
        if isinstance(reads, str):
            sources = {here: reads}
        else:
            sources = {(*here, index): each for index, each in enumerate(reads or ())}
        value = {key: field for key, field in value.items() if key != FROM}
    return Entry(name, validate(_op(), value, path, problems), sources)


@cache
def _op() -> Form[Op]:
    return Form(AnyOp)


@cache
def _reads() -> Form[str | list[str]]:
    return Form(Reads)


class Network:
    """Layers that are added one by one, each with its shape if that is known."""

    def __init__(
        self,
        size: Input | None,
        comments: Mapping[Path, tuple[str, ...]],
        problems: Problems,
    ) -> None:
        self.reads: dict[str, tuple[str, ...]] = {}
        self._comments = comments
        self._problems = problems
        self._nodes: list[Node] = []
        self._shapes: dict[str, Shape] = {}
        if size:
            image = (size.channels, size.height, size.width)
            found = list(_too_large({"the input": image}, ("input",)))
            problems.add(*found)
            self._shapes = {} if found else {INPUT: image}

    def graph(self) -> Graph | None:
        """Return the layers that are sound; without an image there are none."""
        image = self._shapes.get(INPUT)
        return Graph(image, tuple(self._nodes)) if image else None

    def add_all(self, entries: Mapping[str, Entry]) -> None:
        """Add the entries in order, and report those that have no effect."""
        before = INPUT
        wired = True
        for name, each in entries.items():
            sources = self._sources(each, before, entries)
            if sources is None:
                wired = False
            self.reads[name] = sources or ()
            self._add(each, sources)
            before = name
        if wired:
            self._check_all_read(entries)

    def _sources(
        self, each: Entry, before: str, entries: Mapping[str, Entry]
    ) -> tuple[str, ...] | None:
        """Return the layers that an entry reads, or None if one of them is unknown."""
        if each.sources is None:
            return (before,)
        wrong = [
            self._no_source(each.name, source, path, entries)
            for path, source in each.sources.items()
            if source != INPUT and source not in self.reads
        ]
        self._problems.add(*wrong)
        return None if wrong or not each.sources else tuple(each.sources.values())

    def _no_source(
        self, name: str, source: str, path: Path, entries: Mapping[str, Entry]
    ) -> Diagnostic:
        """Return what is wrong with a name that nothing above has."""
        if source == name:
            return Diagnostic("bad-from", f"{name} reads itself", path)
        if source in entries:
            message = f"{name} reads {source}, which comes after it"
            help = "move it below the layers that it reads"
            return Diagnostic("bad-from", message, path, help=help)
        message = f"there is no layer {short(source)!r}"
        near = self._problems.nearest(source, [INPUT, *entries])
        return Diagnostic("unknown-layer", message, path, help=near)

    def _check_all_read(self, entries: Mapping[str, Entry]) -> None:
        """A layer that nobody reads has no effect, but for the last one."""
        read = {source for sources in self.reads.values() for source in sources}
        for name in [*entries][:-1]:
            if name not in read:
                message = f"no layer reads {name}, and it is not the last one"
                path = (LAYERS, name)
                found = Diagnostic("no-effect", message, path, at_key=True)
                self._problems.add(found)

    def _add(self, each: Entry, sources: tuple[str, ...] | None) -> None:
        """Infer the shape of a layer, and add it if it is sound."""
        op, name = each.op, each.name
        if op is None:
            return
        found = list(of_layer(name, op.check_fields()))
        if sources is not None:
            place = "op" if each.sources is None else FROM
            miscounted = list(of_layer(name, _check_count(op, sources, place)))
            known = all(source in self._shapes for source in sources)
            if known and not miscounted:
                xs = tuple(self._shapes[source] for source in sources)
                if shape := self._output(name, op, xs):
                    self._shapes[name] = shape
                    found += of_layer(name, op.check(*xs))
                    if not found:
                        above = self._comments.get((LAYERS, name), ())
                        self._nodes.append(Node(name, op, sources, xs, shape, above))
            found += miscounted
        self._problems.add(*found)

    def _output(self, name: str, op: Op, xs: tuple[Shape, ...]) -> Shape | None:
        """Return the shape of a layer's output, if there is one."""
        try:
            shape = op.output(*xs)
        except Refusal as refusal:
            self._problems.add(*of_layer(name, [refusal.diagnostic]))
            return None
        tensors = {"the output": shape} | {
            f"the {leaf}": whole for leaf, whole in op.parameters(*xs).items()
        }
        if found := list(of_layer(name, _too_large(tensors, ()))):
            self._problems.add(*found)
            return None
        return shape


def _check_count(op: Op, sources: tuple[str, ...], key: str) -> Iterator[Diagnostic]:
    """An op reads as many inputs as it is made for."""
    least, most = getattr(op, "inputs", (1, 1))
    if len(sources) < least:
        message = f"{op.op} reads at least {least} inputs, not {len(sources)}"
        help = "name them in a list: from: [NAME, NAME]"
        yield Diagnostic("bad-from", message, (key,), help=help)
    elif most is not None and len(sources) > most:
        inputs = "one input" if most == 1 else f"at most {most} inputs"
        message = f"{op.op} reads {inputs}, not {len(sources)}"
        help = "first join them in a layer such as {op: add, from: [NAME, NAME]}"
        yield Diagnostic("bad-from", message, (key,), help=help)


def _too_large(tensors: Mapping[str, Shape], path: Path) -> Iterator[Diagnostic]:
    for what, shape in tensors.items():
        if volume(shape) > MOST_VALUES:
            size = " x ".join(map(str, shape))
            message = f"{what}, {size}, has more than {MOST_VALUES} values"
            yield Diagnostic("out-of-range", message, path, help=LIMIT_HELP)


def of_layer(name: str, found: Iterable[Diagnostic]) -> Iterator[Diagnostic]:
    """Name the layer, and complete the paths."""
    for problem in found:
        path = (LAYERS, name, *(problem.path or ()))
        yield replace(problem, message=f"{name}: {problem.message}", path=path)
