"""A doctor to be asked inside a test, and the networks that it meets: proxies that break what goes through, and strangers
that answer in a server's place."""

from __future__ import annotations

import json
import re
import socket
import threading
from contextlib import suppress
from pathlib import Path
from typing import Any

import pytest

from agent import commands
from tests.agent.fake_server import FakeServer
from tests.agent.one_command import agent
from tests.agent.tls_world import Listener

Found = dict[str, list[dict[str, Any]]]

UPGRADE = re.compile(rb"(?im)^(upgrade|connection):[^\r\n]*\r\n")


class Stripping(Listener):
    """A proxy of the old kind: hop-by-hop headers end here, and with them the wish for a WebSocket."""

    def __init__(self, target: int) -> None:
        super().__init__()
        self._target = target
        self.url = f"http://127.0.0.1:{self.port}"

    def serve(self, connection: socket.socket) -> None:
        with socket.create_connection(("127.0.0.1", self._target), 30) as server:
            threading.Thread(target=_pass_on, args=(server, connection), daemon=True).start()
            while said := connection.recv(65_536):
                server.sendall(UPGRADE.sub(b"", said))


class Stranger(Listener):
    """Answers every request with the same bytes."""

    def __init__(self, answer: bytes) -> None:
        super().__init__()
        self._answer = answer
        self.url = f"http://127.0.0.1:{self.port}"

    def serve(self, connection: socket.socket) -> None:
        if connection.recv(65_536):
            connection.sendall(self._answer)


class Mute(Listener):
    """Takes connections and says nothing."""

    def serve(self, connection: socket.socket) -> None:
        while connection.recv(65_536):
            pass


def _pass_on(source: socket.socket, target: socket.socket) -> None:
    with suppress(OSError):
        while said := source.recv(65_536):
            target.sendall(said)
        target.shutdown(socket.SHUT_WR)


class Doctor:
    """Asked inside the test. Its tools aren't: those of the machine say what they like."""

    def __init__(self, storage: Path, capsys: pytest.CaptureFixture[str]) -> None:
        self.storage = storage
        self.code = -1
        self._capsys = capsys

    def look(self, url: str, *words: str, **environ: str) -> Found:
        chosen = commands.parse(["doctor", "--json", "--storage", str(self.storage), "--server", url, *words])
        self._capsys.readouterr()
        self.code = commands.action(chosen)(chosen, {"AGENT_DISK_FLOOR_BYTES": "0", **environ})
        found: Found = {}
        for check in json.loads(self._capsys.readouterr().out)["checks"]:
            found.setdefault(check["name"], []).append(check)
        return found


def said(found: Found, name: str) -> str:
    (check,) = found[name]
    return f"{check['state']}: {check['text']} → {check['fix']}"


def join(server: FakeServer, storage: Path) -> None:
    assert agent(storage, "join", "--server", server.url).returncode == 0
