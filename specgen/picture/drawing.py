"""Draws a plan: one lane a device, one column a stage, exchanges across the lanes.

Every column has its place by its number alone, and holds coordinates relative to it, so
that a change of one layer moves little.
"""

from __future__ import annotations

from collections.abc import Collection, Iterator, Sequence

from specgen.graph import INPUT
from specgen.picture.arrows import brackets, image, incoming, leaving
from specgen.picture.geometry import (
    FOOTER,
    HEAD,
    IMAGE_X,
    LABELS,
    LEFT,
    MARGIN,
    PITCH,
    RIGHT,
    ROOM,
    TITLE,
    WIDTH,
    Row,
    in_rows,
)
from specgen.picture.stages import MOST_COLUMNS, Stage, arriving
from specgen.picture.style import MARKERS, STYLE
from specgen.picture.words import cut, lines, number, shown, text
from specgen.plan import DevicePlan, LayerPlan, Plan, images
from specgen.schema import readable
from specgen.tables import dimensions

HEAD_ROOM = 80  # for the words of a lane
MOST_LINES = 6  # of the words of a column
SQUEEZED = 1.2  # how much longer than its room a name may be before it is cut


def draw(plan: Plan, marked: Collection[str] = ()) -> str:
    """Return the network as an SVG file, 1,000 pixels wide.

    The columns of `marked` layers stand out.
    """
    rows = in_rows(plan)
    height = TITLE + sum(row.height for row in rows) + FOOTER
    devices = {device.name: device for device in plan.devices}
    body: list[str] = [*_title(plan)]
    y: float = TITLE
    for row in rows:
        body.append(f'<g transform="translate(0 {number(y)})">')
        for name in row.devices:
            body += _lane(row, name, devices.pop(name, None))
        if row.columns.start == 0:
            body += _image(plan, row)
        for column in row.columns:
            body += _column(row, column, marked)
        body += [*leaving(row), *brackets(row), "</g>"]
        y += row.height
    body += _footer(plan, y, rows)
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


def _lane(row: Row, name: str, device: DevicePlan | None) -> Iterator[str]:
    """A lane and its words; memory only in the first row that has it."""
    yield (
        f'<rect class="lane" x="{LEFT}" y="{number(row.top(name))}"'
        f' width="{RIGHT - LEFT}" height="{number(row.lane)}" rx="6"/>'
    )
    y = row.blocks(name) + 8
    for line in lines([name], HEAD_ROOM, 12, 2, bold=True):
        yield text(line, HEAD, y, "b d", size=12)
        y += 13
    if device:
        yield "".join(_memory(device, row.middle(name) + 17))


def _memory(device: DevicePlan, y: float) -> Iterator[str]:
    """What training takes; one line of the file, as all of it changes together."""
    held, budget = device.memory.training, device.memory.budget
    yield text(readable(held), HEAD, y, "d", room=HEAD_ROOM)
    if not budget:
        return
    yield text(f"of {readable(budget)}", HEAD, y + 13, "d", room=HEAD_ROOM)
    bar, part = f'x="{HEAD}" y="{number(y + 20)}" height="8" rx="2"', held / budget
    yield f'<rect class="budget" width="50" {bar}/>'
    filled = 50 * min(1, max(0.02, part))
    over = device.memory.over
    yield f'<rect class="{"over" if over else "held"}" width="{number(filled)}" {bar}/>'
    yield text(f"{part:.0%}", HEAD + 56, y + 28, "xt" if over else "d")


def _image(plan: Plan, row: Row) -> Iterator[str]:
    """The image, left of the lanes."""
    block, middle = image(row)
    yield f'<g transform="translate({number(IMAGE_X)} {number(middle)})">'
    yield from block.draw(0)
    below = block.height / 2 + 17
    yield text(INPUT, 0, below, "m b", size=12)
    for line in lines(dimensions(plan.input_shape).split(), 2 * IMAGE_X - 6, 10, 2):
        below += 13
        yield text(line, 0, below, "m", size=10)
    yield "</g>"


