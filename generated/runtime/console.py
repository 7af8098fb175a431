"""How a script talks to its user: flags, messages, exit status."""

from __future__ import annotations

import argparse
import contextlib
import io
import math
import os
import re
import shlex
import shutil
import signal
import sys
import textwrap
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any, NoReturn

from .errors import UserError

WORKERS_PER_CORE = 16  # at most: more of these processes only take memory
SIGNALED = 128  # exit status of a program that a signal ended, plus its number
INTERRUPTED = SIGNALED + signal.SIGINT
UNREAD = SIGNALED + 13  # by SIGPIPE: nobody reads, as in `predict.py ... | head`

# What a script explains in a sentence; anything else is a bug.
EXPECTED = (UserError, OSError)
# Quoted text: from a quotation mark at the beginning of a word to the next one.
QUOTED = re.compile(r"""(?<![^\s(])('(?:[^'\\]|\\.)*'|"(?:[^"\\]|\\.)*")""")


class UsageError(UserError):
    """A wrong command line; `usage` is the right one."""

    status = 2

    def __init__(self, message: str, usage: str) -> None:
        super().__init__(message)
        self.usage = usage


def run(main: Callable[[], None]) -> None:
    """Run `main` and exit: 0 when it is done, 130 on Ctrl-C.

    If something is wrong, it says what, and the status is 2 for the command line and 1
    for anything else.
    """
    code: int | None = None
    try:
        with output(must_be_read=True), interruptible():
            main()
    except EXPECTED as error:
        complain(explain(error))
        code = status(error)
    except KeyboardInterrupt:
        code = INTERRUPTED
    sys.exit(code)


def explain(error: Exception) -> str:
    """Return what is wrong, each problem on a line of its own, and what helps."""
    problems: Sequence[str] = error.args
    if not isinstance(error, UserError):  # an OSError, whose number says nothing
        problems = [re.sub(r"^\[\w+ \d+\] ", "", str(error))]
    lines = [wrap(f"error: {printable(str(problem))}") for problem in problems]
    if isinstance(error, UserError) and error.help:
        lines.append(wrap(f"  = help: {printable(error.help)}", indent=" " * 10))
    if isinstance(error, UsageError):
        lines.insert(0, error.usage)
    return "\n".join(lines)


def status(error: Exception) -> int:
    """Return the exit status of a script that such an error ends."""
    return error.status if isinstance(error, UserError) else UserError.status


def complain(text: str) -> None:
    """Write to standard error, if that is possible."""
    with output(must_be_read=False):
        print(text, file=sys.stderr, flush=True)


def say(text: str) -> None:
    """Print text on as many lines as it needs, safe for the terminal."""
    print(wrap(printable(text)))


def wrap(text: str, indent: str = "  ") -> str:
    """Return text in lines that fit the terminal, or 80 columns where there is none.

    All but the first begin with `indent`. What is in quotes, and every word, stays on
    one line, even if that is too long.
    """
    whole = QUOTED.sub(lambda quoted: quoted[0].replace(" ", "\0"), text)
    return textwrap.fill(
        whole,
        shutil.get_terminal_size().columns,
        subsequent_indent=indent,
        break_long_words=False,
        break_on_hyphens=False,
    ).replace("\0", " ")


def printable(text: str) -> str:
    r"""Return the text with \-escapes for everything a terminal would act on.

    Text from files can have line breaks that forge a message, or control sequences.
    """
    return "".join(c if c.isprintable() else repr(c)[1:-1] for c in text)


def readable(name: str) -> str:
    """Return text from an untrusted file, made safe for the terminal.

    If it has line breaks, escape sequences, or bytes that are not text, it is quoted as
    in Python; long text is cut off.
    """
    shown = name if name.isprintable() else repr(name)
    return shown if len(shown) <= 200 else f"{shown[:200]}..."


def shown(path: Path | str) -> str:
    """Return a path for a sentence.

    It is relative if it is in the current folder and that is not the root. It is quoted
    as in Python if it has spaces, or what is not safe for the terminal.
    """
    with contextlib.suppress(OSError, ValueError):  # no current folder, or not in it
        if (folder := Path.cwd()) != folder.parent:
            path = Path(path).relative_to(folder)
    text = str(path)
    return (
        text if re.fullmatch(r"[^\s'\"]+", text) and text.isprintable() else repr(text)
    )


