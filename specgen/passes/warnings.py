"""What is valid in a network but probably a mistake."""

from __future__ import annotations

from collections.abc import Iterator
from math import gcd

from specgen.diagnostics import Diagnostic, Path
from specgen.graph import Graph, Node, PlacedGraph
from specgen.ops.base import Window
from specgen.ops.conv import Conv2d
from specgen.ops.start import GAINS, name
from specgen.ops.upsampling import ConvTranspose2d
from specgen.ops.weighted import DEFAULT_START, Weighted
from specgen.spec import Spec
from specgen.spec.data import Data

# Pixels vary by about 64 around their mean; it is the default of a spec's `std`.
PIXELS = 64
# Inputs this many times as large as kaiming_normal expects: a learning rate of 0.01
# then diverges.
LARGE = 8
# A row or two at the edge is common: a window of 3 reads 5 of 6 rows in steps of 2.
MOST_UNREAD = 1 / 5


def find(spec: Spec, graph: Graph, placed: PlacedGraph) -> Iterator[Diagnostic]:
    """Yield the warnings about a sound spec, by path."""
    for node in graph.nodes:
        if window := node.applied.window:
            yield from _unread(node, window)
    yield from _last_dropout(graph)
    yield from _groups(placed)
    _, height, width = graph.input_shape
    yield from _small_crops(spec.data, height, width)
    yield from _large_values(spec, graph)
    yield from _biases(graph)
    yield from _partial_statistics(spec, graph)


def _warning(
    code: str, message: str, *path: str, help: str, causes: tuple[Path, ...] = ()
) -> Diagnostic:
    place: Path = path
    return Diagnostic(code, message, place, help=help, warning=True, causes=causes)


def _unread(node: Node, window: Window) -> Iterator[Diagnostic]:
    """Rows and columns between windows, and beyond the last one."""
    if window.transposed or window.kernel_size == (1, 1):
        return  # it skips nothing, or is made to take every second value
    found: dict[str, list[str]] = {}
    for axis, what in enumerate(("rows", "columns")):
        length, count = node.x[1 + axis], node.shape[1 + axis]
        unread = length - count_read(window, axis, length, count)
        if unread >= MOST_UNREAD * length:
            found.setdefault(f"{unread} of {length}", []).append(what)
    if found:
        which = " and ".join(f"{n} {' and '.join(lines)}" for n, lines in found.items())
        key = "stride" if "stride" in node.op.model_fields_set else "kernel_size"
        dilated = " or dilation" if window.dilation != (1, 1) else ""
        yield _warning(
            "unread-values",
            f"{node.name}: no window reads {which}",
            *("layers", node.name, key),
            help=f"use a smaller stride{dilated}, or padding at the bottom and right",
        )


def count_read(window: Window, axis: int, length: int, count: int) -> int:
    """Return how many of `length` rows, or columns, `count` windows read."""
    size, dilation = window.kernel_size[axis], window.dilation[axis]
    start, step = -window.padding[2 * axis], window.stride[axis]
    # Rows of a window that read in the same places, one window later or earlier. There
    # are no gaps between their places, unless there are few windows.
    common = gcd(step, dilation)
    same = step // common if dilation // common <= count else size
    read = bytearray(length)
    for first in range(min(size, same)):
        last = first + (size - 1 - first) // same * same
        low, high = start + first * dilation, start + last * dilation
        low = low if low >= 0 else low % step
        end = min(high + (count - 1) * step + 1, length)
        if low < end:
            read[low:end:step] = b"\1" * len(range(low, end, step))
    return read.count(1)


def _last_dropout(graph: Graph) -> Iterator[Diagnostic]:
    nodes = graph.nodes[:-1] if graph.has_probabilities else graph.nodes
    last = nodes[-1]
    if last.op.training_only:
        yield _warning(
            "last-dropout",
            f"{last.name}: dropout on the logits distorts the loss",
            *("layers", last.name, "op"),
            help="move it before the last linear layer",
        )


def _groups(placed: PlacedGraph) -> Iterator[Diagnostic]:
    """Groups are independent of each other, so devices that split them can be, too."""
    for layer in placed.layers:
        op = layer.node.op
        groups = op.groups if isinstance(op, Conv2d | ConvTranspose2d) else 1
        devices = {share.device for share in layer.shares}
        moved = [(piece, move) for move in layer.moves for piece in move.pieces]
        crossing = {p.device for p, move in moved if p.device not in ("", move.device)}
        if groups > 1 and len(devices) > 1 and crossing == devices:
            count = len(devices)
            if groups % count:
                help = f"with {count} groups, each device would have its own"
            else:
                help = "list the devices in the order of the previous layer"
            yield _warning(
                "groups-across-devices",
                f"{layer.node.name}: its {groups} groups are split over {count}"
                " devices, but these still read from each other",
                *("layers", layer.node.name, "groups"),
                help=help,
            )


def _small_crops(data: Data, height: int, width: int) -> Iterator[Diagnostic]:
    size = data.size
    if size and size > 2 * max(height, width):
        share = height * width / size**2
        crops = f"{height} x {width}"
        yield _warning(
            "small-crops",
            f"crops of {crops} show {share:.1%} of an image of {size} x {size}",
            *("data", "size"),
            help=f"{Data().side(height, width)} is usual for an input of {crops}",
        )


def _biases(graph: Graph) -> Iterator[Diagnostic]:
    """A batch norm subtracts the mean of a channel, and what was added to all of it."""
    readers = graph.readers()
    nodes = {node.name: node for node in graph.nodes}
    for node in graph.nodes:
        after = [nodes[name] for name in readers[node.name]]
        norms = [reader for reader in after if reader.applied.least_images]
        biased = isinstance(node.op, Weighted) and node.op.bias
        if biased and norms and len(norms) == len(after):
            key = "bias" if "bias" in node.op.model_fields_set else "op"
            yield _warning(
                "bias-before-norm",
                f"{node.name}: its bias has no effect:"
                f" {norms[0].name} subtracts the mean",
                *("layers", node.name, key),
                help="write bias: false",
                causes=(("layers", norms[0].name),),
            )


def _partial_statistics(spec: Spec, graph: Graph) -> Iterator[Diagnostic]:
    norms = [node.name for node in graph.nodes if node.applied.least_images]
    passes, size = spec.training.accumulate, spec.training.batch_size
    if norms and passes > 1:
        more = f" and {len(norms) - 1} more" if norms[1:] else ""
        yield _warning(
            "partial-statistics",
            f"{norms[0]}{more}: means and variances are those of {-(-size // passes)}"
            f" images, not of all {size} of a step",
            *("training", "accumulate"),
            help="a smaller batch_size without accumulate gives the same statistics",
        )


def _large_values(spec: Spec, graph: Graph) -> Iterator[Diagnostic]:
    first = next((n for n in graph.nodes if isinstance(n.op, Weighted)), None)
    if first is None or PIXELS / spec.data.std < LARGE:
        return
    assert isinstance(first.op, Weighted)
    if not first.op.spec_init:
        return
    rules = DEFAULT_START | spec.init.given() | first.op.init.given()
    rule = name(rules["weight"])
    if rule in GAINS:
        yield _warning(
            "large-values",
            f"{first.name}: {rule} expects values around 1, and pixels divided"
            f" by {spec.data.std:g} are larger",
            *("data", "std"),
            help=f"{PIXELS} brings them to about 1; without it, training may diverge",
        )
