"""Serves one page on this machine, and its body again whenever that changes.

Any page in a browser can send requests to 127.0.0.1. So the Host must be this server's,
in case a foreign name resolves to it (DNS rebinding), and there is nothing to request
but the page and its events.
"""

from __future__ import annotations

import json
import os
from collections.abc import Callable
from hashlib import sha256
from http import HTTPStatus
from http.server import BaseHTTPRequestHandler
from socketserver import ThreadingTCPServer
from threading import BoundedSemaphore, Condition, Thread
from typing import Any

from specgen.diagnostics import Diagnostic, SpecError

HOST = "127.0.0.1"
MOST = 16  # connections at once; each has a thread
PATIENCE = 10  # seconds for a client to send its request, or to take what it is sent
ALIVE = 15  # seconds until a client is sent something, to see if it is still there
FULL = b"HTTP/1.0 503 Service Unavailable\r\nContent-Length: 0\r\n\r\n"


class Server(ThreadingTCPServer):
    """A page that changes; `document` puts a version and a body into the whole page.

    Raises:
        SpecError: the port is taken, or not available.
    """

    # Not HTTPServer, which asks the network for the name of this machine.
    allow_reuse_address = os.name == "posix"  # elsewhere it shares a port that is taken
    daemon_threads = True
    block_on_close = False

    def __init__(
        self, document: Callable[[str, str], str], policy: str, port: int = 0
    ) -> None:
        self.document, self.policy = document, policy
        self._room = BoundedSemaphore(MOST)
        self._changed = Condition()
        self._version, self._body = "", ""
        try:
            super().__init__((HOST, port), Handler)
        except OSError as error:
            message = f"cannot serve on port {port}: {error.strerror}"
            help = "give another --port, or leave it out to use a free one"
            raise SpecError([Diagnostic("cannot-serve", message, help=help)]) from None
        self.port: int = self.server_address[1]

    def start(self) -> None:
        """Serve in threads that end with the process."""
        Thread(target=self.serve_forever, daemon=True).start()

    def publish(self, body: str) -> None:
        """Show a body in all open pages."""
        with self._changed:
            self._body = body
            self._version = sha256(body.encode()).hexdigest()
            self._changed.notify_all()

    def current(self) -> tuple[str, str]:
        """Return the version and the body."""
        with self._changed:
            return self._version, self._body

    def after(self, version: str) -> tuple[str, str] | None:
        """Wait for another version, and return it with its body; None after a while."""
        with self._changed:
            if self._changed.wait_for(lambda: self._version != version, ALIVE):
                return self._version, self._body
            return None

    def process_request(self, request: Any, client_address: Any) -> None:
        """Start a thread, if there is room."""
        if self._room.acquire(blocking=False):
            super().process_request(request, client_address)
        else:
            request.sendall(FULL)  # fits the buffer of any socket
            self.shutdown_request(request)

    def process_request_thread(self, request: Any, client_address: Any) -> None:
        """Answer, and make room."""
        try:
            super().process_request_thread(request, client_address)
        finally:
            self._room.release()

    def handle_error(self, request: Any, client_address: Any) -> None:
        """Say nothing: a client is gone."""


class Handler(BaseHTTPRequestHandler):
    """Answers a GET of the page or of its events."""

    server: Server
    server_version, sys_version = "specgen", ""
    timeout = PATIENCE

    def do_GET(self) -> None:
        """Answer."""
        hosts = [f"{name}:{self.server.port}" for name in (HOST, "localhost")]
        if self.headers.get_all("Host", []) not in [[host] for host in hosts]:
            self.send_error(
                HTTPStatus.FORBIDDEN, "This server does not serve that host"
            )
        elif self.path == "/":
            page = self.server.document(*self.server.current()).encode()
            self._begin("text/html; charset=utf-8")
            self.wfile.write(page)
        elif self.path == "/events":
            self._begin("text/event-stream")
            self._events()
        else:
            self.send_error(HTTPStatus.NOT_FOUND)

    def _begin(self, kind: str) -> None:
        policy = f"{self.server.policy}; frame-ancestors 'none'"
        self.send_response(HTTPStatus.OK)
        for name, content in (
            ("Content-Type", kind),
            (
                "Content-Security-Policy",
                f"{policy}; base-uri 'none'; form-action 'none'",
            ),
            ("Cross-Origin-Resource-Policy", "same-origin"),
            ("X-Content-Type-Options", "nosniff"),
            ("Referrer-Policy", "no-referrer"),
            ("Cache-Control", "no-store"),
        ):
            self.send_header(name, content)
        self.end_headers()

    def _events(self) -> None:
        """Send each body, from the current one on, until the client is gone."""
        version = ""
        while True:
            found = self.server.after(version)
            if found:
                version, body = found
                event = f"id: {version}\ndata: {json.dumps(body)}\n\n"
            else:
                event = ":\n\n"  # a comment
            self.wfile.write(event.encode())

    def log_message(self, format: str, *args: object) -> None:
        """Say nothing: the terminal is for the spec."""
