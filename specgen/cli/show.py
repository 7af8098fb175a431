"""`specgen show`: print the plan, layer by layer."""

from __future__ import annotations

import argparse
import json
import sys
from typing import TYPE_CHECKING

from specgen.cli import arguments

if TYPE_CHECKING:
    from specgen.compiler import Unfinished


def add(command: argparse.ArgumentParser) -> None:
    """Declare the arguments."""
    command.set_defaults(fail=command.error)
    arguments.spec(command)
    arguments.form(command)
    command.add_argument(
        "--batch-size",
        type=_images,
        metavar="N",
        help="show memory and traffic in detail, for so many images at once",
    )

    command.add_argument(
        "--resolved",
        action="store_true",
        help="print the spec instead: merged, and with its defaults, as YAML",
    )
    command.add_argument(
        "--origins",
        action="store_true",
        help="the same, and behind each value the line, or the option, it comes from",
    )


def run(options: argparse.Namespace) -> int:
    """Print the plan, or the spec itself; of a wrong spec, what is sound of it."""
    as_text, whole = options.format == "text", options.resolved or options.origins
    details = options.batch_size is not None
    if whole and (not as_text or details):
        options.fail("--resolved and --origins print the spec, and nothing of the plan")
    from specgen.backends import report
    from specgen.compiler import Unfinished, compile_file
    from specgen.plan import make_plan

    try:
        program = compile_file(options.spec, options.set, options.root)
    except Unfinished as error:
        if as_text and not whole:
            _show_sound_part(error, options.batch_size)
        raise
    if whole:
        from specgen.frontend.resolved import resolved

        print(resolved(program.spec, program.source, origins=options.origins), end="")
        return 0
    plan = make_plan(program.spec, program.placed, options.batch_size)
    if as_text:
        print(report.table(plan, details=details))
    else:
        print(json.dumps(plan.as_json(), indent=2))
    return 0


def _show_sound_part(error: Unfinished, images: int | None) -> None:
    """Print what is known of a spec that is wrong; the errors come after it."""
    from specgen.backends import report
    from specgen.plan import make_plan

    draft, placed = error.draft, error.placed
    if draft and placed and draft.whole:  # only its parts do not go together
        plan = make_plan(draft.spec(), placed, images)
        print(report.table(plan, details=images is not None), end="\n\n")
    elif draft and draft.graph and draft.graph.nodes:
        print(report.beginning(draft.graph, list(draft.layers)), end="\n\n")
    sys.stdout.flush()


def _images(text: str) -> int:
    from specgen.passes.memory import MOST_IMAGES

    if text.isdecimal() and len(text) < 8 and 1 <= int(text) <= MOST_IMAGES:
        return int(text)
    raise argparse.ArgumentTypeError(
        f"{text[:30]!r} is not a whole number from 1 to {MOST_IMAGES}"
    )
