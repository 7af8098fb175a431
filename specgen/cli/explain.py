"""`specgen explain`: say more about an error."""

from __future__ import annotations

import argparse


def add(command: argparse.ArgumentParser) -> None:
    """Declare the arguments."""
    command.add_argument(
        "code", type=_code, metavar="CODE", help="what an error has in [brackets]"
    )


def run(options: argparse.Namespace) -> int:
    """Print the error's page."""
    from specgen.explain import explain

    print(explain(options.code))
    return 0


def _code(text: str) -> str:
    from specgen.diagnostics import nearest_help
    from specgen.explain import codes

    if text in codes():
        return text
    near = nearest_help(text, codes()) or f"valid names are {', '.join(codes())}"
    raise argparse.ArgumentTypeError(f"there is no error {text[:30]}; {near}")
