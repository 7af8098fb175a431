"""argparse with better help: examples, and the nearest name for a mistyped one."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Mapping, Sequence
from typing import Any, NoReturn

from specgen.cli.terminal import paint
from specgen.diagnostics import nearest_help, printable, short
from specgen.paint import BOLD, RED

WIDTH = 80  # of examples, with what they do

MOST_LISTED = 20  # choices in an error


class Parser(argparse.ArgumentParser):
    """A parser whose help ends in commands and examples, each with what it does."""

    def __init__(
        self, *, examples: Sequence[tuple[str, str]] = (), **settings: Any
    ) -> None:
        super().__init__(
            formatter_class=argparse.RawDescriptionHelpFormatter, **settings
        )
        self.examples = examples
        self.commands: Mapping[str, str] = {}

    def format_help(self) -> str:
        """Return the help; the examples are aligned where a line has room."""
        lines = []
        if self.commands:
            width = max(map(len, self.commands)) + 2
            listed = [f"  {n:{width}}{what}" for n, what in self.commands.items()]
            lines = ["commands:", *listed, ""]
        lines += ["examples:"] if self.examples else []
        said = [(f"  specgen {command}", what) for command, what in self.examples]
        column = min(
            max((len(line) for line, what in said if what), default=0),
            WIDTH - max((len(f"  # {what}") for _, what in said), default=0),
        )
        for line, what in said:
            lines.append(f"{line:{column}}  # {what}" if what else line)
        self.epilog = "\n".join(lines) or None
        return super().format_help()

    def error(self, message: str) -> NoReturn:
        """Print what is wrong with the usage, and exit with 2."""
        self.print_usage(sys.stderr)
        label = paint(sys.stderr)("error", f"{BOLD};{RED}")
        self.exit(2, f"{self.prog}: {label}: {message}\n")

    def unknown(self, arguments: Sequence[str]) -> NoReturn:
        """Exit because of unknown arguments."""
        option = arguments[0].partition("=")[0]
        valid = [name for action in self._actions for name in action.option_strings]
        near = nearest_help(option, valid) if option.startswith("--") else None
        said = f"unrecognized arguments: {printable(short(' '.join(arguments)))}"
        self.error(f"{said}; {near}" if near else said)

    def _check_value(self, action: argparse.Action, value: Any) -> None:
        """Give the nearest choice, where argparse lists all."""
        if action.choices is None or value in action.choices:
            return
        names = [str(choice) for choice in action.choices]
        alike = [name for name in names if str(value).casefold() in name]
        listed = f"choose from {', '.join(alike or names)}"
        if len(alike or names) > MOST_LISTED:
            listed = f"see specgen {self.prog.split()[-1]} --help"
        near = listed if alike else nearest_help(value, names) or listed
        what = "" if action.option_strings else f"{action.dest} "
        raise argparse.ArgumentError(
            action if action.option_strings else None,
            f"there is no {what}{printable(short(value))}; {near}",
        )
