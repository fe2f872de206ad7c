"""How the fake control plane answers: whole, half, or with what isn't JSON."""

from __future__ import annotations

import json
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from tests.agent.fake_server import FakeServer

Json = dict[str, Any]


@dataclass(eq=False)
class FakeAttempt:
    offer: Json
    data: Json
    log: bytearray = field(default_factory=bytearray)
    reports: list[Json] = field(default_factory=list)
    dropped: list[tuple[int, int]] = field(default_factory=list)  # what chunks and tails said is left out
    chunk_times: list[float] = field(default_factory=list)
    told: list[Json] = field(default_factory=list)  # how far it is
    told_times: list[float] = field(default_factory=list)
    is_offered: bool = False
    is_held: bool = False
    is_ended: bool = False
    cancel_reason: str | None = None

    @property
    def report(self) -> Json:
        return self.reports[-1]


@dataclass
class Answer:
    """`kind` other than JSON makes it an answer that isn't the server's."""

    status: int
    body: Json | str | bytes = field(default_factory=dict)
    kind: str = "application/json"
    headers: dict[str, str] = field(default_factory=dict)


def problem(status: int, name: str = "about:blank", detail: str = "", **members: Any) -> Answer:
    body = {"type": name, "title": name, "status": status, "detail": detail, **members}
    return Answer(status, body, "application/problem+json")


def handler_of(server: FakeServer) -> type[BaseHTTPRequestHandler]:
    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"
        wbufsize = -1
        disable_nagle_algorithm = True

        def _serve(self) -> None:
            size = int(self.headers.get("Content-Length") or 0)
            content = self.rfile.read(size)
            headers = {name.lower(): value for name, value in self.headers.items()}
            is_known = headers.get("x-worker-api-key", "") in server.keys
            if server.control is not None and headers.get("upgrade") == "websocket" and is_known:
                server.control.serve(self.connection, self.path, headers)
                self.close_connection = True
                return
            answer = server.answer(self.command, self.path, headers, content)
            text = json.dumps(answer.body) if isinstance(answer.body, dict) else answer.body
            body = text if isinstance(text, bytes) else text.encode()
            self.send_response(answer.status)
            for name, value in {"Content-Type": answer.kind, **answer.headers}.items():
                self.send_header(name, value)
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

        def date_time_string(self, timestamp: float | None = None) -> str:
            return server.date or super().date_time_string(timestamp)  # type: ignore[arg-type]

        do_GET = do_POST = do_PUT = _serve  # noqa: N815 - the base class wants these names

        def handle(self) -> None:
            try:
                super().handle()
            except (BrokenPipeError, ConnectionResetError):
                self.close_connection = True

        def log_message(self, *_: object) -> None:
            pass

    return Handler
