"""Arguments that several commands share."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Collection, Iterable
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

from specgen.diagnostics import SpecError

if TYPE_CHECKING:
    from specgen.compiler import Program
    from specgen.diagnostics import Diagnostic
    from specgen.diff.revision import StandardInput

DASH = "-"  # standard input, or output
REVISION = "a spec: a file, REV:path of git, as in `git show`, or - for standard input"


def files(command: argparse.ArgumentParser, more: str = "") -> None:
    """Add specs: files, and folders of them."""
    command.set_defaults(fail=command.error)
    command.add_argument(
        "specs",
        type=Path,
        nargs="+",
        metavar="SPEC",
        help=f"a spec (a YAML file) or a folder of specs{more}",
    )


def specs(command: argparse.ArgumentParser, more: str = "") -> None:
    """Add specs, changes to them, and options for warnings."""
    files(command, f"; - is standard input{more}")
    name(command)
    changes(command)
    strict(command)


def name(command: argparse.ArgumentParser) -> None:
    """Add the name of standard input."""
    command.add_argument(
        "--name",
        type=Path,
        metavar="FILE",
        help="the file name to use for standard input, e.g. specs/alexnet.yaml",
    )


def changes(command: argparse.ArgumentParser) -> None:
    """Add changes to the specs, and the folder of their bases."""
    command.add_argument(
        "--set",
        action="append",
        default=[],
        metavar="PATH=VALUE",
        help="change the spec, e.g. layers.conv1.kernel_size=7; may be repeated",
    )
    root(command)


def root(command: argparse.ArgumentParser) -> None:
    """Add the folder of the specs and their bases."""
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
        type=folder,
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


def pair(command: argparse.ArgumentParser, more: str) -> None:
    """Add one or two specs, of files or git, and changes to the last of them."""
    command.set_defaults(fail=command.error)
    command.add_argument("spec", metavar="A", help=REVISION)
    command.add_argument("other", nargs="?", metavar="B", help=f"another spec; {more}")
    name(command)
    changes(command)


def folder(text: str) -> Path:
    """Return a folder to write, which `-` cannot be: that is standard output."""
    if not text:
        raise argparse.ArgumentTypeError("give the name of a folder")
    if text == DASH:
        message = "- is not a folder; for a folder of this name, give ./-"
        raise argparse.ArgumentTypeError(message)
    return Path(text)


def form(command: argparse.ArgumentParser) -> None:
    """Add the output format."""
    command.add_argument("--format", choices=("text", "json"), default="text")


def batch_size(command: argparse.ArgumentParser, what: str) -> None:
    """Add the number of images to plan for."""
    command.add_argument(
        "--batch-size", type=images, metavar="N", help=f"{what} for N images at once"
    )


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

    stdin = standard_input(options, [str(spec) for spec in options.specs])
    if stdin is None:
        return build.expand(options.specs), {}
    files = [stdin.file if str(spec) == DASH else spec for spec in options.specs]
    return build.expand(files), {stdin.file: stdin.text}


def standard_input(
    options: argparse.Namespace, specs: Collection[str | None]
) -> StandardInput | None:
    """Read standard input if one of the specs is `-`; --name says what it is."""
    name: Path | None = options.name
    if (DASH in specs) != (name is not None):
        options.fail("- and --name FILE go together: FILE names what is read from -")
    if name is None:
        return None
    if name.is_dir():
        options.fail(f"--name {name} is a folder")
    from specgen.diff.revision import StandardInput
    from specgen.source import MAX_BYTES

    return StandardInput(name, sys.stdin.buffer.read(MAX_BYTES + 1))


def warn(options: argparse.Namespace, programs: Iterable[Program]) -> None:
    """Have `main` print the warnings at the end; with --strict they are errors.

    Raises:
        SpecError: there are warnings, and --strict was given.
    """
    tell(options, (w for program in programs for w in program.warnings))


def tell(options: argparse.Namespace, warnings: Iterable[Diagnostic]) -> None:
    """Do this for some of the warnings.

    Raises:
        SpecError: these, with --strict.
    """
    found = dict.fromkeys(warnings)
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
