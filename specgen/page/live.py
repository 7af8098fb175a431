"""The page of a spec that is being edited: what `specgen watch --serve` shows."""

from __future__ import annotations

import re
from collections.abc import Sequence
from functools import cache
from html import escape
from pathlib import Path

from jinja2 import Environment

from specgen import templates
from specgen.compiler import Program
from specgen.diagnostics import Diagnostic, counted, printable, render_text
from specgen.diff import compare
from specgen.diff.since import committed
from specgen.diff.text import summary
from specgen.page.page import (
    CLASSES,
    POLICY,
    hashed,
    network,
    said_of,
    sides,
)
from specgen.page.server import Server
from specgen.paint import painted

WIDTH = 52  # characters of a quoted line, which its column has room for
SGR = re.compile(r"\x1b\[([\d;]+)m")


class Live:
    """The page of a spec, served on a port of this machine; 0 means a free one.

    Raises:
        SpecError: the port is not available.
    """

    def __init__(self, spec: Path, port: int = 0) -> None:
        self._spec = spec
        self._good: Program | None = None
        self._shown: dict[str, object] = {"side": None}  # of the last sound spec
        self._server = Server(self._document, policy(), port)
        self.port = self._server.port
        self._server.start()

    def right(self, program: Program) -> None:
        """Show a sound spec; what differs from the last one flashes."""
        before, self._good = self._good, program
        name = str(self._spec)
        here = network(name, program)
        *_, side = sides(network(name, before), here) if before else sides(here, None)
        old = committed(self._spec)
        since = compare(before, program) if before else None
        self._shown = {
            "side": side,
            "summary": summary(since) if since and since.changes else "",
            "known": old is not None,
            **said_of(compare(old, program) if old else None),
        }
        self._server.publish(self._body(program.warnings, wrong=False))

    def wrong(self, found: Sequence[Diagnostic]) -> None:
        """Show the errors of a spec, next to how it was before them."""
        self._server.publish(self._body(found, wrong=True))

    def _document(self, version: str, body: str) -> str:
        return _render(
            "live.html.j2",
            policy=policy(),
            script=_script(),
            names=[printable(str(self._spec))],
            version=version,
            body=body,
        )

    def _body(self, found: Sequence[Diagnostic], *, wrong: bool) -> str:
        return _render(
            "_live.html.j2",
            name=printable(str(self._spec)),
            wrong=wrong,
            counted=counted(found),
            said=_colored(render_text(found, painted, WIDTH)),
            names=["last commit", "now"],
            heading="h1",
            classes=CLASSES,
            **self._shown,
        )


def policy() -> str:
    """Return the Content-Security-Policy: one script, which may read the events."""
    return f"{POLICY} {hashed(_script())}; connect-src 'self'"


@cache
def _templates() -> Environment:
    return templates.environment(escape=True)


@cache
def _script() -> str:
    names = ("_report.js.j2", "_live.js.j2")
    return "\n".join(map(_render, names))


def _render(template: str, **content: object) -> str:
    return _templates().get_template(template).render(content)


def _colored(text: str) -> str:
    """Return text for a terminal as HTML; all escape characters in it are of colors."""

    def tag(found: re.Match[str]) -> str:
        codes = found[1].split(";")
        if codes == ["0"]:
            return "</span>"
        return f'<span class="{" ".join(f"sgr{code}" for code in codes)}">'

    return SGR.sub(tag, escape(text))
