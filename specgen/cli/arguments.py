"""Arguments that several commands have."""

from __future__ import annotations

import argparse
from pathlib import Path


def spec(command: argparse.ArgumentParser) -> None:
    """Take one spec, and changes of it."""
    command.add_argument("spec", type=Path, metavar="SPEC", help="a spec, a YAML file")
    changes(command)


def changes(command: argparse.ArgumentParser) -> None:
    """Take changes of the specs, and where their bases lie."""
    command.add_argument(
        "--set",
        action="append",
        default=[],
        metavar="PATH=VALUE",
        help="change the spec, e.g. layers.conv1.kernel_size=7; may be repeated",
    )
    command.add_argument(
        "--root",
        type=Path,
        metavar="DIR",
        help="the folder that SPEC and all that it extends lie in (default: the nearest"
        " one upward with .git or pyproject.toml, or that of SPEC)",
    )


def form(command: argparse.ArgumentParser) -> None:
    """Take the form of what is printed."""
    command.add_argument("--format", choices=("text", "json"), default="text")
