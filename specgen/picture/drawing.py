"""Draws a plan: a lane per device, a column per stage, exchanges across the lanes.

A column's place depends on its number alone, and its coordinates are relative to that,
so that changing one layer moves little.
"""

from __future__ import annotations

from collections.abc import Collection, Iterator
from statistics import fmean

from specgen.graph import INPUT
from specgen.picture.geometry import (
    FIRST,
    FOOTER,
    HEADER,
    LABELS,
    LEFT,
    MARGIN,
    PITCH,
    RIGHT,
    ROOM,
    TITLE,
    WIDTH,
    Block,
    Row,
    in_rows,
)
from specgen.picture.stages import Stage, all_to_all, arriving
from specgen.picture.style import MARKERS, STYLE
from specgen.picture.words import cut, lines, number, shown, text
from specgen.plan import DevicePlan, LayerPlan, Plan, images
from specgen.schema import readable
from specgen.tables import dimensions

MOST_CURVES = 6  # of an exchange; more become one line that all share


def draw(plan: Plan, marked: Collection[str] = ()) -> str:
    """Return the network as an SVG file, 1,000 pixels wide.

    The columns of `marked` layers stand out.
    """
    rows = in_rows(plan)
    height = TITLE + sum(row.lanes + LABELS for row in rows) + FOOTER
    devices = {device.name: device for device in plan.devices}
    body: list[str] = [*_title(plan)]
    y: float = TITLE
    for index, row in enumerate(rows):
        body.append(f'<g transform="translate(0 {number(y)})">')
        for name in row.devices:
            body += _lane(row, name)
        if index == 0:
            body += _image(plan, row)
        before = row.before
        for column, stage in enumerate(row.stages):
            body += _column(row, before, stage, column, marked)
            before = stage
        if index < len(rows) - 1:
            body += _leaving(row)
        for name in row.devices:
            body += _header(row, name, devices.pop(name, None))
        body.append("</g>")
        y += row.lanes + LABELS
    body += _footer(plan, y)
    size = f'width="{WIDTH}" height="{number(height)}"'
    return "\n".join(
        (
            f'<svg xmlns="http://www.w3.org/2000/svg" {size}'
            f' viewBox="0 0 {WIDTH} {number(height)}" font-size="11"'
            ' font-family="system-ui, -apple-system, Segoe UI, Helvetica, Arial,'
            ' sans-serif">',
            f"<style>\n{STYLE}\n</style>",
            MARKERS,
            f'<rect class="page" {size}/>',
            *body,
            "</svg>\n",
        )
    )


def _title(plan: Plan) -> Iterator[str]:
    name = cut(plan.name, 400, 16, bold=True)
    yield f'<text class="b" x="{MARGIN}" y="27" font-size="16">{shown(name)}</text>'
    costs = [
        f"{plan.parameters:,} parameters",
        f"{plan.macs:,} multiply-accumulates per image",
    ]
    if plan.traffic:
        crossing = sum(edge.bytes_per_image for edge in plan.traffic)
        costs.append(f"{crossing:,} bytes per image between devices")
    yield text(", ".join(costs), MARGIN, 46, "d")


def _lane(row: Row, name: str) -> Iterator[str]:
    yield (
        f'<rect class="lane" x="{LEFT}" y="{number(row.top(name))}"'
        f' width="{RIGHT - LEFT}" height="{number(row.lane)}" rx="6"/>'
    )


def _header(row: Row, name: str, device: DevicePlan | None) -> Iterator[str]:
    """The words of a lane, above all lines; memory in the first row that has it."""
    y = row.top(name)
    words = cut(name, 500, 12, bold=True)
    yield text(words, LEFT + 10, y + 17, "b d h", size=12)
    if not device:
        return
    right = RIGHT - 10
    held, budget = device.memory.training, device.memory.budget
    if not budget:
        yield text(readable(held), right, y + 17, "d e h")
        return
    left, bar = right - 120, f'y="{number(y + 9)}" height="8" rx="2"'
    part = number(max(1, 120 * held / budget))
    yield f'<rect class="bar" x="{left}" width="120" {bar}/>'
    yield f'<rect class="held" x="{left}" width="{part}" {bar}/>'
    said = f"{readable(held)} of {readable(budget)}, {held / budget:.0%}"
    yield text(said, left - 8, y + 17, "d e h")


def _image(plan: Plan, row: Row) -> Iterator[str]:
    """The image, left of the lanes, and its paths to the devices that read it."""
    block = Block(plan.input_shape, row.tallest, image=True)
    first = row.stages[0]
    middle = fmean(map(row.middle, first.devices))
    x = LEFT / 2
    yield f'<g transform="translate({number(x)} {number(middle)})">'
    yield from block.draw(0)
    below = block.height / 2 + 17
    yield text(INPUT, 0, below, "m b", size=12)
    for line in lines(dimensions(plan.input_shape).split(), 2 * x - 12, 11, 2):
        below += 14
        yield text(line, 0, below, "m")
    for device in first.devices:
        end = FIRST - x - row.block(first).half - 3
        path = _curve(block.half + 3, 0, end, row.middle(device) - middle)
        yield f'<path class="a" marker-end="url(#ah)" d="{path}"/>'
    yield "</g>"


