"""A stand-in for GitHub: it runs the steps of action.yml and keeps the comments."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from threading import Thread
from typing import Any
from urllib.parse import parse_qs, urlsplit

import yaml
from helpers import ROOT

ACTION = yaml.safe_load((ROOT / "action.yml").read_text())
STEPS = {step["name"]: step for step in ACTION["runs"]["steps"]}


class GitHub(ThreadingHTTPServer):
    """The API of the comments of one pull request, number 7 of me/nets."""

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), _Handler)
        self.url = f"http://127.0.0.1:{self.server_port}"
        self.comments: list[dict[str, Any]] = []
        self.writes: list[str] = []
        self.may_write = True

    def add(self, body: str, kind: str = "Bot") -> dict[str, Any]:
        comment = {"id": len(self.comments), "body": body, "user": {"type": kind}}
        self.comments.append(comment)
        return comment


class _Handler(BaseHTTPRequestHandler):
    server: GitHub

    def do_GET(self) -> None:
        place = urlsplit(self.path)
        assert place.path == "/repos/me/nets/issues/7/comments"
        query = {key: int(value[0]) for key, value in parse_qs(place.query).items()}
        last = query["page"] * query["per_page"]
        self._answer(200, self.server.comments[last - query["per_page"] : last])

    def do_POST(self) -> None:
        assert self.path == "/repos/me/nets/issues/7/comments"
        self._write(self.server.add)

    def do_PATCH(self) -> None:
        place, _, number = self.path.rpartition("/")
        assert place == "/repos/me/nets/issues/comments"
        comment = self.server.comments[int(number)]
        self._write(lambda body: comment.update(body=body) or comment)

    def _write(self, change: Any) -> None:
        body = json.loads(self.rfile.read(int(self.headers["Content-Length"])))["body"]
        if not self.server.may_write or self.headers["Authorization"] != "Bearer key":
            return self._answer(403, {"message": "Resource not accessible"})
        if len(body) > 65_536:
            return self._answer(422, {"message": "body is too long"})
        self.server.writes.append(self.command)
        self._answer(200, change(body))

    def _answer(self, status: int, data: Any) -> None:
        content = json.dumps(data).encode()
        self.send_response(status)
        self.send_header("Content-Length", str(len(content)))
        self.end_headers()
        self.wfile.write(content)

    def log_message(self, *_: object) -> None:
        """Say nothing."""


@contextmanager
def serving() -> Iterator[GitHub]:
    with GitHub() as server:
        thread = Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
        thread.start()
        try:
            yield server
        finally:
            server.shutdown()
            thread.join()


def environment(name: str, context: dict[str, str]) -> dict[str, str]:
    """Return what `env` of a step is, given the values of its expressions."""
    values = {f"inputs.{k}": v["default"] for k, v in ACTION["inputs"].items()}
    values |= context
    return {
        key: re.sub(r"\$\{\{ (.*?) \}\}", lambda found: values[found[1]], text)
        for key, text in STEPS[name]["env"].items()
    }


def run(
    name: str, context: dict[str, str], temp: Path, **more: str
) -> subprocess.CompletedProcess[str]:
    """Run a step as GitHub does, with specgen of this checkout as the installed one."""
    installed = temp / "specgen" / "bin"
    installed.mkdir(parents=True, exist_ok=True)
    for program, flags in (("python", ""), ("specgen", "-P -m specgen")):
        path = installed / program
        path.write_text(
            f'#!/bin/sh\nPYTHONPATH="{ROOT}" exec "{sys.executable}" {flags} "$@"\n'
        )
        path.chmod(0o755)
    script = temp / "step.sh"
    script.write_text(STEPS[name]["run"])
    github = {"RUNNER_TEMP": str(temp), "GITHUB_ACTION_PATH": str(ROOT)}
    return subprocess.run(
        ["bash", "--noprofile", "--norc", "-eo", "pipefail", script],
        env=os.environ | github | more | environment(name, context),
        capture_output=True,
        text=True,
    )
