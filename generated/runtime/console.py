"""How a script speaks to its user: flags, sentences, exit status."""

from __future__ import annotations

import argparse
import io
import os
import sys
from collections.abc import Callable, Sequence
from typing import Any

from .errors import UserError

WORKERS_PER_CORE = 16  # at most: more of these processes only take memory

# What a script explains in a sentence; anything else is a fault of its own.
EXPECTED = (UserError, FloatingPointError, OSError)


def run(main: Callable[[], None]) -> None:
    """Run `main` and exit: 0 if it is done, 1 with what is wrong, 130 by Ctrl-C."""
    escape_output()
    code: Any = None
    try:
        main()
    except EXPECTED as error:
        code = explain(error)
    except KeyboardInterrupt:
        code = 130  # as a program that Ctrl-C ended
    sys.exit(code)


def explain(error: Exception) -> str:
    """Return what is wrong, a line for each problem."""
    return "\n".join(f"error: {line}" for line in str(error).splitlines())


def escape_output() -> None:
    """Let print escape what the terminal cannot show, as the error output does."""
    if isinstance(sys.stdout, io.TextIOWrapper):
        sys.stdout.reconfigure(errors="backslashreplace")


def readable(name: str) -> str:
    """Return a name, in Python's quotes if it has line breaks or bytes of no text."""
    return name if name.isprintable() else repr(name)


def parser(doc: str | None) -> argparse.ArgumentParser:
    """Return a parser that introduces a script by the first line of its docstring."""
    return argparse.ArgumentParser(
        description=(doc or "").partition("\n")[0],
        epilog="Defaults are in brackets.",
    )


def parse(
    parser: argparse.ArgumentParser, arguments: Sequence[str] | None = None
) -> argparse.Namespace:
    """Parse the command line; end with an error if a number is out of its bounds."""
    args = parser.parse_args(arguments)
    for name, value in vars(args).items():
        if type(value) is int and not is_sound(name, value):
            least, most = bounds(name)
            flag = name.replace("_", "-")
            parser.error(f"--{flag} cannot be {value}, only {least} to {most}")
    return args


def is_sound(name: str, value: object) -> bool:
    """Return whether the flag of this name can have such a value, a whole number."""
    least, most = bounds(name)
    return type(value) is int and least <= value <= most


def bounds(name: str) -> tuple[int, int]:
    """Return the least and the most that the flag of this name can be."""
    if name == "workers":
        return 0, WORKERS_PER_CORE * (os.cpu_count() or 1)
    if name == "batch_size":
        return 1, 2**20  # draws of a batch take memory
    return int(name != "seed"), 2**32 - 1
