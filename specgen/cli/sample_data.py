"""`specgen sample-data`: render a small data set of drawn shapes."""

from __future__ import annotations

import argparse
import sys
from pathlib import Path


def add(command: argparse.ArgumentParser) -> None:
    """Declare the arguments."""
    command.add_argument("folder", type=Path, metavar="DIR", help="a new folder")


def run(options: argparse.Namespace) -> int:
    """Render, with progress where stderr is a terminal."""
    from specgen.sample_data import render

    def progress(done: int, total: int) -> None:
        if sys.stderr.isatty():
            end = "\n" if done == total else ""
            print(f"\r{done} of {total} images", end=end, file=sys.stderr, flush=True)

    render(options.folder, progress)
    print(f"rendered {options.folder}")
    return 0
