"""What a page shows, as plain cells, with differences from the other side marked."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from specgen.backends.recipe import recipe, said
from specgen.backends.report import from_cells, traffic_rows
from specgen.compiler import Program
from specgen.diagnostics import printable
from specgen.plan import DevicePlan, Plan, field_cell, window_cells
from specgen.schema import readable
from specgen.tables import dimensions, ranges


@dataclass(frozen=True, slots=True)
class Cell:
    """Words, and whether the other side has different ones in their place."""

    words: str
    differs: bool = False


@dataclass(frozen=True, slots=True)
class Row:
    """Cells; `alone` if the other side has no such row. `layer` is what it is for."""

    cells: tuple[Cell, ...]
    alone: bool = False
    layer: str = ""


@dataclass(frozen=True, slots=True)
class Part:
    """What takes a share of a device's memory: in percent of the bar's length."""

    name: str
    size: str
    percent: float


@dataclass(frozen=True, slots=True)
class Bar:
    """A device's memory in training; a budget, if there is one, is the whole length.

    If that is not enough, the length is what training takes, and `over` is true.
    """

    device: str
    size: str
    budget: str
    over: bool
    parts: tuple[Part, ...]


# Rows by what they are about, for the other side to find.
Rows = Mapping[str, Sequence[str]]


def layers(plan: Plan) -> dict[str, list[str]]:
    """Return the row of each layer; its last cell is what it reads, in branches."""
    devices = [device.name for device in plan.devices]
    _, sources = from_cells(plan.layers)
    return {
        layer.name: [
            layer.name,
            layer.op,
            *window_cells(layer),
            dimensions(layer.output_shape),
            field_cell(layer),
            *(f"{n:,}" if n else "" for n in (layer.parameters, layer.macs)),
            " ".join(ranges(layer.devices, devices)),
            *(source or [""]),
        ]
        for layer, source in zip(plan.layers, sources, strict=True)
    }


def devices(plan: Plan) -> dict[str, list[str]]:
    """Return the row of each device."""
    return {
        device.name: [
            device.name,
            f"{device.parameters:,}",
            *map(readable, (device.memory.inference, device.memory.training)),
            readable(device.memory.budget) if device.memory.budget else "",
            f"{device.memory.most_images:,}" if device.memory.budget else "",
        ]
        for device in plan.devices
    }


def traffic(plan: Plan) -> dict[str, list[str]]:
    """Return what is copied between devices, by the layer that it is copied for."""
    if not plan.traffic:
        return {}
    _, *rows, _ = filter(None, traffic_rows(plan, details=True))
    found, layer = {}, ""
    for before, *cells in rows:
        layer = before or layer
        found[f"{layer} {cells[0]} {cells[1]}"] = [layer, *cells]
    return found


def settings(program: Program) -> dict[str, list[str]]:
    """Return the recipe, each value with its source."""
    found = recipe(program.spec, program.source)
    return {setting.path: [printable(words) for words in setting] for setting in found}


def notes(program: Program) -> dict[str, list[str]]:
    """Return the spec's other comments."""
    found = said(program.spec, program.source)
    return {name: [printable(name), printable(words)] for name, words in found}


def bars(plan: Plan) -> list[Bar]:
    """Return the memory of each device, on one scale if none has a budget."""
    most = max(device.memory.training for device in plan.devices)
    return [_bar(device, device.memory.budget or most) for device in plan.devices]


def _bar(device: DevicePlan, whole: int) -> Bar:
    held = device.memory
    whole = max(whole, held.training)
    parts = {
        "weights": held.weights,
        "gradients": held.gradients,
        "optimizer": held.optimizer,
        "activations": held.activations_training,
    }
    return Bar(
        device.name,
        readable(held.training),
        f" of {readable(held.budget)}" if held.budget else "",
        held.over,
        tuple(
            Part(name, readable(size), round(100 * size / whole, 2))
            for name, size in parts.items()
        ),
    )


def compared(
    rows: Rows,
    others: Rows | None,
    names: Mapping[str, str] | None = None,
    *,
    of_layers: bool = False,
) -> list[Row]:
    """Mark what differs from the rows of the other side.

    `names` has the other side's names, where they differ; without another side, nothing
    is marked.
    """
    found = []
    for name, cells in rows.items():
        other = cells if others is None else others.get((names or {}).get(name, name))
        marks = [False] * len(cells)
        if other is not None:
            marks = [a != b for a, b in zip(cells, other, strict=True)]
        found.append(
            Row(
                tuple(map(Cell, cells, marks)),
                alone=other is None,
                layer=name if of_layers else "",
            )
        )
    return found