@contextlib.contextmanager
def interruptible() -> Iterator[None]:
    """Let Ctrl-C raise KeyboardInterrupt, and a second one end the script at once.

    If it is ignored at the start, as in a script's background jobs, it stays ignored.
    """

    def interrupt(number: int, _: object) -> NoReturn:
        signal.signal(number, signal.SIG_DFL)
        raise KeyboardInterrupt

    ignored = signal.getsignal(signal.SIGINT) == signal.SIG_IGN
    if not ignored:
        signal.signal(signal.SIGINT, interrupt)
    try:
        yield
    finally:
        if not ignored:  # there is nothing left to save
            signal.signal(signal.SIGINT, signal.SIG_DFL)


@contextlib.contextmanager
def output(*, must_be_read: bool, silent: bool = False) -> Iterator[None]:
    """Allow standard output and standard error to be closed or unread.

    A script whose standard output `must_be_read` ends if it cannot be written. If
    `silent`, its output is not shown.
    """
    with contextlib.ExitStack() as opened:

        def nowhere() -> Any:
            return opened.enter_context(open(os.devnull, "w"))

        # A file that is opened later must not get the number of a closed stream.
        out = Stream(sys.stdout or nowhere(), must_be_read)
        err = Stream(sys.stderr or nowhere(), must_be_read=False)
        if silent:
            out = Stream(nowhere(), must_be_read=False)
        opened.enter_context(contextlib.redirect_stdout(out))
        opened.enter_context(contextlib.redirect_stderr(err))
        try:
            yield
        except BaseException:
            out.must_be_read = False  # report this error, not that one
            raise
        finally:
            out.flush()


class Stream:
    """Standard output or error, with escapes for what the terminal cannot show.

    What is written after it has failed is dropped: its reader has gone (`| head`), its
    terminal was closed, its disk is full.
    """

    def __init__(self, stream: Any, must_be_read: bool) -> None:
        self._stream, self.must_be_read = stream, must_be_read
        if isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(errors="backslashreplace")

    def __getattr__(self, name: str) -> Any:
        return getattr(self._stream, name)

    def write(self, text: str) -> int:
        """Write the text, if it can be written."""
        try:
            self._stream.write(text)
        except OSError as error:
            self._fail(error)
        return len(text)

    def flush(self) -> None:
        """Write what is buffered, if it can be written."""
        try:
            self._stream.flush()
        except OSError as error:
            self._fail(error)

    def _fail(self, error: OSError) -> None:
        """Drop what is buffered and everything that follows, or end the script."""
        nowhere = os.open(os.devnull, os.O_WRONLY)
        os.dup2(nowhere, self._stream.fileno())
        os.close(nowhere)
        if self.must_be_read:
            if isinstance(error, BrokenPipeError):
                sys.exit(UNREAD)
            raise UserError(f"cannot write the output: {error.strerror}") from None


class Parser(argparse.ArgumentParser):
    """A parser whose errors look like all others."""

    def error(self, message: str) -> NoReturn:
        """Raise UsageError."""
        raise UsageError(message, self.format_usage().strip())


def parser(doc: str | None, usage: str) -> argparse.ArgumentParser:
    """Return a parser of a command line like `usage`, with -h.

    Its description is the first line of the script's docstring.
    """
    command = shlex.join([Path(sys.executable or "python").name, sys.argv[0]])
    whole = wrap(f"usage: {printable(command)} [-h] {usage}")
    return Parser(
        usage=whole.removeprefix("usage:").lstrip().replace("%", "%%"),
        description=(doc or "").partition("\n")[0],
        epilog="Defaults are in brackets.",
    )


def target(text: str) -> Path:
    """Return the path of a file or folder to write, which `-` cannot be."""
    if text == "-":
        raise argparse.ArgumentTypeError(
            "- cannot be standard output here; for a file or folder of this name, "
            "give ./-"
        )
    return Path(text)


def parse(
    parser: argparse.ArgumentParser, arguments: Sequence[str] | None = None
) -> argparse.Namespace:
    """Parse the command line; exit with an error if a number is out of range."""
    args = parser.parse_args(arguments)
    for name, value in vars(args).items():
        if type(value) in (int, float) and not is_sound(name, value):
            least, most = bounds(name)
            allowed = f"only {least} to {most}"
            if name == "lr":
                allowed = "only a positive number"
            flag = name.replace("_", "-")
            parser.error(f"--{flag} cannot be {value}, {allowed}")
    return args


def is_sound(name: str, value: object) -> bool:
    """Return whether the flag of this name can have such a value."""
    if name == "lr":
        return type(value) is float and 0 < value < math.inf
    least, most = bounds(name)
    return type(value) is int and least <= value <= most


def bounds(name: str) -> tuple[int, int]:
    """Return the smallest and largest value of the whole number of this name."""
    if name == "workers":
        return 0, WORKERS_PER_CORE * (os.cpu_count() or 1)
    if name == "batch_size":
        return 1, 2**20  # draws of a batch take memory
    return int(name != "seed"), 2**32 - 1
