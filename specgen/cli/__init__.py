"""The command line: the only package that prints or exits.

Exit status: 0 done, 1 something is wrong with what was given, 2 wrong usage, 130 ended
by Ctrl-C (`__main__` sees to it, also while this module is imported). Each command
imports what it needs when it runs: a build is mostly imports.
"""

from __future__ import annotations

import argparse
import io
import json
import os
import sys
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

from specgen import __version__
from specgen.diagnostics import Diagnostic, SpecError
from specgen.lock import RUNTIME

# Those of `specgen.diff.Tier`, which takes too long to import for --help.
TIERS = ("same", "placement", "recipe", "function", "checkpoint", "interface")


def main(arguments: Sequence[str] | None = None) -> int:
    """Run one command and return its exit status."""
    for stream in (sys.stdout, sys.stderr):  # a spec may have what they cannot show
        if isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(errors="backslashreplace")
    options = _parser().parse_args(arguments)
    try:
        status: int = options.run(options)
        print(end="", flush=True)
    except SpecError as error:
        _report(error, options.errors)
        return 1
    except OSError as error:
        if error.filename is not None:
            raise
        # The end of Python writes once more what could not be written.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        if not isinstance(error, BrokenPipeError):  # `head` went away, content
            message = f"cannot write the output: {error.strerror}"
            _report(SpecError([Diagnostic("cannot-write", message)]), options.errors)
        return 1
    return status


def _build(options: argparse.Namespace) -> int:
    from specgen import build, cache, lock

    if options.diff and not options.check:
        options.fail("--diff is an option of --check")
    root: Path = options.output
    devices: bool = options.onnx_devices
    specs = build.find(options.specs)
    if not options.check:
        for spec in list(specs):
            folder = root / spec.stem
            if cache.is_current(spec, options.set, folder, onnx_devices=devices):
                print(f"{folder} is up to date")
                specs.remove(spec)
        if not specs:
            return 0

    folders = build.compile_all(
        specs,
        root,
        options.set,
        project=options.root,
        onnx_devices=devices,
        force=options.force,
    )
    if options.check:
        return _check(root, folders, differences=options.diff)

    from specgen.writer import difference, problem, write

    done = write(root, folders, force=options.force)
    for copy in done.backups:
        print(f"saved the edited file as {root / copy}")
    for change in done.changed:
        print("removed" if change.new is None else "wrote", root / change.path)
    for change in done.refused:
        print(difference(root, change))
    changed = {c.path.partition("/")[0] for c in (*done.changed, *done.refused)}
    for name in folders:
        if name not in changed and name != RUNTIME:
            print(f"{root / name} is up to date")
    for spec in specs:
        cache.remember(root / spec.stem, spec, folders[spec.stem][lock.NAME])
    for folder in build.stale(root, folders):
        print(f"{folder} is out of date: it was built with another runtime")
    if done.refused:
        raise SpecError(problem(root, change) for change in done.refused)
    return 0


def _check(
    root: Path, folders: Mapping[str, Mapping[str, bytes]], *, differences: bool
) -> int:
    from specgen.writer import compare, difference, problem

    changes = compare(root, folders)
    if differences:
        for change in changes:
            print(difference(root, change))
    if changes:
        raise SpecError(problem(root, change) for change in changes)
    for name in folders:
        if name != RUNTIME:
            print(f"{root / name} is what the spec says")
    return 0


def _show(options: argparse.Namespace) -> int:
    as_spec: bool = options.resolved or options.origins
    if as_spec and (options.format == "json" or options.batch_size):
        options.fail("--resolved and --origins print the spec, and nothing of the plan")
    from specgen.cli import plans

    return plans.show(options)


def _diff(options: argparse.Namespace) -> int:
    from specgen.cli import plans

    if options.other is None and not options.set:
        options.fail("give a second spec to compare with, or --set what to change")
    return plans.diff(options)


def _verify(options: argparse.Namespace) -> int:
    from specgen.compiler import compile_file
    from specgen.verify import as_json, table, verify

    checks = verify(compile_file(options.spec, options.set, options.root))
    print(as_json(checks) if options.format == "json" else table(checks))
    return 0 if all(check.ok for check in checks) else 1


def _schema(options: argparse.Namespace) -> int:
    from specgen.editor import json_schema

    print(json.dumps(json_schema(), indent=2))
    return 0


def _explain(options: argparse.Namespace) -> int:
    from specgen.explain import explain

    print(explain(options.code))
    return 0


def _sample_data(options: argparse.Namespace) -> int:
    from specgen.sample_data import render

    def progress(done: int, total: int) -> None:
        if sys.stderr.isatty():
            end = "\n" if done == total else ""
            print(f"\r{done} of {total} images", end=end, file=sys.stderr, flush=True)

    render(options.folder, progress)
    print(f"rendered {options.folder}")
    return 0


