"""A headless Chromium that a test looks through: what a page says once it has run.

It is asked over a pipe, in the Chrome DevTools Protocol: JSON, each message ended by a
zero byte.
"""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from itertools import count
from pathlib import Path
from types import TracebackType
from typing import Any, Self

import pytest

PATIENCE = 30  # seconds for something to appear in a page
PIPES = """import fcntl, os, sys
pipes = [fcntl.fcntl(int(pipe), fcntl.F_DUPFD, 10) for pipe in sys.argv[1:3]]
for number, pipe in enumerate(pipes, 3):  # where Chromium looks for them
    os.dup2(pipe, number)
os.execv(sys.argv[3], sys.argv[3:])"""


class Browser:
    """One tab. Closes with the `with` statement, and skips a test without Chromium."""

    def __init__(self, profile: Path, *flags: str) -> None:
        chromium = shutil.which("chromium") or shutil.which("google-chrome")
        if not chromium:
            pytest.skip("no Chromium is installed, which would show the page")
        ours, theirs = os.pipe(), os.pipe()
        self._process = subprocess.Popen(
            [
                *(sys.executable, "-ISc", PIPES, str(ours[0]), str(theirs[1])),
                chromium,
                *("--headless", "--no-sandbox", "--disable-gpu"),
                "--remote-debugging-pipe",
                "--window-size=1400,1000",
                f"--user-data-dir={profile}",
                *flags,
            ],
            pass_fds=(ours[0], theirs[1]),
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
        )
        os.close(ours[0])
        os.close(theirs[1])
        self._out, self._in = os.fdopen(ours[1], "wb"), os.fdopen(theirs[0], "rb")
        self._numbers, self._session = count(1), ""
        self._unread = b""
        tab = self._ask("Target.createTarget", url="about:blank")["targetId"]
        attached = self._ask("Target.attachToTarget", targetId=tab, flatten=True)
        self._session = attached["sessionId"]

    def open(self, url: str) -> None:
        """Go to a page, and wait until it is there."""
        self._ask("Page.navigate", url=url)
        self.see('document.readyState === "complete"')

    def see(self, expression: str) -> Any:
        """Wait until JavaScript in the page gives something true, and return it."""
        said = "document.documentElement.textContent"
        script = f"""new Promise((done, fail) => {{
            const end = Date.now() + {PATIENCE * 1000};
            const look = () => {{
                let found;
                try {{ found = ({expression}); }} catch (error) {{ found = null; }}
                if (found) done(found);
                else if (Date.now() > end) fail(new Error({said}));
                else setTimeout(look, 20);
            }};
            look();
        }})"""
        found = self._ask(
            "Runtime.evaluate", expression=script, awaitPromise=True, returnByValue=True
        )
        assert "exceptionDetails" not in found, (expression, found["exceptionDetails"])
        return found["result"]["value"]

    def _ask(self, method: str, **values: Any) -> dict[str, Any]:
        number = next(self._numbers)
        message: dict[str, Any] = {"id": number, "method": method, "params": values}
        if self._session:
            message["sessionId"] = self._session
        self._out.write(json.dumps(message).encode() + b"\0")
        self._out.flush()
        while True:
            answer = self._read()
            if answer.get("id") == number:
                assert "error" not in answer, answer["error"]
                result: dict[str, Any] = answer["result"]
                return result

    def _read(self) -> dict[str, Any]:
        while b"\0" not in self._unread:
            more = os.read(self._in.fileno(), 1 << 16)
            assert more, "the browser has ended"
            self._unread += more
        message, _, self._unread = self._unread.partition(b"\0")
        answer: dict[str, Any] = json.loads(message)
        return answer

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._out.close()
        self._in.close()
        self._process.terminate()
        self._process.wait(10)
