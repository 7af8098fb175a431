"""`specgen show`: print the plan, layer by layer."""

from __future__ import annotations

import argparse
import json

from specgen.cli import arguments


def add(command: argparse.ArgumentParser) -> None:
    """Declare the arguments."""
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
    """Print the plan, or the spec as it is after merging."""
    from specgen.backends import report
    from specgen.compiler import compile_file
    from specgen.plan import make_plan

    program = compile_file(options.spec, options.set, options.root)
    if options.resolved or options.origins:
        from specgen.frontend.resolved import resolved

        print(resolved(program.spec, program.source, origins=options.origins), end="")
        return 0
    plan = make_plan(program.spec, program.placed, options.batch_size)
    if options.format == "json":
        print(json.dumps(plan.as_json(), indent=2))
    else:
        print(report.table(plan, details=options.batch_size is not None))
    return 0


def _images(text: str) -> int:
    from specgen.passes.memory import MOST_IMAGES

    if text.isdecimal() and len(text) < 8 and 1 <= int(text) <= MOST_IMAGES:
        return int(text)
    raise argparse.ArgumentTypeError(
        f"{text[:30]!r} is not a whole number from 1 to {MOST_IMAGES}"
    )