def _report(error: SpecError, form: str) -> None:
    from specgen import diagnostics

    renderer = {
        "text": diagnostics.render_text,
        "json": diagnostics.render_json,
        "github": diagnostics.render_github,
    }[form]
    print(renderer(error.diagnostics), file=sys.stderr)
    if form == "text":
        count = len(error.diagnostics)
        print(f"\n{count} error{'s' if count > 1 else ''}", file=sys.stderr)
        code = error.diagnostics[0].code
        print(f"To learn more, run: specgen explain {code}", file=sys.stderr)


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="specgen",
        description="Compile a YAML spec of a neural network to PyTorch and ONNX.",
    )
    parser.add_argument("--version", action="version", version=f"specgen {__version__}")
    commands = parser.add_subparsers(metavar="COMMAND", required=True)

    build = _command(commands, "build", _build, "write the generated folders")
    build.set_defaults(fail=build.error)
    build.add_argument(
        "specs",
        type=Path,
        nargs="+",
        metavar="SPEC",
        help="a spec, a YAML file, or a folder of them; if one is wrong, none is built",
    )
    _set(build)
    build.add_argument(
        "--output",
        type=Path,
        default=Path("generated"),
        metavar="DIR",
        help="write into a folder of DIR that is named after the spec: DIR/alexnet for"
        " alexnet.yaml (default: generated)",
    )
    build.add_argument(
        "--onnx-devices",
        action="store_true",
        help="write the placement into model.onnx (IR 11, multi-device annotations)",
    )
    either = build.add_mutually_exclusive_group()
    either.add_argument(
        "--check",
        action="store_true",
        help="write nothing; fail if a folder is not what its spec says",
    )
    either.add_argument(
        "--force",
        action="store_true",
        help="overwrite files that were edited by hand, and keep copies: model.py.orig",
    )
    build.add_argument(
        "--diff",
        action="store_true",
        help="with --check, show how each file would change",
    )

    show = _command(commands, "show", _show, "print the plan, layer by layer")
    show.set_defaults(fail=show.error)
    _spec(show)
    _format(show)
    show.add_argument(
        "--batch-size",
        type=_images,
        metavar="N",
        help="show memory and traffic in detail, for so many images at once",
    )

    show.add_argument(
        "--resolved",
        action="store_true",
        help="print the spec instead: merged, and with its defaults, as YAML",
    )
    show.add_argument(
        "--origins",
        action="store_true",
        help="the same, and behind each value the line, or the option, it comes from",
    )
    _diff_command(commands)

    from specgen.cli import compare

    about = "print what variants of specs cost, side by side"
    compare.add(_command(commands, "compare", compare.run, about))

    verify = _command(
        commands, "verify", _verify, "run what is generated and compare with the plan"
    )
    _spec(verify)
    _format(verify)

    _command(commands, "schema", _schema, "print a JSON Schema for editors")

    explain = _command(commands, "explain", _explain, "say more about an error")
    explain.add_argument(
        "code", type=_code, metavar="CODE", help="what an error has in [brackets]"
    )

    sample = _command(
        commands, "sample-data", _sample_data, "render a small data set of drawn shapes"
    )
    sample.add_argument("folder", type=Path, metavar="DIR", help="a new folder")
    return parser


def _diff_command(commands: Any) -> None:
    diff = _command(commands, "diff", _diff, "print what a change of a spec means")
    diff.set_defaults(fail=diff.error)
    spec = "a spec: a file, or REV:path of git, as in `git show`"
    diff.add_argument("spec", metavar="A", help=spec)
    diff.add_argument(
        "other",
        nargs="?",
        metavar="B",
        help=f"{spec}; without it, B is A as --set changes it",
    )
    _set(diff)
    diff.add_argument("--format", choices=("text", "markdown", "json"), default="text")
    diff.add_argument(
        "--fail-on",
        choices=TIERS,
        metavar="TIER",
        help=f"exit with 1 from this tier on: {', '.join(TIERS)}",
    )


def _command(
    commands: Any, name: str, run: Callable[[argparse.Namespace], int], help: str
) -> argparse.ArgumentParser:
    command: argparse.ArgumentParser = commands.add_parser(
        name, help=help, description=f"{help[0].upper()}{help[1:]}."
    )
    command.set_defaults(run=run)
    command.add_argument(
        "--errors",
        choices=("text", "json", "github"),
        default="text",
        help="how errors are written to stderr (default: text)",
    )
    return command


def _code(text: str) -> str:
    from specgen.diagnostics import nearest_help
    from specgen.explain import codes

    if text in codes():
        return text
    near = nearest_help(text, codes()) or f"valid names are {', '.join(codes())}"
    raise argparse.ArgumentTypeError(f"there is no error {text[:30]}; {near}")


def _images(text: str) -> int:
    from specgen.passes.memory import MOST_IMAGES

    if text.isdecimal() and len(text) < 8 and 1 <= int(text) <= MOST_IMAGES:
        return int(text)
    raise argparse.ArgumentTypeError(
        f"{text[:30]!r} is not a whole number from 1 to {MOST_IMAGES}"
    )


def _spec(command: argparse.ArgumentParser) -> None:
    command.add_argument("spec", type=Path, metavar="SPEC", help="a spec, a YAML file")
    _set(command)


def _set(command: argparse.ArgumentParser) -> None:
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


def _format(command: argparse.ArgumentParser) -> None:
    command.add_argument("--format", choices=("text", "json"), default="text")