def _column(
    row: Row, before: Stage | None, stage: Stage, column: int, marked: Collection[str]
) -> Iterator[str]:
    """One stage: its block in each lane, what comes in, and its words."""
    names = [layer.name for layer in stage.layers]
    x = FIRST + column * PITCH
    yield f'<g transform="translate({x} 0)">'
    yield f"<title>{shown(_details(stage))}</title>"
    if not {*names}.isdisjoint(marked):
        height = number(row.lanes + LABELS - 10)
        yield (
            f'<rect class="mark" x="{-PITCH / 2 + 2:g}" width="{PITCH - 4}" y="4"'
            f' height="{height}" rx="6"/>'
        )
    block = row.block(stage)
    for device in stage.devices:
        yield from block.draw(row.middle(device))
    if before:
        yield from _incoming(row, before, stage, first=column == 0)
    for device in stage.devices:
        y = row.top(device) + HEADER + row.tallest + 14
        yield text(dimensions(stage.shape), 0, y, "m h", room=ROOM)
        if fetched := arriving(stage.exchanges, device):
            yield text(fetched, 0, y + 14, "m xt h", room=ROOM)
    yield from _labels(stage, row.lanes + 18)
    yield "</g>"


def _incoming(row: Row, before: Stage, stage: Stage, *, first: bool) -> Iterator[str]:
    """What a stage reads: along its lanes, and from other lanes in red."""
    origin, block = row.block(before), row.block(stage)
    start = LEFT - FIRST if first else origin.half + 2 - PITCH
    end = -block.half - 3
    for device in stage.head.local:
        y = number(row.middle(device))
        line = f"M{number(start)} {y}H{number(end)}"
        yield f'<path class="a" marker-end="url(#ah)" d="{line}"/>'
    if len(stage.exchanges) > MOST_CURVES and all_to_all(stage.exchanges):
        yield from _bus(row, before, stage, start, end)
        return
    for edge in stage.exchanges:
        source, target = row.middle(edge.source), row.middle(edge.target)
        down = 1 if target > source else -1
        source += down * origin.beside(9)
        target -= down * block.beside(9)
        path = _curve(start, source, end, target)
        yield f'<path class="x" marker-end="url(#xh)" d="{path}"/>'


def _bus(
    row: Row, before: Stage, stage: Stage, start: float, end: float
) -> Iterator[str]:
    """One line that all devices write to, above their middle, and read from, below."""
    sources = {edge.source for edge in stage.exchanges}
    targets = {edge.target for edge in stage.exchanges}
    above, below = row.block(before).beside(6), row.block(stage).beside(6)
    out = [row.middle(device) - above for device in row.devices if device in sources]
    into = [row.middle(device) + below for device in row.devices if device in targets]
    x = number((start + end) / 2)
    ends = (number(f([*out, *into])) for f in (min, max))
    yield f'<path class="x" d="M{x} {"V".join(ends)}"/>'
    for y in map(number, out):
        yield f'<path class="x" d="M{number(start)} {y}H{x}"/>'
    for y in map(number, into):
        line = f"M{x} {y}H{number(end)}"
        yield f'<path class="x" marker-end="url(#xh)" d="{line}"/>'


def _leaving(row: Row) -> Iterator[str]:
    """Lines from the last column to the end of the lanes; the next row continues."""
    last = row.stages[-1]
    start = FIRST + (len(row.stages) - 1) * PITCH + row.block(last).half + 2
    for device in last.devices:
        y = number(row.middle(device))
        yield f'<path class="a" d="M{number(start)} {y}H{RIGHT}"/>'


def _curve(x: float, y: float, end: float, target: float) -> str:
    """A path that leaves and arrives horizontally, and is steep between columns."""
    bend = 0.85 * (end - x)
    points = (x, y), (x + bend, y), (end - bend, target), (end, target)
    start, *others = (f"{number(x)} {number(y)}" for x, y in points)
    return f"M{start}C{' '.join(others)}"


def _labels(stage: Stage, y: float) -> Iterator[str]:
    """The layers of a column, below the lanes."""
    head, *others = stage.layers
    name = cut(head.name, ROOM, 12, bold=True)
    yield text(name, 0, y, "m b", size=12)
    first = lines(_op(head), ROOM, 11, 2)
    names = [f"{layer.name}," for layer in others[:-1]]
    names += [layer.name for layer in others[-1:]]
    rest = lines(names, ROOM, 11, 4 - len(first))
    for line in (*first, *rest):
        y += 14
        yield text(line, 0, y, "m d")


def _op(layer: LayerPlan) -> list[str]:
    """What a layer does, and with which kernel, in unbreakable pieces."""
    window = layer.window
    if window is None:
        return [layer.op]
    kernel = dimensions(window.kernel_size)
    if window.stride == (1, 1):
        return [layer.op, kernel]
    height, width = window.stride
    stride = f"{height}" if height == width else dimensions(window.stride)
    return [layer.op, f"{kernel},", f"stride {stride}"]


def _details(stage: Stage) -> str:
    """What the pointer shows: each layer with its shape and its cost."""
    said = []
    for layer in stage.layers:
        costs = [
            f"{layer.name}: {' '.join(_op(layer))}, {dimensions(layer.output_shape)}"
        ]
        if layer.parameters:
            costs.append(f"{layer.parameters:,} parameters")
        if layer.macs:
            costs.append(f"{layer.macs:,} multiply-accumulates")
        said.append(", ".join(costs))
    return "; ".join(said)


def _footer(plan: Plan, y: float) -> Iterator[str]:
    said = ["Block sizes, each one device's share, are on a logarithmic scale."]
    if plan.traffic:
        said.append("Red: what comes from other devices, for one image, in float32.")
    yield text(" ".join(said), MARGIN, y + 14, "d")
    memory = f"Device memory: what training takes for {images(plan)} at once."
    yield text(memory, MARGIN, y + 30, "d")
