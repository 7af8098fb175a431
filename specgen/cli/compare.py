"""`specgen compare`: print what variants of specs cost, side by side."""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from specgen.cli import arguments
from specgen.diagnostics import SpecError, printable

if TYPE_CHECKING:
    from specgen.variants import Variant

EXAMPLES = (
    ("compare net.yaml wide.yaml", "a row each"),
    ("compare net.yaml --sweep layers.conv1.stride=2,4", "a row per value"),
    ("compare net.yaml --sweep data.flip=false,true --sweep data.std=1,64", ""),
    ("compare net.yaml --sweep training.seed=0,1 --build out", "to train"),
)


def add(command: argparse.ArgumentParser) -> None:
    """Declare the arguments."""
    command.set_defaults(fail=command.error)
    help = f"{arguments.REVISION}; or a folder of specs"
    command.add_argument("specs", nargs="+", metavar="SPEC", help=help)
    arguments.name(command)
    command.add_argument(
        "--sweep",
        action="append",
        default=[],
        metavar="PATH=V1,V2",
        help="a row for each of these values, e.g. layers.conv1.kernel_size=7,9,11;"
        " several sweeps are combined",
    )
    arguments.changes(command)
    arguments.batch_size(command, "plan memory")
    command.add_argument(
        "--format", choices=("table", "markdown", "csv", "json"), default="table"
    )
    command.add_argument(
        "--build",
        type=arguments.folder,
        metavar="DIR",
        help="also build each variant into a folder in DIR that is named after it",
    )
    command.add_argument(
        "--force",
        action="store_true",
        help="with --build, overwrite files that were edited by hand, and keep copies",
    )


def run(options: argparse.Namespace) -> int:
    """Print the table, and build; 1 if a spec has no variant that compiles."""
    if options.force and not options.build:
        options.fail("--force works only with --build")
    if options.build and options.batch_size:
        options.fail("--build has the batch of the recipe: leave out --batch-size")
    from specgen.build import expand
    from specgen.variants import compare

    specs: list[str] = []
    for spec in options.specs:
        folder = Path(spec)
        specs += map(str, expand([folder])) if folder.is_dir() else [spec]
    variants = compare(
        specs,
        options.set,
        options.sweep,
        root=options.root,
        stdin=arguments.standard_input(options, options.specs),
        images=options.batch_size,
        progress=_progress,
    )
    print(_shown(variants, options.format), flush=True)
    sound = {variant.spec for variant in variants if variant.sound}
    if options.build and sound:
        _build(options, variants)
    refused = {v.spec: v for v in reversed(variants) if v.spec not in sound}
    if refused:
        # Some values may be refused, but not all: show the errors of the first variant.
        raise SpecError(
            dict.fromkeys(p for variant in refused.values() for p in variant.problems)
        )
    return 0


def _shown(variants: Sequence[Variant], form: str) -> str:
    if form == "json":
        return json.dumps([variant.as_json() for variant in variants], indent=2)
    if form == "csv":
        from specgen.variants import spreadsheet

        return spreadsheet.table(variants).rstrip("\n")
    from specgen.variants import text

    return text.markdown(variants) if form == "markdown" else text.table(variants)


def _progress(done: int, total: int) -> None:
    """Count on a terminal, in a line that disappears when all is done."""
    if total >= 100 and sys.stderr.isatty():
        shown = f"{done} of {total} variants" if done < total else ""
        print(f"\r\x1b[K{shown}", end="", file=sys.stderr, flush=True)


def _build(options: argparse.Namespace, variants: Sequence[Variant]) -> None:
    """Write the folders of the variants that compile, all or none."""
    from specgen import build, cache, lock
    from specgen.writer import difference, problem, write

    root: Path = options.build
    programs = [(v, v.sound.program) for v in variants if v.sound]
    folders = build.variants([p for _, p in programs], root, force=options.force)
    done = write(root, folders, force=options.force)
    to = sys.stdout if options.format == "table" else sys.stderr  # the rest is data
    print(file=to)
    for copy in done.backups:
        print(f"saved the edited file as {root / copy}", file=to)
    for change in done.refused:
        print(difference(root, change), file=to)
    changed, refused = (
        {change.path.partition("/")[0] for change in changes}
        for changes in (done.changed, done.refused)
    )
    for variant, program in programs:
        name, spec = program.variant, list(program.source.files)[-1]  # bases come first
        content, warned = folders[name][lock.NAME], bool(program.warnings)
        cache.remember(root / name, spec, content, warned=warned)
        told = all(text.removeprefix("layers.") in name for text in variant.options)
        said = "" if told else f"  ({', '.join(variant.options)})"
        if name in changed:
            print(f"wrote {root / name}{printable(said)}", file=to)
        elif name not in refused:
            print(f"{root / name} is up to date", file=to)
    for folder in build.stale(root, folders):
        print(f"{folder} is out of date: it was built with another runtime", file=to)
    if done.refused:
        raise SpecError(problem(root, change) for change in done.refused)
