"""`specgen sample-data`: render a small data set of drawn shapes."""

from __future__ import annotations

import argparse

from specgen.cli import arguments
from specgen.cli.terminal import Progress

EXAMPLES = (("sample-data shapes", "1,200 images in ten classes"),)


def add(command: argparse.ArgumentParser) -> None:
    """Declare the arguments."""
    command.add_argument(
        "folder", type=arguments.folder, metavar="DIR", help="a new folder"
    )
    command.add_argument("--gray", action="store_true", help="in gray, not in color")
    arguments.quiet(command)


def run(options: argparse.Namespace) -> int:
    """Render, with progress where stderr is a terminal."""
    from specgen.sample_data import render

    progress = Progress(quiet=options.quiet)
    with progress:
        render(
            options.folder,
            lambda done, total: progress.say(f"{done} of {total} images"),
            gray=options.gray,
        )
    print(f"rendered {options.folder}")
    return 0
