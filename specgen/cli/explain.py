"""`specgen explain`: explain an error or a warning."""

from __future__ import annotations

import argparse

EXAMPLES = (("explain shape-mismatch", "what this error means"),)


def add(command: argparse.ArgumentParser) -> None:
    """Declare the arguments."""
    from specgen.explain import codes

    command.add_argument(
        "error",
        choices=codes(),
        metavar="CODE",
        help="the code that an error shows in [brackets]",
    )


def run(options: argparse.Namespace) -> int:
    """Print the error's page."""
    from specgen.explain import explain

    print(explain(options.error))
    return 0
