"""The commands that print what is known of a spec before anything runs."""

from __future__ import annotations

import argparse
import json
import os
import sys

from specgen.backends import report
from specgen.compiler import Unfinished, compile_file
from specgen.frontend.elaborate import Draft
from specgen.graph import PlacedGraph
from specgen.plan import make_plan


def show(options: argparse.Namespace) -> int:
    """Print the plan, or the spec itself; of a wrong spec, what is sound of it."""
    as_text = options.format == "text"
    whole = options.resolved or options.origins
    try:
        program = compile_file(options.spec, options.set, options.root)
    except Unfinished as error:
        if as_text and not whole and error.draft:
            _show_sound_part(error.draft, error.placed, options.batch_size)
        raise
    if whole:
        from specgen.frontend.resolved import resolved

        print(resolved(program.spec, program.source, origins=options.origins), end="")
        return 0
    plan = make_plan(program.spec, program.placed, options.batch_size)
    if as_text:
        print(report.table(plan, details=options.batch_size is not None))
    else:
        print(json.dumps(plan.as_json(), indent=2))
    return 0


def _show_sound_part(
    draft: Draft, placed: PlacedGraph | None, images: int | None
) -> None:
    """Print what is known of a spec that is wrong; the errors come after it."""
    if placed and draft.whole:  # only its parts do not go together: over budget
        plan = make_plan(draft.spec(), placed, images)
        print(report.table(plan, details=images is not None), end="\n\n")
    elif draft.graph and draft.graph.nodes:
        print(report.beginning(draft.graph, list(draft.layers)), end="\n\n")
    sys.stdout.flush()


def diff(options: argparse.Namespace) -> int:
    """Print what differs; 1 if that reaches the tier of --fail-on."""
    from specgen.diff import Tier, compare
    from specgen.diff.revision import compile_all

    other = options.spec if options.other is None else options.other
    specs = (options.spec, ()), (other, options.set)
    found = compare(*compile_all(specs, options.root))
    if options.format == "json":
        print(json.dumps(found.as_json(), indent=2))
    elif options.format == "markdown":
        from specgen.diff.markdown import markdown

        print(markdown(found))
    else:
        from specgen.diff.text import text

        print(text(found, color=_colored()))
    limit = Tier[options.fail_on.upper()] if options.fail_on else None
    return 1 if limit is not None and found.tier >= limit else 0


def _colored() -> bool:
    """Whether stdout wants color: see https://no-color.org."""
    plain = os.environ.get("NO_COLOR") or os.environ.get("TERM") == "dumb"
    return sys.stdout.isatty() and not plain
