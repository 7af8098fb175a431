"""The plan as tables for people: what `specgen show` prints.

Everything fits in 80 columns unless a spec has very long names: columns are closer to
each other where they must be, and what a layer reads can be below it.
"""

from __future__ import annotations

import textwrap
from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from itertools import compress, groupby

from specgen.backends.outline import outline
from specgen.backends.prose import printable
from specgen.graph import INPUT, Graph, around
from specgen.ops.base import Shape
from specgen.passes.receptive_field import fields
from specgen.picture.folding import repeats
from specgen.plan import (
    DevicePlan,
    LayerPlan,
    Plan,
    field_cell,
    fitting,
    images,
    plan_layer,
    precision,
    window_cells,
)
from specgen.schema import readable, some
from specgen.spec.data import Data
from specgen.spec.training import (
    CosineSchedule,
    PlateauSchedule,
    StepSchedule,
    Training,
)
from specgen.tables import Row, aligned, dimensions, ranges, with_share

WIDTH = 80
NONE: Mapping[str, str] = {}
SEES = "sees"  # the head of receptive fields


def table(plan: Plan, *, details: bool = False) -> str:
    """Return the plan as tables, without a newline at the end.

    With `details`, memory is listed by its use, and the traffic of a training step
    next to that of the forward pass.
    """
    title = ": ".join(filter(None, (plan.name, printable(plan.summary))))
    title = "\n".join(textwrap.wrap(title, WIDTH))
    devices = [device.name for device in plan.devices]
    runs, again = _equal(plan)
    paragraphs = [
        title,
        _layers(plan.layers, plan.input_shape, runs, again),
        _costs(plan.layers, devices, runs, again),
        _devices(plan),
    ]
    if details:
        paragraphs.append(_memories(plan))
    paragraphs[-1] += f"\n{_images(plan, details=details)}"
    if plan.traffic:
        paragraphs.append(_traffic(plan, details=details))
    paragraphs.append("\n".join(_recipe(plan.data, plan.training, plan.input_shape)))
    return "\n\n".join(paragraphs)


def _equal(plan: Plan) -> tuple[dict[str, str], set[str]]:
    """Return first and last of equal blocks, and the layers of all but the first."""
    found = repeats(plan)
    again = {name for _, *others in found for block in others for name in block.names}
    return {run[0].path: run[-1].path for run in found}, again


def beginning(graph: Graph, names: Sequence[str]) -> str:
    """Return tables of the layers that are known before the first that is not.

    `names` has those of all layers. Devices are not shown, since nothing was placed.
    """
    seen = fields(graph)
    known = [
        plan_layer(node, seen.get(node.name))
        for node, name in zip(graph.nodes, names, strict=False)
        if node.name == name
    ]
    paragraphs = [_layers(known, graph.input_shape)]
    whole = len(known) == len(names)
    if any(layer.parameters or layer.macs for layer in known):
        paragraphs.append(_costs(known, (), whole=whole))
    if not whole:
        after = f"after {known[-1].name} " if known else ""
        paragraphs.append(f"What comes {after}is not known.")
    return "\n\n".join(paragraphs)


def _layers(
    layers: Sequence[LayerPlan],
    input_shape: Shape,
    runs: Mapping[str, str] = NONE,
    again: Collection[str] = (),
) -> str:
    """A row for each layer but those `again`; a column without anything is left out.

    If there is no room, what a layer reads is below it, and receptive fields are left
    out.
    """
    more, sources = from_cells(layers)
    windows = ("kernel", "stride", "padding", "groups")
    rows = [
        ("layer", "op", *windows, "output", SEES, *more),
        (INPUT, *[""] * 5, dimensions(input_shape), "", *("" for _ in more)),
    ]
    sizes = {layer.name: field_cell(layer) for layer in layers}
    for layer, source in zip(layers, sources, strict=True):
        if layer.name in again:
            continue
        cells = (*window_cells(layer), dimensions(layer.output_shape))
        sees = _from_first_to_last(layer.name, sizes, runs)
        rows.append((layer.name, layer.op, *cells, sees, *source))
    used = [any(cells) for cells in zip(*rows[1:], strict=True)]
    blind = [have and head != SEES for have, head in zip(used, rows[0], strict=True)]
    shown = ""
    for columns in (used, blind):
        for below, most in ((False, None), (bool(more), None), (bool(more), WIDTH)):
            shown = _layer_table(rows, columns, runs, below=below, most=most)
            if max(map(len, shown.splitlines())) <= WIDTH:
                return shown
    return shown


def _from_first_to_last(
    name: str, sizes: Mapping[str, str], runs: Mapping[str, str]
) -> str:
    """Return the receptive fields of a layer in equal blocks, which widen them."""
    first = next((path for path in around(name) if path in runs), name)
    narrowest = sizes[name]
    widest = sizes[runs.get(first, first) + name.removeprefix(first)]
    return narrowest if widest == narrowest else f"{narrowest}..{widest}"


