"""Makes the page: one file that requests nothing and runs only its own script."""

from __future__ import annotations

from base64 import b64encode
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from hashlib import sha256
from itertools import compress
from typing import Any

from specgen import templates
from specgen.backends.report import SEES
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

# A browser requests nothing and runs no other script, whatever a spec says.
POLICY = "default-src 'none'; style-src 'unsafe-inline'; script-src"
FIRST_TABLE = 4  # below the words, the picture, and the bars
CLASSES = {"<": "l", ">": "r", "w": "why"}  # of cells, by the sides of their column


@dataclass(frozen=True, slots=True)
class Network:
    """A compiled spec, with the name that the user knows it by."""

    name: str
    program: Program
    plan: Plan


@dataclass(frozen=True, slots=True)
class Table:
    """A table of one side; columns go left (<) or right (>), or break lines (w).

    Tables of the same `row` stand side by side.
    """

    row: int
    title: str
    heads: Sequence[str]
    sides: str
    rows: Sequence[Row]


@dataclass(frozen=True, slots=True)
class Side:
    """One network."""

    name: str
    title: str
    words: Sequence[str]
    figures: Sequence[tuple[str, str]]
    picture: str  # an SVG
    bars: Sequence[Bar]
    tables: Sequence[Table]


def page(name: str, program: Program, other: tuple[str, Program] | None = None) -> str:
    """Return the page of a network, or of two with the differences marked.

    Each has a name: its file, or whatever else tells them apart.
    """
    environment = templates.environment(escape=True)
    script = environment.get_template("_report.js.j2").render()
    first = network(name, program)
    second = network(*other) if other else None
    difference = compare(program, second.program) if second else None
    return environment.get_template("report.html.j2").render(
        policy=f"{POLICY} {hashed(script)}",
        script=script,
        names=[each.name for each in (first, second) if each],
        sides=sides(first, second),
        heading="h2" if second else "h1",
        classes=CLASSES,
        **said_of(difference),
    )


def hashed(script: str) -> str:
    """Return the source of a policy that lets a browser run this script only."""
    return f"'sha256-{b64encode(sha256(script.encode()).digest()).decode()}'"


def said_of(difference: Difference | None) -> dict[str, Any]:
    """Return what the templates say about a difference."""
    return {
        "difference": difference,
        "meaning": MEANING[difference.tier] if difference else "",
        "changes": _changes(difference) if difference else [],
        "figures": _figures(difference) if difference else [],
        "checkpoint": _checkpoint(difference) if difference else [],
    }


def network(name: str, program: Program) -> Network:
    """Plan a compiled spec; the name is escaped."""
    return Network(printable(name), program, make_plan(program.spec, program.placed))


def sides(first: Network, second: Network | None) -> list[Side]:
    """Show one network, or two with the differences marked."""
    if second is None:
        return [_side(first, None, {})]
    pairs = match(first.program.graph, second.program.graph).pairs
    back = {new: old for old, new in pairs.items()}
    return [_side(first, second, pairs), _side(second, first, back)]


def _side(here: Network, there: Network | None, names: Mapping[str, str]) -> Side:
    """Show one network; `names` are those of the other's layers by its own."""
    program, plan = here.program, here.plan
    layers = _layers(here, there, names)
    marked = [
        row.layer
        for row in layers.rows
        if row.alone or any(cell.differs for cell in row.cells)
    ]
    crossing = sum(edge.bytes_per_image for edge in plan.traffic)
    return Side(
        here.name,
        plan.name,
        [printable(words) for words in (program.spec.summary, program.spec.reference)],
        [
            ("parameters", f"{plan.parameters:,}"),
            ("multiply-accumulates per image", f"{plan.macs:,}"),
            *([("bytes per image between devices", f"{crossing:,}")] * bool(crossing)),
        ],
        draw(plan, marked),
        views.bars(plan),
        [layers, *_tables(here, there)],
    )


def _layers(here: Network, there: Network | None, names: Mapping[str, str]) -> Table:
    rows = views.layers(here.plan)
    others = views.layers(there.plan) if there else None
    # A layer without a pair has none, also if the other side has one of its name.
    pairs = {name: names.get(name, "") for name in rows}
    windows = ("kernel", "stride", "padding", "groups")
    heads = ["layer", "op", *windows, "output", SEES, "parameters", "MACs"]
    heads += ["devices", "from"]
    compared = views.compared(rows, others, pairs, of_layers=True)
    used = _used(rows, others)
    return _table(FIRST_TABLE, "Layers", heads, "<<>>>>>>>><<", compared, used)


def _used(rows: views.Rows, others: views.Rows | None) -> list[bool]:
    """Tell which columns have something in them, on this side or on the other."""
    cells = [*rows.values(), *(others or {}).values()]
    return [any(column) for column in zip(*cells, strict=True)]


def _table(
    row: int,
    title: str,
    heads: Sequence[str],
    sides: str,
    rows: Sequence[Row],
    used: Sequence[bool],
) -> Table:
    """Return a table of the columns that are used."""
    rows = [replace(each, cells=tuple(compress(each.cells, used))) for each in rows]
    sides = "".join(compress(sides, used))
    return Table(row, title, list(compress(heads, used)), sides, rows)


def _tables(here: Network, there: Network | None) -> Iterator[Table]:
    """Yield the other tables that have something in them."""
    memory = ("device", "parameters", "inference", "training", "budget", "most images")
    traffic = ("before", "from", "to", "bytes per image", "bytes per step")
    kinds: tuple[tuple[str, Sequence[str], str, Callable[[Network], views.Rows]], ...]
    kinds = (
        (
            f"Memory for {images(here.plan)} at once",
            memory,
            "<>>>>>",
            lambda network: views.devices(network.plan),
        ),
        (
            "Between devices",
            traffic,
            "<<<>>",
            lambda network: views.traffic(network.plan),
        ),
        (
            "Recipe",
            ("setting", "value", "why"),
            "<>w",
            lambda network: views.settings(network.program),
        ),
        (
            "Notes",
            ("on", "comment in the spec"),
            "<w",
            lambda network: views.notes(network.program),
        ),
    )
    for row, (title, heads, sides, view) in enumerate(kinds, FIRST_TABLE + 1):
        if rows := view(here):
            others = view(there) if there else None
            compared, used = views.compared(rows, others), _used(rows, others)
            yield _table(row, title, heads, sides, compared, used)


def _changes(difference: Difference) -> list[Sequence[str]]:
    return [
        (
            printable(change.path),
            *("" if v is None else value(v) for v in (change.before, change.after)),
            str(change.tier),
            printable(change.place),
        )
        for change in difference.grouped()
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
