"""Variants as CSV (RFC 4180, but lines end in a newline), for spreadsheets."""

from __future__ import annotations

import csv
import io
from collections.abc import Iterable, Sequence

from specgen.diagnostics import printable
from specgen.variants.variant import Variant

Cell = str | int | float | None

FORMULA = ("=", "+", "-", "@")  # with these a spreadsheet begins a formula


def table(variants: Sequence[Variant]) -> str:
    """Return a row of heads and one for each variant.

    The heads of figures in bytes say so. A text that a spreadsheet would take for a
    formula begins with an apostrophe. What is unknown is empty.
    """
    paths = list(variants[0].swept)
    devices = dict.fromkeys(
        device.name for v in variants if v.sound for device in v.sound.plan.devices
    )
    heads = ["name", "spec", *paths, "parameters", "macs", "images"]
    heads += [
        f"{kind}_bytes.{d}" for d in devices for kind in ("training", "inference")
    ]
    heads += ["traffic_bytes_per_image", "channels", "height", "width"]
    heads += ["receptive_field_height", "receptive_field_width", "error"]
    out = io.StringIO()
    writer = csv.writer(out, lineterminator="\n")
    writer.writerow(map(_safe, heads))
    for variant in variants:
        row: list[Cell] = [variant.name, variant.spec]
        row += [_value(variant, path) for path in paths]
        row += _figures(variant, devices)
        row += [None] * (len(heads) - 1 - len(row))
        row.append("; ".join(variant.reasons))
        writer.writerow(map(_safe, row))
    return out.getvalue()


def _value(variant: Variant, path: str) -> Cell:
    """Return a number as such, any other value as it was written."""
    value = variant.changes[path]
    is_number = isinstance(value, int | float) and not isinstance(value, bool)
    return value if is_number else variant.swept[path]


def _figures(variant: Variant, devices: Iterable[str]) -> list[Cell]:
    if not variant.sound:
        return []
    plan, last = variant.sound.plan, variant.sound.last
    held = {device.name: device.memory for device in plan.devices}
    row: list[Cell] = [plan.parameters, plan.macs, plan.images]
    for name in devices:
        memory = held.get(name)
        row += [memory.training, memory.inference] if memory else [None, None]
    return [*row, variant.sound.traffic, *last.shape, *last.field]


def _safe(cell: Cell) -> Cell:
    if not isinstance(cell, str):
        return cell
    return f"'{printable(cell)}" if cell.startswith(FORMULA) else printable(cell)
