"""Layers one by one, each with its inputs and its shape."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import replace

from specgen.diagnostics import LIMIT_HELP, Diagnostic, Path, Problems
from specgen.graph import INPUT, Graph, Node, Scope
from specgen.ops.applied import Applied
from specgen.ops.base import Op, Refusal, Shape, volume
from specgen.spec import Input
from specgen.spec.entries import FROM

LAYERS = "layers"
Shapes = tuple[Shape, ...]
UNKNOWN = ""  # what a layer reads if that is wrong
MOST_NAMED = 3  # layers in an error, besides the first
# Values in one tensor, of one image: 4 TiB. With a batch, bytes still fit in 64 bits.
MOST_VALUES = 2**40
NONE: Mapping[str, str] = {}


class Layers:
    """Layers in order: `ops` by name, None where one is wrong, and what each `reads`.

    `shapes` has those of the values that are known, `order` all names.
    """

    def __init__(self, size: Input | None, problems: Problems) -> None:
        self.ops: dict[str, Op | None] = {}
        self.reads: dict[str, tuple[str, ...]] = {}
        self.shapes: dict[str, Shape] = {}
        self.order: list[str] = []
        self._nodes: list[Node] = []
        # Sound layers, by op and shapes. What is equal may be written differently, so
        # an op counts as itself.
        self._sound: dict[tuple[int, Shapes | None], Applied] = {}
        self._problems = problems
        if size:
            image = (size.channels, size.height, size.width)
            found = list(_too_large({"the input": image}, ("input",)))
            problems.add(*found)
            self.shapes = {} if found else {INPUT: image}

    def graph(self, scopes: Iterable[Scope]) -> Graph | None:
        """Return the layers that are sound; without an image there are none."""
        image = self.shapes.get(INPUT)
        return Graph(image, tuple(self._nodes), tuple(scopes)) if image else None

    def read_from(self, full: str, start: int, first: str) -> tuple[str, ...]:
        """Return the values from outside that the layers of a group read.

        They are those from index `start` on; `first` is what the group reads.
        """
        found: dict[str, None] = {}
        for name in self.order[start:]:
            for read in self.reads[name]:
                if not read.startswith(f"{full}.") and read != UNKNOWN:
                    found[read] = None
        rest = [name for name in found if name != first]
        return (first, *rest) if first in found else tuple(rest)

    def add(
        self,
        name: str,
        op: Op | None,
        reads: tuple[str, ...],
        comments: tuple[str, ...] = (),
        formulas: Mapping[str, str] = NONE,
        *,
        named: bool = False,
    ) -> None:
        """Add a layer; `named` says that the spec names what it reads."""
        self.ops[name], self.reads[name] = op, reads
        self.order.append(name)
        if op is None:
            return
        xs = None
        if all(read in self.shapes for read in reads):
            xs = tuple(self.shapes[read] for read in reads)
        applied = self._sound.get((id(op), xs))
        if applied is None:
            applied = self._check(name, op, reads, xs, named=named)
        if applied:
            self._sound[id(op), xs] = applied
            self.shapes[name] = applied.output
            self._nodes.append(Node(name, applied, reads, comments, formulas))

    def _check(
        self,
        name: str,
        op: Op,
        reads: tuple[str, ...],
        xs: Shapes | None,
        *,
        named: bool,
    ) -> Applied | None:
        """Say what is wrong with a layer; if nothing is, return what it is."""
        found = list(op.check_fields())
        miscounted: list[Diagnostic] = []
        if UNKNOWN not in reads:
            miscounted += _check_count(op, len(reads), FROM if named else "op")
        applied = None
        if xs is not None and not miscounted:
            applied = Applied(op, xs)
            if self._has_output(name, applied, reads):
                self.shapes[name] = applied.output
                found += op.check(*xs)
            else:
                applied = None
        self._problems.add(*_of_layer(name, [*found, *miscounted]))
        return None if found else applied

    def _has_output(self, name: str, applied: Applied, reads: tuple[str, ...]) -> bool:
        """Tell whether a layer has an output; say why if it has none."""
        try:
            shape = applied.output
        except Refusal as refusal:
            refused = refusal.diagnostic
            if len(reads) > 1:
                listed = _listed(reads, applied.input_shapes)
                refused = replace(refused, message=f"{refused.message}, but {listed}")
            self._problems.add(*_of_layer(name, [refused]))
            return False
        tensors = {"the output": shape} | {
            f"the {leaf}": own.shape for leaf, own in applied.tensors.items()
        }
        found = list(_of_layer(name, _too_large(tensors, ())))
        self._problems.add(*found)
        return not found


def _listed(reads: Iterable[str], xs: Iterable[Shape]) -> str:
    """Name each layer with its shape; of many, those that differ from the first."""
    shapes = dict(zip(reads, xs, strict=True))
    first = next(iter(shapes.values()))
    others = [name for name, shape in shapes.items() if shape != first]
    named = [next(iter(shapes)), *others[:MOST_NAMED]]
    return " and ".join(f"{name} is {shapes[name]}" for name in named)


def _check_count(op: Op, count: int, key: str) -> Iterator[Diagnostic]:
    """An op reads as many inputs as it is made for."""
    least, most = op.inputs
    if count < least:
        message = f"{op.op} reads at least {least} inputs, not {count}"
        help = "name them in a list: from: [NAME, NAME]"
        yield Diagnostic("bad-from", message, (key,), help=help)
    elif most is not None and count > most:
        inputs = "one input" if most == 1 else f"at most {most} inputs"
        message = f"{op.op} reads {inputs}, not {count}"
        help = "first join them in a layer such as {op: add, from: [NAME, NAME]}"
        yield Diagnostic("bad-from", message, (key,), help=help)


def _too_large(tensors: Mapping[str, Shape], path: Path) -> Iterator[Diagnostic]:
    for what, shape in tensors.items():
        if volume(shape) > MOST_VALUES:
            size = " x ".join(map(str, shape))
            message = f"{what}, {size}, has more than {MOST_VALUES} values"
            yield Diagnostic("out-of-range", message, path, help=LIMIT_HELP)


def _of_layer(name: str, found: Iterable[Diagnostic]) -> Iterator[Diagnostic]:
    """Name the layer, and complete the paths."""
    for problem in found:
        path = (LAYERS, name, *(problem.path or ()))
        yield replace(problem, message=f"{name}: {problem.message}", path=path)
