"""`specgen diff`: print what a change to a spec means."""

from __future__ import annotations

import argparse
import json
import sys

from specgen.cli import arguments
from specgen.cli.terminal import colored

EXAMPLES = (
    ("diff net.yaml --set training.epochs=9", "what it would mean"),
    ("diff HEAD:net.yaml net.yaml", "since the last commit"),
    ("diff net.yaml - --name net.yaml < draft", "since it was saved"),
    ("diff main:net.yaml net.yaml --fail-on recipe", "for CI"),
)
# Those of `specgen.diff.Tier`, which takes too long to import for --help.
TIERS = ("same", "placement", "recipe", "function", "checkpoint", "interface")


def add(command: argparse.ArgumentParser) -> None:
    """Declare the arguments."""
    command.set_defaults(fail=command.error)
    arguments.pair(command, "without it, B is A with the changes of --set")
    arguments.strict(command)
    command.add_argument(
        "--format", choices=("text", "markdown", "json"), default="text"
    )
    command.add_argument(
        "--fail-on",
        choices=TIERS,
        metavar="TIER",
        help=f"exit with 1 for this tier or a later one: {', '.join(TIERS)}",
    )


def run(options: argparse.Namespace) -> int:
    """Print the difference; fail at the tier of --fail-on or a later one."""
    from specgen.diff import Tier, compare
    from specgen.diff.revision import compile_all

    if options.other is None and not options.set:
        options.fail("give a second spec to compare with, or a change with --set")
    other = options.spec if options.other is None else options.other
    specs = (options.spec, ()), (other, options.set)
    stdin = arguments.standard_input(options, (options.spec, other))
    before, after = compile_all(specs, options.root, stdin)
    found = compare(before, after)
    if options.format == "json":
        print(json.dumps(found.as_json(), indent=2))
    elif options.format == "markdown":
        from specgen.diff.markdown import markdown

        print(markdown(found))
    else:
        from specgen.diff.text import text

        print(text(found, color=colored(sys.stdout)))
    known = {(each.code, each.message) for each in before.warnings}
    new = (w for w in after.warnings if (w.code, w.message) not in known)
    arguments.tell(options, new)
    limit = Tier[options.fail_on.upper()] if options.fail_on else None
    return 1 if limit is not None and found.tier >= limit else 0
