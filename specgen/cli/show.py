"""`specgen show`: print the plan, layer by layer."""

from __future__ import annotations

import argparse
from typing import TYPE_CHECKING

from specgen.cli import arguments
from specgen.cli.terminal import print_json, print_text

if TYPE_CHECKING:
    from specgen.compiler import Program, Unfinished
    from specgen.diagnostics import Diagnostic

EXAMPLES = (
    ("show net.yaml", "layers, memory, work, recipe"),
    ("show net.yaml --batch-size 512", "larger batches, in detail"),
    ("show net.yaml --resolved", "the spec with its defaults"),
    ("show - --name net.yaml < draft", "a spec that is not saved yet"),
)


def add(command: argparse.ArgumentParser) -> None:
    """Declare the arguments."""
    arguments.specs(command)
    arguments.form(command)
    arguments.batch_size(command, "show memory and traffic in detail,")
    command.add_argument(
        "--resolved",
        action="store_true",
        help="print the merged spec with its defaults, as YAML, instead",
    )
    command.add_argument(
        "--origins",
        action="store_true",
        help="the same, with the line or option that each value comes from",
    )


def run(options: argparse.Namespace) -> int:
    """Print the plan, or the spec itself; for a wrong spec, its sound parts."""
    as_text, whole = options.format == "text", options.resolved or options.origins
    details = options.batch_size is not None
    if whole and (not as_text or details):
        options.fail("--resolved and --origins print only the spec, not the plan")
    from specgen.compiler import Unfinished, compile_file
    from specgen.diagnostics import SpecError

    specs, texts = arguments.given(options)
    programs, shown = {}, {}
    problems: dict[Diagnostic, None] = {}
    for spec in specs:
        try:
            programs[str(spec)] = program = compile_file(
                spec, options.set, options.root, texts.get(spec), options.batch_size
            )
            if as_text:
                shown[str(spec)] = _text(program, options)
        except SpecError as error:
            problems |= dict.fromkeys(error.diagnostics)
            if isinstance(error, Unfinished) and as_text and not whole:
                shown[str(spec)] = _sound_part(error, options.batch_size)
    shown = {spec: text for spec, text in shown.items() if text}
    try:
        print_text(shown)
        print(end="\n" if shown and problems else "", flush=True)
    finally:
        if problems:  # which counts more than that nobody reads
            raise SpecError(problems)
    arguments.warn(options, programs.values())
    if not as_text:
        from specgen.plan import make_plan

        print_json(
            {
                spec: make_plan(p.spec, p.placed, options.batch_size).as_json()
                for spec, p in programs.items()
            }
        )
    return 0


def _text(program: Program, options: argparse.Namespace) -> str:
    """Return the tables, or the spec as it is after merging."""
    if options.resolved or options.origins:
        from specgen.frontend.resolved import resolved

        text = resolved(program.spec, program.source, origins=options.origins)
        return text.rstrip("\n")
    from specgen.backends import report
    from specgen.plan import make_plan

    images: int | None = options.batch_size
    plan = make_plan(program.spec, program.placed, images)
    return report.table(plan, details=images is not None)


def _sound_part(error: Unfinished, images: int | None) -> str:
    """Return what is known about a spec with errors."""
    from specgen.backends import report
    from specgen.plan import make_plan

    draft, program = error.draft, error.program
    if program:
        plan = make_plan(program.spec, program.placed, images)
        return report.table(plan, details=images is not None)
    if draft and draft.graph and draft.graph.nodes:
        return report.beginning(draft.graph, list(draft.layers))
    return ""
