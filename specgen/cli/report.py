"""`specgen report`: write a page about a network, or about two side by side."""

from __future__ import annotations

import argparse
import os
import sys
from pathlib import Path

from specgen.cli import arguments
from specgen.diagnostics import Diagnostic, SpecError

EXAMPLES = (
    ("report net.yaml -o net.html", "picture, layers, recipe"),
    ("report old.yaml net.yaml -o both.html", "side by side"),
    ("report HEAD:net.yaml net.yaml -o new.html", "since the last commit"),
)
START = b"<!DOCTYPE html>\n"  # of a page that this command writes


def add(command: argparse.ArgumentParser) -> None:
    """Declare the arguments."""
    arguments.pair(command, "differences are marked")
    command.add_argument(
        "-o",
        "--output",
        type=_page,
        required=True,
        metavar="FILE",
        help="the page to write, a single self-contained file: report.html; - is"
        " standard output",
    )


def _page(text: str) -> str:
    if not text:
        raise argparse.ArgumentTypeError("give the name of a file")
    return text


def run(options: argparse.Namespace) -> int:
    """Write the page; --set is for B, if there is one.

    What is over its budget is shown too, before the error.
    """
    from specgen.diff.revision import compile_any
    from specgen.page import page

    specs = [(options.spec, () if options.other else options.set)]
    if options.other:
        specs.append((options.other, options.set))
    stdin = arguments.standard_input(options, (options.spec, options.other))
    stdin_name = f"{options.name} (standard input)"
    given = [(stdin_name if spec == "-" else spec, sets) for spec, sets in specs]
    names = [", ".join((name, *sets)) for name, sets in given]
    programs, problems = compile_any(specs, options.root, stdin)
    first, *others = zip(names, programs, strict=True)
    text = page(*first, *others)
    if options.output == arguments.DASH:
        sys.stdout.buffer.write(text.encode())
    else:
        path = Path(options.output)
        _write(path, text.encode())
        print(f"wrote {path}", flush=True)
    if problems:
        raise SpecError(problems)
    return 0


def _write(path: Path, content: bytes) -> None:
    """Write all of the page or nothing, and overwrite only an older page.

    Raises:
        SpecError: it cannot be written, or the file is something else.
    """
    if not path.parent.exists():
        message = f"there is no folder {path.parent}"
        raise SpecError([Diagnostic("cannot-write", message)])
    part = path.with_name(f".{path.name}.{os.getpid()}")
    try:
        if path.exists() and not _is_page(path):
            message = f"{path} already exists, and is not a report"
            help = "give another name, or remove it first"
            raise SpecError([Diagnostic("file-exists", message, help=help)])
        try:
            part.write_bytes(content)
            part.replace(path)
        finally:
            part.unlink(missing_ok=True)
    except OSError as error:
        message = f"cannot write {path}: {error.strerror}"
        raise SpecError([Diagnostic("cannot-write", message)]) from None


def _is_page(path: Path) -> bool:
    if not path.is_file():  # a folder; or a pipe, where reading would wait
        return False
    with path.open("rb") as file:
        return file.read(len(START)) == START