def _layer_table(
    rows: Sequence[Sequence[str]],
    used: Sequence[bool],
    runs: Mapping[str, str],
    *,
    below: bool,
    most: int | None,
) -> str:
    """The columns that are used; the last one in lines below if that is asked for."""
    columns = [*used[:-1], used[-1] and not below]
    head, first, *others = [tuple(compress(row, columns)) for row in rows]
    sources = {row[0]: row[-1] for row in rows[2:]} if below else {}
    table: list[Row] = [head, None, first]
    for row, name in _outlined(others, runs):
        table.append(row)
        if source := sources.get(name):
            indent = " " * (len(row[0]) - len(row[0].lstrip()) + 2)
            lines = textwrap.wrap(
                f"from {source}",
                WIDTH,
                initial_indent=indent,
                subsequent_indent=f"{indent}  ",
                break_long_words=False,
                break_on_hyphens=False,
            )
            table += ([line] for line in lines)
    return aligned(table, "".join(compress("<<>>>>>><", columns)), most)


def _outlined(
    rows: Iterable[Sequence[str]], runs: Mapping[str, str]
) -> Iterator[tuple[Sequence[str], str]]:
    """Yield the rows of layers, their names as an outline, each with the name."""
    by_name = {name: row for name, *row in rows}
    for text, name in outline(by_name, runs):
        yield [text, *by_name[name]] if name else [text], name


def from_cells(layers: Sequence[LayerPlan]) -> tuple[list[str], list[list[str]]]:
    """Return a column of what each layer reads, with its head, if it is needed.

    Like the spec's `from`: nothing for the layer before, and names without the path
    that they share with the reader's.
    """
    cells, before = [], INPUT
    for layer in layers:
        path = f"{layer.name.rpartition('.')[0]}."
        names = [name.removeprefix(path) for name in layer.inputs]
        cells.append(", ".join(names) if layer.inputs != (before,) else "")
        before = layer.name
    return (
        (["from"], [[cell] for cell in cells])
        if any(cells)
        else ([], [[] for _ in cells])
    )


def _costs(
    layers: Sequence[LayerPlan],
    devices: Sequence[str],
    runs: Mapping[str, str] = NONE,
    again: Collection[str] = (),
    *,
    whole: bool = True,
) -> str:
    """A row for each layer but those `again` that costs something.

    The total is that of all, and so are shares, unless this is not the whole network.
    """
    parameters = sum(layer.parameters for layer in layers)
    macs = sum(layer.macs for layer in layers)
    used = (True, True, whole, True, whole, bool(devices))
    heads = ("layer", "parameters", "", "MACs", "", "devices")
    rows = []
    for layer in layers:
        if layer.name not in again and (layer.parameters or layer.macs):
            learned = with_share(layer.parameters, parameters)
            work = with_share(layer.macs, macs)
            on = " ".join(ranges(layer.devices, devices))
            rows.append(tuple(compress((layer.name, *learned, *work, on), used)))
    total = ("total" if whole else "so far", f"{parameters:,}", "", f"{macs:,}", "", "")
    head, last = (tuple(compress(row, used)) for row in (heads, total))
    lines = (row for row, _ in _outlined(rows, runs))
    table: list[Row] = [head, None, *lines, None, last]
    return aligned(table, "".join(compress("<>>>><", used)), WIDTH)


def _devices(plan: Plan) -> str:
    limited = any(device.memory.budget for device in plan.devices)
    heads = ("device", "layers", "parameters", "", "training", "of budget", "")
    width = 7 if limited else 5
    rows = [heads[:width]]
    order = [layer.name for layer in plan.layers]
    for device in plan.devices:
        held = device.memory
        on = [layer.name for layer in plan.layers if device.name in layer.devices]
        row = [device.name, ", ".join(ranges(on, order))]
        row += with_share(device.parameters, plan.parameters)
        row.append(readable(held.training))
        if held.budget:
            row += [readable(held.budget), with_share(held.training, held.budget)[1]]
        rows.append((*row, *[""] * (width - len(row))))
    head, *others = rows
    whole = aligned([head, None, *others], "<<>>>>>"[:width], WIDTH)
    if max(map(len, whole.splitlines())) <= WIDTH:
        return whole
    narrow: list[Row] = [(head[0], *head[2:]), None]
    for name, layers, *figures in others:
        lines = textwrap.wrap(layers, WIDTH - 2, break_on_hyphens=False)
        narrow += [(name, *figures), *([f"  {line}"] for line in lines)]
    return aligned(narrow, "<>>>>>"[: width - 1], WIDTH)


def _memories(plan: Plan) -> str:
    """Memory by use; the table of devices has the total of training."""
    measured = any(device.memory.buffers for device in plan.devices)
    buffers = ("buffers",) if measured else ()
    heads = ("gradients", "optimizer", "activations", "inference")
    rows: list[Row] = [("memory", "weights", *buffers, *heads), None]

    def sizes(device: DevicePlan) -> Iterator[str]:
        held = device.memory
        yield readable(held.weights)
        if measured:
            yield readable(held.buffers)
        yield readable(held.gradients)
        yield readable(held.optimizer)
        yield readable(held.activations_training)
        yield readable(held.inference)

    rows += [(device.name, *sizes(device)) for device in plan.devices]
    return aligned(rows, "<>>>>>>"[: 7 if measured else 6], WIDTH)


