"""`/health` and `/metrics` on a port of this machine, for whoever watches it. Off unless asked for (AGENT_HTTP)."""

from __future__ import annotations

import json
import socket
import threading
from collections.abc import Callable, Iterator
from contextlib import suppress
from http.server import BaseHTTPRequestHandler
from socketserver import TCPServer
from typing import Any

from agent import standing
from agent.errors import BadConfig
from agent.progress import Progress
from agent.snapshot import Snapshot

# One request after the other, and none for longer than this: who floods the port costs the agent no files.
REQUEST_S = 5.0

Samples = Iterator[tuple[str, str, str, float]]  # name, type, help, value


def serve(host: str, port: int, progress: Progress, latest: Callable[[], Snapshot]) -> TCPServer:
    """From here on, on a thread of its own. Raises BadConfig where the port can't be had."""

    class Handler(_Handler):
        answers = _Answers(progress, latest)

    class Server(TCPServer):
        address_family = socket.AF_INET6 if ":" in host else socket.AF_INET
        allow_reuse_address = True

        def finish_request(self, request: Any, client_address: Any) -> None:
            cut = threading.Timer(REQUEST_S, _hang_up, [request])
            cut.daemon = True
            cut.start()
            try:
                super().finish_request(request, client_address)
            finally:
                cut.cancel()

        def handle_error(self, *_: object) -> None:
            """Who hangs up half-way is nobody's trouble."""

    try:
        server = Server((host, port), Handler)
    except OSError as error:
        reason = error.strerror or error
        raise BadConfig(f"AGENT_HTTP: {host} port {port} can't be listened on: {reason}") from error
    threading.Thread(target=server.serve_forever, name="health", daemon=True).start()
    return server


def _hang_up(connection: socket.socket) -> None:
    """Also on who says a byte now and then, which keeps the socket's own time limit from being reached."""
    with suppress(OSError):
        connection.shutdown(socket.SHUT_RDWR)


class _Answers:
    """Nothing here waits for the loop, which may be stuck."""

    def __init__(self, progress: Progress, latest: Callable[[], Snapshot]) -> None:
        self._progress = progress
        self._latest = latest

    def to(self, path: str) -> tuple[int, str, str] | None:
        """→ status, type and text; None where there is nothing."""
        if path == "/health":
            return self._health()
        if path == "/metrics":
            text = "".join(_lines(self._latest(), is_stuck=self._progress.is_stuck))
            return 200, "text/plain; version=0.0.4; charset=utf-8", text
        return None

    def _health(self) -> tuple[int, str, str]:
        """Well is who gets on: a server that is away is nothing that a new start would mend."""
        is_stuck = self._progress.is_stuck
        now = self._latest()
        said = {
            "status": "stuck" if is_stuck else "ok",
            "server": now.state,
            "detail": now.detail,
            "last_sync_s": None if now.synced_s is None else round(now.synced_s, 1),
            "running": now.running,
        }
        return 503 if is_stuck else 200, "application/json", json.dumps(said) + "\n"


class _Handler(BaseHTTPRequestHandler):
    timeout = REQUEST_S
    server_version = "garageswarm-agent"
    sys_version = ""
    answers: _Answers

    def do_GET(self) -> None:
        answer = self.answers.to(self.path.partition("?")[0])
        status, kind, text = answer or (404, "text/plain; charset=utf-8", "There are /health and /metrics.\n")
        content = text.encode()
        self.send_response(status)
        self.send_header("Content-Type", kind)
        self.send_header("Content-Length", str(len(content)))
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(content)

    do_HEAD = do_GET  # noqa: N815 - the base class's name

    def log_message(self, *_: object) -> None:
        """It is asked every few seconds, and the agent's log is for what happens."""


def _lines(now: Snapshot, *, is_stuck: bool) -> Iterator[str]:
    """In Prometheus' text format."""
    yield from _metric(
        "info", "gauge", "Always 1; its version is the label.", f'{{version="{now.version}"}}', 1
    )
    for name, kind, what, value in _samples(now, is_stuck=is_stuck):
        yield from _metric(name, kind, what, "", value)
    yield _head("tool_works", "gauge", "Whether the tool works on this machine.")
    for tool, finding in now.tools.items():
        yield f'garageswarm_agent_tool_works{{tool="{tool}"}} {int(bool(finding.get("works")))}\n'


def _samples(now: Snapshot, *, is_stuck: bool) -> Samples:
    yield "stuck", "gauge", "1 while the agent's loop doesn't get on.", int(is_stuck)
    yield (
        "connected",
        "gauge",
        "1 while the server answers and takes this worker.",
        now.state == standing.CONNECTED,
    )
    if now.synced_s is not None:
        yield "last_sync_age_seconds", "gauge", "Since the server last took a sync.", round(now.synced_s, 1)
    yield "tasks_running", "gauge", "Tasks that run.", now.running
    yield (
        "reports_undelivered",
        "gauge",
        "Tasks that have ended, and the server hasn't taken it yet.",
        now.undelivered,
    )
    yield "tasks_held", "gauge", "Both together.", now.running + now.undelivered
    yield "slots", "gauge", "Tasks that may run at once, unless a person says otherwise.", now.slots
    yield "accepting", "gauge", "1 while it takes new work.", not now.refusing
    yield "disk_free_bytes", "gauge", "Free where tasks run.", now.disk_free
    yield "disk_floor_bytes", "gauge", "Below this it takes no new work.", now.disk_floor
    yield "starts_total", "counter", "How often an agent was started with this storage.", now.starts


def _metric(name: str, kind: str, what: str, labels: str, value: float) -> Iterator[str]:
    yield _head(name, kind, what)
    yield f"garageswarm_agent_{name}{labels} {float(value):.15g}\n"


def _head(name: str, kind: str, what: str) -> str:
    return f"# HELP garageswarm_agent_{name} {what}\n# TYPE garageswarm_agent_{name} {kind}\n"
