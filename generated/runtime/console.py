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
    """Return what is wrong, a paragraph for each problem."""
    problems = error.args if isinstance(error, UserError) else (error,)
    sentences = (escape(str(problem)) for problem in problems)
    return "\n".join(f"error: {sentence}" for sentence in sentences)


def escape_output() -> None:
    """Let print escape what the terminal cannot show, as the error output does."""
    if isinstance(sys.stdout, io.TextIOWrapper):
        sys.stdout.reconfigure(errors="backslashreplace")


def readable(name: str) -> str:
    """Return text from an untrusted file such that it cannot write to the terminal.

    With line breaks, escape sequences, or bytes that are not text, it is in Python's
    quotes; the end of a long one is left out.
    """
    shown = name if name.isprintable() else repr(name)
    return shown if len(shown) <= 200 else f"{shown[:200]}..."


def escape(text: str) -> str:
    """Return text whose line breaks and escape sequences show as Python writes them."""
    return "".join(c if c.isprintable() else repr(c)[1:-1] for c in text)


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
