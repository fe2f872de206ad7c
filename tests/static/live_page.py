"""A server with one live page, to try static/app.js against: its socket and its polls do what a test says."""

from __future__ import annotations

import json
import mimetypes
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from http import HTTPStatus
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs, urlsplit

from websockets.datastructures import Headers
from websockets.exceptions import ConnectionClosed
from websockets.http11 import Request, Response
from websockets.sync.server import Server, ServerConnection, serve

STATIC = Path(__file__).resolve().parents[2] / "static"
POLICY = "default-src 'none'; style-src 'self'; script-src 'self'; img-src 'self'; connect-src 'self'"
HTMX = {
    "includeIndicatorStyles": False,
    "allowEval": False,
    "allowScriptTags": False,
    "historyCacheSize": 0,
    "attributesToSettle": [],
}
PAGE = """<!doctype html>
<html lang="en" {root}>
<head>
<meta charset="utf-8">
<meta name="htmx-config" content='{htmx}'>
<title>Stub</title>
<link rel="icon" href="/static/favicon-idle.svg">
<link rel="stylesheet" href="/static/app.css">
<script src="/static/app.js"></script>
<script src="/static/log.js" defer></script>
<script src="/static/keys.js" defer></script>
<script src="/static/vendor/htmx.min.js" defer></script>
<script src="/static/vendor/ws.min.js" defer></script>
</head>
<body>
<main id="main" {live}>
<div class="banner" id="connection-lost" role="status" hidden>
  <p>Connection lost. What you see is from <time datetime="" data-relative></time>.</p>
</div>
{body}
</main>
</body>
</html>"""
LIVE = 'data-live hx-ext="ws" ws-connect="/ws/page?view=stub" data-poll-url="/poll?view=stub"'


class LivePage:
    def __init__(self) -> None:
        self.body = ""
        self.root = ""
        self.live = LIVE
        self.refuses_sockets = False
        self.poll_answer: tuple[int, str] = (200, "")
        self.polls: list[dict[str, list[str]]] = []
        self.pages_served = 0
        self.received: list[dict[str, Any]] = []
        self.opened = threading.Semaphore(0)
        self._socket: ServerConnection | None = None
        self._server: Server | None = None

    @contextmanager
    def running(self) -> Iterator[LivePage]:
        with serve(self._talk, "127.0.0.1", 0, process_request=self._answer) as self._server:
            threading.Thread(target=self._server.serve_forever, daemon=True).start()
            yield self
            self.drop()

    @property
    def url(self) -> str:
        assert self._server
        return f"http://127.0.0.1:{self._server.socket.getsockname()[1]}/"

    def send(self, html: str) -> None:
        assert self._socket
        self._socket.send(html)

    def drop(self, code: int = 1012) -> None:
        if self._socket:
            self._socket.close(code)

    def wait_for_socket(self) -> None:
        assert self.opened.acquire(timeout=40), "no socket was opened"

    def _talk(self, socket: ServerConnection) -> None:
        self._socket = socket
        self.opened.release()
        try:
            for message in socket:
                self.received.append(json.loads(message))
        except ConnectionClosed:
            pass

    def _answer(self, _socket: ServerConnection, request: Request) -> Response | None:
        url = urlsplit(request.path)
        if url.path == "/ws/page":
            return _response(503, "no sockets now") if self.refuses_sockets else None
        if url.path == "/poll":
            self.polls.append(parse_qs(url.query))
            return _response(*self.poll_answer)
        if url.path.startswith("/static/"):
            return _file(STATIC / url.path.removeprefix("/static/"))
        self.pages_served += 1
        page = PAGE.format(root=self.root, live=self.live, body=self.body, htmx=json.dumps(HTMX))
        return _response(200, page)


def _file(path: Path) -> Response:
    kind = mimetypes.guess_type(path.name)[0] or "application/octet-stream"
    return _response(200, path.read_bytes(), kind)


def _response(status: int, body: str | bytes, kind: str = "text/html; charset=utf-8") -> Response:
    content = body if isinstance(body, bytes) else body.encode()
    headers = Headers(
        {
            "Content-Type": kind,
            "Content-Length": str(len(content)),
            "Content-Security-Policy": POLICY,
            "Connection": "close",
        }
    )
    return Response(status, HTTPStatus(status).phrase, headers, content)
