"""The command line: the only package that prints or exits.

A command is a module of this package: `add` declares its arguments, `run` does it and
returns the exit status. 0 is done, 1 something is wrong with what was given, 2 wrong
usage, 130 ended by Ctrl-C (`__main__` sees to it, also while this package is imported).
Each command imports what it needs when it runs: a build is mostly imports.
"""

from __future__ import annotations

import argparse
import io
import os
import sys
from collections.abc import Collection, Sequence
from importlib import import_module

from specgen import __version__
from specgen.cli.terminal import report
from specgen.diagnostics import Diagnostic, SpecError

COMMANDS = {
    "build": "write the generated folders",
    "show": "print the plan, layer by layer",
    "diff": "print what a change of a spec means",
    "verify": "run what is generated and compare with the plan",
    "schema": "print a JSON Schema for editors",
    "explain": "say more about an error",
    "sample-data": "render a small data set of drawn shapes",
}


def main(arguments: Sequence[str] | None = None) -> int:
    """Run one command and return its exit status."""
    for stream in (sys.stdout, sys.stderr):  # a spec may have what they cannot show
        if isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(errors="backslashreplace")
    given = sys.argv[1:] if arguments is None else arguments
    options = parser(given).parse_args(given)
    try:
        status: int = options.run(options)
        print(end="", flush=True)
    except SpecError as error:
        report(error, options.errors)
        return 1
    except OSError as error:
        if error.filename is not None:
            raise
        # The end of Python writes once more what could not be written.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        if not isinstance(error, BrokenPipeError):  # `head` went away, content
            message = f"cannot write the output: {error.strerror}"
            report(SpecError([Diagnostic("cannot-write", message)]), options.errors)
        return 1
    return status


def parser(named: Collection[str]) -> argparse.ArgumentParser:
    """Return the parser; of commands that are not named it knows no arguments."""
    parser = argparse.ArgumentParser(
        prog="specgen",
        description="Compile a YAML spec of a neural network to PyTorch and ONNX.",
    )
    parser.add_argument("--version", action="version", version=f"specgen {__version__}")
    commands = parser.add_subparsers(metavar="COMMAND", required=True)
    for name, help in COMMANDS.items():
        command = commands.add_parser(
            name, help=help, description=f"{help[0].upper()}{help[1:]}."
        )
        if name in named:
            module = import_module(f"specgen.cli.{name.replace('-', '_')}")
            module.add(command)
            command.set_defaults(run=module.run)
            command.add_argument(
                "--errors",
                choices=("text", "json", "github"),
                default="text",
                help="how errors are written to stderr (default: text)",
            )
    return parser
