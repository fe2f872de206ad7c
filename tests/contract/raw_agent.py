"""An agent that isn't ours: it says to a real server what a test wants it to, by HTTP and on the control socket."""

from __future__ import annotations

import json
import ssl
import uuid
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import pytest
import requests
from websockets.exceptions import ConnectionClosed
from websockets.sync.client import connect
from websockets.sync.connection import Connection

from tests.stack import Stack

SHELL = {
    "name": "shell",
    "title": "Shell",
    "schema": {"type": "object", "properties": {"script": {"type": "string"}}},
}
RECEIVE_S = 20


class Agent:
    """A worker's key, and what can be said with it."""

    def __init__(self, stack: Stack, name: str = "", *, join: bool = True) -> None:
        self.stack = stack
        self.name = name or f"raw-{uuid.uuid4().hex[:8]}"
        body: dict[str, Any] = {
            "name": self.name,
            "machine_id": uuid.uuid4().hex,
            "nonce": uuid.uuid4().hex,
            "tools": [SHELL],
            "labels": {"raw": self.name},
            "slots": 2,
        }
        if join:
            body["join_token"] = stack.flask("create-join-token").splitlines()[-1]
        self.http = stack.client()
        made = self.http.post(f"{stack.url}/api/v1/workers/register", json=body, timeout=20).json()
        self.id, self.key = made["worker_id"], made["api_key"]
        self.session_id = uuid.uuid4().hex

    @property
    def headers(self) -> dict[str, str]:
        return {"X-Worker-API-Key": self.key}

    def body(self, held: list[str] | None = None, **said: Any) -> dict[str, Any]:
        return {"session_id": self.session_id, "slots": 2, "held": held or [], "wait_s": 0, **said}

    def call(self, method: str, path: str, **more: Any) -> requests.Response:
        url = f"{self.stack.url}/api/v1{path}"
        return self.http.request(method, url, headers=self.headers, timeout=40, **more)

    def sync(self, held: list[str] | None = None, **said: Any) -> dict[str, Any]:
        return dict(self.call("POST", f"/workers/{self.id}/sync", json=self.body(held, **said)).json())

    @contextmanager
    def connected(self, path: str = "") -> Iterator[Line]:
        path = path or f"/api/v1/agents/control?agent_id={self.id}"
        url = self.stack.url.replace("http", "ws", 1) + path
        trust = ssl.create_default_context(cafile=str(self.stack.trust)) if self.stack.is_tls else None
        options: dict[str, Any] = {"compression": None, "close_timeout": 1, "ssl": trust, "proxy": None}
        with connect(url, additional_headers=self.headers, **options) as socket:
            yield Line(self, socket)

    def task(self, **wish: Any) -> str:
        """A task that only this worker can take."""
        return self.stack.submit("true", labels={"raw": self.name}, **wish)

    def report(self, offer: dict[str, Any], **said: Any) -> requests.Response:
        ids = {name: offer[name] for name in ("task_id", "attempt_id")}
        body = {**ids, "status": "completed", "execution_time_ms": 1, **said}
        return self.call("POST", f"/workers/{self.id}/report-result", json=body)


class Line:
    """One open control socket."""

    def __init__(self, agent: Agent, socket: Connection) -> None:
        self.agent, self.socket = agent, socket
        self.aside: list[dict[str, Any]] = []

    def say(self, kind: str, message_id: str = "", **said: Any) -> str:
        message_id = message_id or str(uuid.uuid4())
        self.socket.send(json.dumps({"type": kind, "id": message_id, **said}))
        return message_id

    def beat(self, held: list[str] | None = None, **said: Any) -> dict[str, Any]:
        """A heartbeat, and its answer."""
        message_id = self.say("heartbeat", **self.agent.body(held, **said))
        return self.hear("ack", message_id)

    def hear(self, kind: str, message_id: str = "") -> dict[str, Any]:
        """The next message of that kind; others are kept for later."""

        def fits(message: dict[str, Any]) -> bool:
            return message["type"] == kind and message_id in ("", message["id"])

        for message in self.aside:
            if fits(message):
                self.aside.remove(message)
                return message
        while True:
            message = json.loads(self.socket.recv(timeout=RECEIVE_S))
            if fits(message):
                return dict(message)
            self.aside.append(message)

    def closed_with(self) -> int:
        """Reads on until the server closes; the code."""
        with pytest.raises(ConnectionClosed) as info:
            self._read_on()
        assert info.value.rcvd is not None, "the connection broke off"
        return info.value.rcvd.code

    def flood(self) -> None:
        """Says far more than anybody needs to, then reads on. Raises ConnectionClosed."""
        for _ in range(5000):
            self.say("task_completed")
        self._read_on()

    def _read_on(self) -> None:
        while True:
            self.socket.recv(timeout=RECEIVE_S)
