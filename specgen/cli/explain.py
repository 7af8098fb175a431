"""`specgen explain`: explain an error or a warning."""

from __future__ import annotations

import argparse

EXAMPLES = (
    ("explain shape-mismatch", "what this error means"),
    ("explain limits", "what specgen does not support"),
)


def add(command: argparse.ArgumentParser) -> None:
    """Declare the arguments."""
    from specgen.explain import LIMITS, codes

    command.add_argument(
        "error",
        choices=[*codes(), LIMITS],
        metavar="CODE",
        help=f"the code that an error shows in [brackets], or {LIMITS}",
    )


def run(options: argparse.Namespace) -> int:
    """Print the error's page."""
    from specgen.explain import explain

    print(explain(options.error))
    return 0
