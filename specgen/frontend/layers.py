"""Layers one by one, each with its inputs and its shape."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import replace

from specgen.diagnostics import LIMIT_HELP, Diagnostic, Path, Problems
from specgen.graph import INPUT, Graph, Node, Scope
from specgen.ops.base import Op, Refusal, Shape, volume
from specgen.spec import Input
from specgen.spec.entries import FROM

LAYERS = "layers"
UNKNOWN = ""  # what a layer reads if that is wrong
MOST_NAMED = 3  # layers in an error, besides the first
# Values in one tensor, of one image: 4 TiB. With a batch, bytes still fit in 64 bits.
MOST_VALUES = 2**40


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

    def add(
        self,
        name: str,
        op: Op | None,
        reads: tuple[str, ...],
        comments: tuple[str, ...] = (),
        *,
        named: bool = False,
    ) -> None:
        """Add a layer; `named` says that the spec names what it reads."""
        self.ops[name], self.reads[name] = op, reads
        self.order.append(name)
        if op is None:
            return
        found = list(op.check_fields())
        miscounted: list[Diagnostic] = []
        if UNKNOWN not in reads:
            miscounted += _check_count(op, len(reads), FROM if named else "op")
        if not miscounted and all(read in self.shapes for read in reads):
            xs = tuple(self.shapes[read] for read in reads)
            if shape := self._output(name, op, reads, xs):
                self.shapes[name] = shape
                found += op.check(*xs)
                if not found:
                    self._nodes.append(Node(name, op, reads, xs, shape, comments))
        self._problems.add(*_of_layer(name, [*found, *miscounted]))

    def _output(
        self, name: str, op: Op, reads: tuple[str, ...], xs: tuple[Shape, ...]
    ) -> Shape | None:
        """Return the shape of a layer's output, if there is one."""
        try:
            shape = op.output(*xs)
        except Refusal as refusal:
            refused = refusal.diagnostic
            if len(reads) > 1:
                message = f"{refused.message}, but {_listed(reads, xs)}"
                refused = replace(refused, message=message)
            self._problems.add(*_of_layer(name, [refused]))
            return None
        tensors = {"the output": shape} | {
            f"the {leaf}": whole for leaf, whole in op.shapes(*xs).items()
        }
        if found := list(_of_layer(name, _too_large(tensors, ()))):
            self._problems.add(*found)
            return None
        return shape


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
