"""The command line: the only package that prints or exits.

A command is a module of this package: `add` declares its arguments, `run` runs it and
returns the exit status: 0 for success, 1 for wrong input, 2 for wrong usage, 130 for
Ctrl-C (which `__main__` handles, even while this package is imported), 141 if nobody
reads the output any longer. Each command imports what it needs when it runs, since a
build is mostly imports.
"""

from __future__ import annotations

import io
import os
import sys
from argparse import SUPPRESS
from collections.abc import Collection, Sequence
from contextlib import redirect_stdout, suppress
from importlib import import_module

from specgen import __version__
from specgen.cli import terminal
from specgen.cli.parser import Parser
from specgen.diagnostics import Diagnostic, SpecError

UNREAD = 141  # what a shell shows of a program that SIGPIPE ended: `... | head`
COMMANDS = {
    "new": "write a spec to start from",
    "build": "write the generated folders",
    "watch": "build whenever a spec is saved, and say what changed",
    "show": "print the plan, layer by layer",
    "diff": "print what a change to a spec means",
    "compare": "print what variants of specs cost, side by side",
    "report": "write a page about a network, or about two side by side",
    "verify": "run the generated code and compare with the plan",
    "schema": "print a JSON Schema for editors",
    "explain": "explain an error or a warning",
    "sample-data": "render a small data set of drawn shapes",
    "completion": "print a completion script for a shell",
}
EXAMPLES = (
    ("new net.yaml --data photos", "a spec for these images"),
    ("show net.yaml", "its layers, memory and work"),
    ("build net.yaml", "PyTorch code in generated/net"),
    ("show net.yaml --set training.epochs=9", "with a value changed"),
    ("COMMAND --help", "more about a command"),
)


def main(arguments: Sequence[str] | None = None) -> int:
    """Run one command and return its exit status."""
    _open_streams()
    given = sys.argv[1:] if arguments is None else arguments
    top = parser(given)
    if not given:
        top.print_help(sys.stderr)
        return 2
    options, unknown = top.parse_known_args(given)
    if unknown:
        options.parser.unknown(unknown)
    found: list[Diagnostic] = []
    options.warnings = found
    quiet, status = getattr(options, "quiet", False), 0
    try:
        try:
            if quiet:
                with open(os.devnull, "w") as nowhere, redirect_stdout(nowhere):
                    status = options.run(options)
            else:
                status = options.run(options)
        except SpecError as error:
            found += error.diagnostics
            status = 1
        print(end="", flush=True)
    except OSError as error:
        if error.filename is not None:
            raise
        # At exit, Python would try again to write the output.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        if isinstance(error, BrokenPipeError):  # `head` has read enough
            status = status or UNREAD
        elif isinstance(error, FileNotFoundError):  # which writing does not raise
            message = "the current folder no longer exists"
            found.append(Diagnostic("cannot-read", message))
            status = 1
        else:
            message = f"cannot write the output: {error.strerror}"
            found.append(Diagnostic("cannot-write", message))
            status = 1
    if shown := [each for each in found if not (quiet and each.warning)]:
        with suppress(OSError):  # nobody reads that, either
            terminal.report(shown, options.errors)
    return status


def _open_streams() -> None:
    """Let the output have any characters; what is closed leads nowhere.

    A file that is opened later would get the number of a closed stream.
    """
    for name in ("stdin", "stdout", "stderr"):
        stream = getattr(sys, name)
        if stream is None:
            mode = "r" if name == "stdin" else "w"
            setattr(sys, name, open(os.devnull, mode))  # noqa: SIM115 - to the end
        elif name != "stdin" and isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(errors="backslashreplace")


def parser(named: Collection[str]) -> Parser:
    """Return the parser, with arguments only for the commands that are named."""
    parser = Parser(
        prog="specgen",
        usage="specgen [-h] [--version] COMMAND ...",
        description="Compile a YAML spec of a neural network to PyTorch and ONNX.",
        examples=EXAMPLES,
    )
    parser.add_argument("--version", action="version", version=f"specgen {__version__}")
    parser.set_defaults(parser=parser)
    parser.commands = COMMANDS
    commands = parser.add_subparsers(
        prog="specgen", dest="command", required=True, help=SUPPRESS
    )
    for name, help in COMMANDS.items():
        command = commands.add_parser(name, description=f"{help[0].upper()}{help[1:]}.")
        if name in named:
            module = import_module(f"specgen.cli.{name.replace('-', '_')}")
            command.examples = module.EXAMPLES
            module.add(command)
            command.set_defaults(run=module.run, parser=command)
            command.add_argument(
                "--errors",
                choices=("text", "json", "github"),
                default="text",
                help="how errors are written to stderr (default: text)",
            )
    return parser
