"""Makes the page: one file that asks for nothing and runs only its own script."""

from __future__ import annotations

from base64 import b64encode
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from hashlib import sha256

from jinja2 import Environment, FileSystemLoader, StrictUndefined

from specgen import templates
from specgen.compiler import Program
from specgen.diagnostics import printable
from specgen.diff import Difference, compare
from specgen.diff.match import match
from specgen.diff.text import checkpoint_lines, figure_rows, value
from specgen.diff.tiers import MEANING
from specgen.page import views
from specgen.page.views import Bar, Row
from specgen.picture import draw
from specgen.plan import Plan, images, make_plan


@dataclass(frozen=True, slots=True)
class Table:
    """A table of one side; columns go left (<) or right (>), or break lines (w)."""

    title: str
    heads: Sequence[str]
    sides: str
    rows: Sequence[Row]


@dataclass(frozen=True, slots=True)
class Side:
    """One network."""

    stem: str
    name: str
    words: Sequence[str]
    figures: Sequence[tuple[str, str]]
    picture: str  # an SVG
    bars: Sequence[Bar]
    tables: Sequence[Table]


def page(program: Program, other: Program | None = None) -> str:
    """Return the page of a network, or of two with what differs marked."""
    environment = Environment(
        loader=FileSystemLoader(templates.folder()),
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
        keep_trailing_newline=True,
        autoescape=True,
    )
    script = environment.get_template("_report.js.j2").render()
    # A browser runs no other script, whatever a spec says.
    digest = b64encode(sha256(script.encode()).digest()).decode()
    difference = compare(program, other) if other else None
    return environment.get_template("report.html.j2").render(
        title=" and ".join(p.stem for p in (program, other) if p),
        digest=digest,
        script=script,
        sides=_sides(program, other),
        heading="h2" if other else "h1",
        classes={"<": "l", ">": "r", "w": "why"},
        difference=difference,
        meaning=MEANING[difference.tier] if difference else "",
        changes=_changes(difference) if difference else [],
        figures=_figures(difference) if difference else [],
        checkpoint=_checkpoint(difference) if difference else [],
    )


def _sides(program: Program, other: Program | None) -> list[Side]:
    plan = make_plan(program.spec, program.placed)
    if other is None:
        return [_side(program, plan, None, None, {})]
    plans = plan, make_plan(other.spec, other.placed)
    pairs = match(program.graph, other.graph).pairs
    back = {new: old for old, new in pairs.items()}
    return [
        _side(program, plans[0], other, plans[1], pairs),
        _side(other, plans[1], program, plans[0], back),
    ]


def _side(
    program: Program,
    plan: Plan,
    other: Program | None,
    other_plan: Plan | None,
    names: Mapping[str, str],
) -> Side:
    layers = views.compared(
        views.layers(plan),
        views.layers(other_plan) if other_plan else None,
        # A layer without a pair has none, also if the other side has one of its name.
        {layer.name: names.get(layer.name, "") for layer in plan.layers},
        of_layers=True,
    )
    marked = {
        row.layers for row in layers if row.alone or any(c.differs for c in row.cells)
    }
    windows = ("kernel", "stride", "padding", "groups")
    heads = ("layer", "op", *windows, "output", "parameters", "MACs", "devices")
    tables = [Table("Layers", heads, "<<>>>>>>><", layers)]

    def add(
        title: str,
        heads: Sequence[str],
        sides: str,
        rows: views.Rows,
        others: views.Rows | None,
    ) -> None:
        if rows:
            compared = views.compared(rows, others, {}, of_layers=False)
            tables.append(Table(title, heads, sides, compared))

    add(
        f"Memory for {images(plan)} at once",
        ("device", "parameters", "inference", "training", "budget"),
        "<>>>>",
        views.devices(plan),
        views.devices(other_plan) if other_plan else None,
    )
    if plan.traffic:
        add(
            "Between devices",
            ("before", "from", "to", "bytes an image", "bytes a step"),
            "<<<>>",
            views.traffic(plan),
            views.traffic(other_plan)
            if other_plan and other_plan.traffic
            else ({} if other_plan else None),
        )
    add(
        "Recipe",
        ("setting", "value", "why"),
        "<>w",
        views.settings(program),
        views.settings(other) if other else None,
    )
    add(
        "Notes",
        ("on", "comment of the spec"),
        "<w",
        views.notes(program),
        views.notes(other) if other else None,
    )
    crossing = sum(edge.bytes_per_image for edge in plan.traffic)
    return Side(
        program.stem,
        plan.name,
        [printable(words) for words in (program.spec.summary, program.spec.reference)],
        [
            ("parameters", f"{plan.parameters:,}"),
            ("multiply-accumulates an image", f"{plan.macs:,}"),
            ("bytes an image between devices", f"{crossing:,}"),
        ],
        draw(plan, marked),
        views.bars(plan),
        tables,
    )


def _changes(difference: Difference) -> list[Sequence[str]]:
    return [
        (
            printable(change.path),
            *("" if v is None else value(v) for v in (change.before, change.after)),
            str(change.tier),
            printable(change.place),
        )
        for change in sorted(difference.changes, key=lambda change: -change.tier)
    ]


def _figures(difference: Difference) -> list[Sequence[str]]:
    return [
        (f"{device}, {what}" if device else what, *cells)
        for device, what, *cells in figure_rows(difference)
    ]


def _checkpoint(difference: Difference) -> list[str]:
    if difference.checkpoint.fits or not difference.changes:
        return []
    return checkpoint_lines(difference)
