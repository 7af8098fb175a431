"""Arguments that several commands share."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Iterable
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

from specgen.diagnostics import SpecError

if TYPE_CHECKING:
    from specgen.compiler import Program

STDIN = Path("-")


def specs(command: argparse.ArgumentParser, more: str = "") -> None:
    """Add specs, changes to them, and options for warnings."""
    command.set_defaults(fail=command.error)
    command.add_argument(
        "specs",
        type=Path,
        nargs="+",
        metavar="SPEC",
        help=f"a spec, a YAML file, or a folder of them; - is standard input{more}",
    )
    command.add_argument(
        "--name",
        type=Path,
        metavar="FILE",
        help="the file name to use for standard input, e.g. specs/alexnet.yaml",
    )
    changes(command)
    strict(command)


def changes(command: argparse.ArgumentParser) -> None:
    """Add changes to the specs, and the folder of their bases."""
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
        help="the folder that contains SPEC and its bases (default: the nearest"
        " parent folder with .git or pyproject.toml, or the folder of SPEC)",
    )


def strict(command: argparse.ArgumentParser) -> None:
    """Add options for warnings."""
    command.add_argument(
        "--strict", action="store_true", help="treat warnings as errors"
    )


def output(command: argparse.ArgumentParser) -> None:
    """Add the options of a build."""
    command.add_argument(
        "--output",
        type=Path,
        default=Path("generated"),
        metavar="DIR",
        help="write into a folder in DIR named after the spec: DIR/alexnet for"
        " alexnet.yaml (default: generated)",
    )
    command.add_argument(
        "--onnx-devices",
        action="store_true",
        help="write the placement into model.onnx (IR 11, multi-device annotations)",
    )


def form(command: argparse.ArgumentParser) -> None:
    """Add the output format."""
    command.add_argument("--format", choices=("text", "json"), default="text")


def quiet(command: argparse.ArgumentParser) -> None:
    """Add --quiet, which `main` implements."""
    command.add_argument(
        "-q", "--quiet", action="store_true", help="print nothing but errors"
    )


def given(options: argparse.Namespace) -> tuple[list[Path], dict[Path, bytes]]:
    """Return the specs, with `-` under its name, and the texts that were already read.

    Raises:
        SpecError: a folder without specs.
    """
    from specgen import build
    from specgen.source import MAX_BYTES

    name: Path | None = options.name
    if (STDIN in options.specs) != (name is not None):
        options.fail("- and --name FILE go together: FILE names what is read from -")
    if name is None:
        return build.expand(options.specs), {}
    if name.is_dir():
        options.fail(f"--name {name} is a folder")
    files = [name if spec == STDIN else spec for spec in options.specs]
    return build.expand(files), {name: sys.stdin.buffer.read(MAX_BYTES + 1)}


def warn(options: argparse.Namespace, programs: Iterable[Program]) -> None:
    """Have `main` print the warnings at the end; with --strict they are errors.

    Raises:
        SpecError: there are warnings, and --strict was given.
    """
    found = dict.fromkeys(w for program in programs for w in program.warnings)
    if found and options.strict:
        raise SpecError(replace(warning, warning=False) for warning in found)
    options.warnings.extend(found)


def images(text: str) -> int:
    """Return a batch size, which is what --batch-size has as text."""
    from specgen.passes.memory import MOST_IMAGES

    if text.isdecimal() and len(text) < 8 and 1 <= int(text) <= MOST_IMAGES:
        return int(text)
    raise argparse.ArgumentTypeError(
        f"{text[:30]!r} is not a whole number from 1 to {MOST_IMAGES}"
    )
