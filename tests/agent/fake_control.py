"""The server's side of the control socket, in the hand of a test."""

from __future__ import annotations

import json
import socket
import threading
import uuid
from typing import Any

from simple_websocket import ConnectionClosed, Server

Json = dict[str, Any]
PATIENCE_S = 30.0


class FakeLine:
    """One connection of an agent. Heartbeats are answered by themselves unless `answers` is False."""

    def __init__(self, ws: Server, path: str, headers: dict[str, str]) -> None:
        self.path, self.headers = path, headers
        self.heard: list[Json] = []
        self.answers = True
        self.unknown: list[str] = []
        self.is_open = True
        self._ws = ws
        self._changed = threading.Condition()

    def say(self, kind: str, message_id: str = "", **said: Any) -> str:
        message_id = message_id or str(uuid.uuid4())
        self._ws.send(json.dumps({"type": kind, "id": message_id, **said}))
        return message_id

    def say_raw(self, frame: str) -> None:
        self._ws.send(frame)

    def close(self, code: int) -> None:
        self._ws.close(code)

    def hear(self, kind: str, count: int = 1, **facts: Any) -> list[Json]:
        """That many messages of the kind with these facts, as soon as they are there."""

        def found() -> list[Json]:
            return [
                one
                for one in self.heard
                if one["type"] == kind and all(one.get(name) == value for name, value in facts.items())
            ]

        with self._changed:
            assert self._changed.wait_for(lambda: len(found()) >= count, PATIENCE_S), self.heard
            return found()

    def acks(self) -> list[str]:
        with self._changed:
            return [one for message in self.heard if message["type"] == "ack" for one in message["of"]]

    def beats(self) -> list[Json]:
        with self._changed:
            return [one for one in self.heard if one["type"] == "heartbeat"]

    def read(self) -> None:
        try:
            while True:
                message = json.loads(self._ws.receive() or "")
                if message["type"] == "heartbeat" and self.answers:
                    lease = {"lease_s": 120, "lost_after_s": 600, "unknown": self.unknown}
                    self.say("ack", message["id"], **lease)
                elif message["type"] == "hello":
                    self.say("error", message["id"], detail="There is no message 'hello'.")
                with self._changed:
                    self.heard.append(message)
                    self._changed.notify_all()
        except ConnectionClosed:
            pass
        finally:
            self.is_open = False


class FakeControl:
    def __init__(self) -> None:
        self.lines: list[FakeLine] = []
        self._changed = threading.Condition()

    def serve(self, sock: socket.socket, path: str, headers: dict[str, str]) -> None:
        environ = {f"HTTP_{name.upper().replace('-', '_')}": value for name, value in headers.items()}
        ws = Server({**environ, "werkzeug.socket": sock})
        line = FakeLine(ws, path, headers)
        with self._changed:
            self.lines.append(line)
            self._changed.notify_all()
        line.read()

    def line(self, number: int = 0) -> FakeLine:
        """That connection, as soon as it is there."""
        with self._changed:
            assert self._changed.wait_for(lambda: len(self.lines) > number, PATIENCE_S), "no connection"
            return self.lines[number]
