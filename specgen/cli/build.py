"""`specgen build`: write the generated folders, or check them."""

from __future__ import annotations

import argparse
from collections.abc import Mapping, Set
from itertools import groupby
from pathlib import Path

from specgen.cli import arguments
from specgen.diagnostics import SpecError
from specgen.lock import RUNTIME

EXAMPLES = (
    ("build net.yaml", "into generated/net"),
    ("build specs", "all specs of a folder, or none"),
    ("build net.yaml --set training.epochs=9 --output variant", ""),
    ("build specs --check --diff", "for CI: fails if out of date"),
)


def add(command: argparse.ArgumentParser) -> None:
    """Declare the arguments."""
    arguments.specs(command, "; if one is wrong, none is built")
    arguments.output(command)
    either = command.add_mutually_exclusive_group()
    either.add_argument(
        "--check",
        action="store_true",
        help="write nothing; fail if a folder is out of date",
    )
    either.add_argument(
        "--force",
        action="store_true",
        help="overwrite files that were edited by hand, and keep copies: model.py.orig",
    )
    command.add_argument(
        "--diff",
        action="store_true",
        help="with --check, show how each file would change, and what that means",
    )
    arguments.quiet(command)


def run(options: argparse.Namespace) -> int:
    """Build, or check."""
    from specgen import build, cache, lock

    if options.diff and not options.check:
        options.fail("--diff works only with --check")
    root: Path = options.output
    devices: bool = options.onnx_devices
    given, texts = arguments.given(options)
    specs = build.find(given)
    if not (options.check or options.strict):
        for spec in [spec for spec in specs if spec not in texts]:
            folder = root / spec.stem
            if cache.is_current(spec, options.set, folder, onnx_devices=devices):
                print(f"{folder} is up to date")
                specs.remove(spec)
        if not specs:
            return 0

    programs = build.compile_all(
        specs,
        options.set,
        root=root,
        project=options.root,
        texts=texts,
        force=options.force,
    )
    arguments.warn(options, programs.values())
    folders = build.outputs(programs, options.set, onnx_devices=devices)
    if options.check:
        return _check(options, programs.keys() - texts.keys(), folders)

    from specgen.writer import difference, problem, write

    done = write(root, folders, force=options.force)
    for copy in done.backups:
        print(f"saved the edited file as {root / copy}")
    for name, group in groupby(done.changed, lambda c: c.path.partition("/")[0]):
        changes = list(group)
        if len(changes) == len(folders[name]) and all(c.new for c in changes):
            print(f"wrote {root / name}: {len(changes)} files")
            continue
        for change in changes:
            print("removed" if change.new is None else "wrote", root / change.path)
    for change in done.refused:
        print(difference(root, change))
    changed = {c.path.partition("/")[0] for c in (*done.changed, *done.refused)}
    for name in folders:
        if name not in changed and name != RUNTIME:
            print(f"{root / name} is up to date")
    for spec in programs.keys() - texts.keys():
        content, warned = folders[spec.stem][lock.NAME], bool(programs[spec].warnings)
        cache.remember(root / spec.stem, spec, content, warned=warned)
    for folder in build.stale(root, folders):
        print(f"{folder} is out of date: it was built with another runtime")
    if done.refused:
        raise SpecError(problem(root, change) for change in done.refused)
    return 0


def _check(
    options: argparse.Namespace,
    specs: Set[Path],
    folders: Mapping[str, Mapping[str, bytes]],
) -> int:
    from specgen.writer import compare, difference, problem

    root: Path = options.output
    changes = compare(root, folders)
    if options.diff:
        from specgen.diff.since import since_build

        for change in changes:
            print(difference(root, change))
        stale = {change.path.partition("/")[0] for change in changes}
        for spec in sorted(specs):
            if spec.stem in stale:
                folder, project = root / spec.stem, options.root
                print(end=since_build(spec, folder, options.set, project))
    if changes:
        raise SpecError(problem(root, change) for change in changes)
    for name in folders:
        if name != RUNTIME:
            print(f"{root / name} is up to date")
    return 0
