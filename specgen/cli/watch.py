"""`specgen watch`: build whenever a spec is saved, and say what changed."""

from __future__ import annotations

import argparse
import sys
import textwrap
from collections.abc import Sequence
from pathlib import Path
from time import strftime
from typing import TYPE_CHECKING

from specgen.cli import arguments
from specgen.cli.terminal import paint, report
from specgen.diagnostics import Diagnostic, SpecError, printable
from specgen.paint import BOLD, GREEN, RED

if TYPE_CHECKING:
    from specgen.compiler import Program
    from specgen.page.live import Live

EXAMPLES = (
    ("watch net.yaml", "next to an editor; Ctrl-C stops"),
    ("watch net.yaml --serve", "with a live page for the browser"),
    ("watch specs --output /tmp/try", "every spec in a folder"),
)


def add(command: argparse.ArgumentParser) -> None:
    """Declare the arguments."""
    arguments.files(command)
    arguments.changes(command)
    arguments.output(command)
    arguments.strict(command)
    command.add_argument(
        "--serve",
        action="store_true",
        help="also serve the page of `specgen report` to browsers on this machine,"
        " and redraw it at every save",
    )
    command.add_argument(
        "--port",
        type=_port,
        metavar="N",
        help="the port of that page (default: a free one)",
    )


def run(options: argparse.Namespace) -> int:
    """Build until Ctrl-C; a spec with errors leaves its folder unchanged."""
    from specgen.watch import Watch

    if arguments.DASH in map(str, options.specs):
        options.fail("standard input cannot be watched: give a file")
    page = _serve(options) if options.serve or options.port else None
    watch = Watch(options.specs)
    last: dict[Path, Program] = {}
    wrong: dict[Path, Sequence[Diagnostic]] = {}
    ready = False
    while True:
        # An error in a base that several specs share is reported once.
        found: dict[Diagnostic, None] = {}
        for spec in watch.wait():
            try:
                program, count = _build(options, spec)
            except SpecError as error:
                watch.is_wrong(spec)
                if page:
                    page.wrong(error.diagnostics)
                if wrong.get(spec) != error.diagnostics:
                    wrong[spec] = error.diagnostics
                    found |= dict.fromkeys(error.diagnostics)
                    folder = options.output / spec.stem
                    _say(spec, "error", RED, f"{folder} is unchanged")
                continue
            watch.is_read_from(spec, program.source.files)
            if page:
                page.right(program)
            found |= dict.fromkeys(program.warnings)
            _tell(spec, last.get(spec), program, count, again=spec in wrong)
            wrong.pop(spec, None)
            last[spec] = program
        if found:
            report(list(found), options.errors)
        if not ready:
            ready = True
            print("watching; press Ctrl-C to stop", flush=True)


def _port(text: str) -> int:
    if text.isdecimal() and len(text) < 6 and 1024 <= int(text) < 65536:
        return int(text)
    message = f"{text[:30]!r} is not a whole number from 1024 to 65535"
    raise argparse.ArgumentTypeError(message)


def _serve(options: argparse.Namespace) -> Live:
    """Start serving the page of the only spec, and say where."""
    from specgen.page.live import Live

    if not options.serve:
        options.fail("--port works only with --serve")
    if len(options.specs) > 1 or options.specs[0].is_dir():
        options.fail("--serve shows one spec: give its file")
    live = Live(options.specs[0], options.port or 0)
    print(f"live at http://127.0.0.1:{live.port}/", flush=True)
    return live


def _build(options: argparse.Namespace, spec: Path) -> tuple[Program, int]:
    """Build one spec; also return the number of files written."""
    from specgen import build, cache, lock
    from specgen.writer import problem, write

    root: Path = options.output
    programs = build.compile_all([spec], options.set, root=root, project=options.root)
    if options.strict:
        arguments.warn(options, programs.values())
    folders = build.outputs(programs, options.set, onnx_devices=options.onnx_devices)
    done = write(root, folders)
    if done.refused:
        raise SpecError(problem(root, change) for change in done.refused)
    program, content = programs[spec], folders[spec.stem][lock.NAME]
    warned = bool(program.warnings)
    cache.remember(root / spec.stem, spec, content, warned=warned)
    return program, len(done.changed)


def _tell(
    spec: Path, before: Program | None, now: Program, count: int, *, again: bool
) -> None:
    """Say what the change means; `again`: after an error."""
    from specgen.diff import compare
    from specgen.diff.text import COLORS, summary

    word, shade, meaning = "built", GREEN, ""
    if before:
        difference = compare(before, now)
        word, meaning = str(difference.tier), summary(difference)
        shade = COLORS.get(difference.tier, GREEN)
    if again:
        word = f"fixed, {word}"
    _say(spec, word, shade, f"{count} file{'' if count == 1 else 's'} written")
    if meaning:
        print(textwrap.indent(textwrap.fill(meaning, 78), "  "), flush=True)


def _say(spec: Path, what: str, shade: str, more: str) -> None:
    word = paint(sys.stdout)(what, f"{BOLD};{shade}")
    print(f"{strftime('%H:%M:%S')} {printable(str(spec))}: {word}; {more}", flush=True)