def _column(row: Row, column: int, marked: Collection[str]) -> Iterator[str]:
    """One stage: its block in each lane, what comes in, and its words."""
    stage = row.stages[column]
    yield f'<g transform="translate({number(row.x(column))} 0)">'
    yield f"<title>{shown(_details(stage))}</title>"
    if not stage.names.isdisjoint(marked):
        height = number(row.lanes + LABELS - 10)
        yield (
            f'<rect class="mark" x="{-PITCH / 2 + 2:g}" width="{PITCH - 4}" y="4"'
            f' height="{height}" rx="6"/>'
        )
    for device in stage.devices:
        yield from row.block(column).draw(row.middle(device))
    yield from incoming(row, column)
    for device in stage.devices:
        y = row.blocks(device) + row.tallest + 14
        yield text(dimensions(stage.shape), 0, y, "m", room=ROOM)
        if fetched := arriving(stage.exchanges, device):
            yield text(fetched, 0, y + 14, "m xt", room=ROOM)
    yield from _labels(stage, row.lanes + 18)
    yield "</g>"


def _labels(stage: Stage, y: float) -> Iterator[str]:
    """The layers of a column, below the lanes."""
    head, *others = stage.layers
    title = lines([head.name], SQUEEZED * ROOM, 12, 3, bold=True)
    left = MOST_LINES - len(title)
    words = lines([head.op, *_window(head)], ROOM, 10, min(3, left - bool(others)))
    names = [_within(layer, head.name) for layer in others]
    names = [*(f"{name}," for name in names[:-1]), *names[-1:]]
    words += lines(names, ROOM, 10, left - len(words))
    for line in title:
        yield text(line, 0, y, "m b", size=12, room=ROOM)
        y += 13
    for line in words:
        yield text(line, 0, y, "m d", size=10)
        y += 13


def _within(layer: LayerPlan, head: str) -> str:
    """A path without what it shares with that of its column; an op for a number."""
    rest = layer.name.removeprefix(f"{head.rpartition('.')[0]}.")
    return layer.op if rest.isdecimal() else rest


def _window(layer: LayerPlan) -> list[str]:
    """The kernel of a layer and its stride, if it has them."""
    window = layer.window
    if window is None:
        return []
    kernel = dimensions(window.kernel_size)
    if window.stride == (1, 1):
        return [kernel]
    height, width = window.stride
    stride = f"{height}" if height == width else dimensions(window.stride)
    return [kernel, f"stride {stride}"]


def _details(stage: Stage) -> str:
    """What the pointer shows: each layer with its shape and its cost."""
    said = []
    for layer in stage.layers:
        op = " ".join((layer.op, ", ".join(_window(layer)))).strip()
        costs = [f"{layer.name}: {op}, {dimensions(layer.output_shape)}"]
        if layer.parameters:
            costs.append(f"{layer.parameters:,} parameters")
        if layer.macs:
            costs.append(f"{layer.macs:,} multiply-accumulates")
        said.append(", ".join(costs))
    return "; ".join(said)


def _footer(plan: Plan, y: float, rows: Sequence[Row]) -> Iterator[str]:
    said = ["Sizes of blocks, each one device's share, are to a logarithmic scale."]
    if plan.traffic:
        said.append("Red: what comes from other devices, for one image, forward.")
    if any(way.again for row in rows for way in row.ways):
        said.append("Dashed: copied before.")
    yield text(" ".join(said), MARGIN, y + 14, "d")
    memory = f"Memory of a device: what training takes, {images(plan)} at once."
    if any(stage.repeated for stage in rows[0].stages):
        memory += " x 2: equal blocks, of which the first is drawn."
    if len(rows[0].stages) == MOST_COLUMNS:
        memory += (
            f" Only {MOST_COLUMNS} columns are drawn; specgen show has all layers."
        )
    yield text(memory, MARGIN, y + 30, "d")