def _images(plan: Plan, *, details: bool) -> str:
    """What the memory figures are for."""
    note = f"For {images(plan)} at once"
    if plan.training.half:
        note += "; training keeps activations, and a copy of the weights, in bfloat16."
        inference = " Inference takes weights and the largest activations, in float32."
    else:
        note += ", in float32."
        inference = " Inference takes weights and the largest activations."
    lines = textwrap.wrap(note + inference * details, WIDTH)
    return "\n".join([*lines, *textwrap.wrap(fitting(plan), WIDTH)])


def traffic_rows(plan: Plan, *, details: bool) -> list[Row]:
    """Return a table of what crosses devices, with its header and total.

    Edges that carry the same amount from one device to several share a line. With
    `details`, there is also a column for the bytes of a training step.
    """
    devices = [device.name for device in plan.devices]
    heads = ["bytes per image", "bytes per step"][: 1 + details]
    rows: list[Row] = [("before", "from", "to", *heads), None]
    above = ""
    for (before, source, *counts), group in groupby(
        plan.traffic,
        lambda edge: (
            edge.before,
            edge.source,
            *(edge.bytes_per_image, edge.bytes_per_step)[: 1 + details],
        ),
    ):
        to = [edge.target for edge in group]
        times = f"{len(to)} x " if len(to) > 1 else ""
        numbers = [f"{times}{count:,}" for count in counts]
        layer = before if before != above else ""
        rows.append((layer, source, " ".join(ranges(to, devices)), *numbers))
        above = before
    totals = [sum(edge.bytes_per_image for edge in plan.traffic)]
    totals.append(sum(edge.bytes_per_step for edge in plan.traffic))
    shown = [f"{total:,}" for total in totals[: 1 + details]]
    return [*rows, None, ("total", "", "", *shown)]


def _traffic(plan: Plan, *, details: bool) -> str:
    note = f"The images are on {plan.devices[0].name} at first."
    if details:
        note += (
            f" Per image: forward; per step: forward and backward, {images(plan)};"
            f" {precision(plan)}."
        )
    else:
        note += (
            f" Forward pass, {precision(plan)}; the backward pass moves as much again,"
            " except for the images."
        )
    lines = textwrap.wrap(note, WIDTH)
    rows = traffic_rows(plan, details=details)
    return "\n".join([aligned(rows, "<<<>" + ">" * details, WIDTH), *lines])


def _recipe(data: Data, training: Training, input_shape: Sequence[int]) -> list[str]:
    """The recipe in three lines: data, training, and the learning rate."""
    _, height, width = input_shape
    sees = [f"size {data.side(height, width)}, crops of {height} x {width}"]
    sees += ["flip"] if data.flip else []
    sees += [f"color noise {data.color_noise:g}"] if data.color_noise else []
    sees += [f"std {data.std:g}"] if data.std != 1 else []

    sgd = training.optimizer
    steps = [some(training.epochs, "epoch"), f"batch {training.batch_size}"]
    if training.accumulate > 1:
        steps[-1] += f" in {training.accumulate} passes"
    steps += ["SGD", f"momentum {sgd.momentum:g}"]
    if sgd.weight_decay:
        steps.append(f"weight decay {sgd.weight_decay:g}")
        spared = {"biases": sgd.decay_biases, "norms": sgd.decay_norms}
        names = " and ".join(name for name, decays in spared.items() if not decays)
        where = "weights only" if names == "biases" else f"not on {names}"
        steps[-1] += f" ({where})" if names else ""
    if training.label_smoothing:
        steps.append(f"label smoothing {training.label_smoothing:g}")
    if training.clip_grad_norm:
        steps.append(f"gradients clipped at {training.clip_grad_norm:g}")
    steps += [training.precision] if training.half else []
    lines = {"data": sees, "training": steps, "rate": _rate(training)}
    return [
        "\n".join(
            textwrap.wrap(
                f"{name:10}{', '.join(texts)}", WIDTH, subsequent_indent=" " * 10
            )
        )
        for name, texts in lines.items()
    ]


def _rate(training: Training) -> Iterator[str]:
    sgd, schedule = training.optimizer, training.schedule
    yield f"{sgd.lr:g}"
    if training.warmup_epochs:
        epochs = f"{training.warmup_epochs:g}"
        plural = "" if epochs == "1" else "s"
        yield f"after a warm-up from 0 over {epochs} epoch{plural}"
    match schedule:
        case None:
            yield "constant"
        case StepSchedule():
            epochs = ", ".join(map(str, schedule.epochs))
            yield f"times {schedule.factor:g} after epochs {epochs}"
        case PlateauSchedule():
            stalled = f"{some(schedule.patience, 'epoch')} without a new best"
            yield f"times {schedule.factor:g} after {stalled}"
            yield f"at most {some(schedule.drops, 'time')}"
        case CosineSchedule():
            yield f"half a cosine down to {schedule.final_lr:g}"
    multipliers = sgd.lr_multipliers
    for what, times in (("weights", multipliers.weight), ("biases", multipliers.bias)):
        if times != 1:
            yield f"times {times:g} for {what}"
