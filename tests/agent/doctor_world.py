"""Networks that a doctor meets: proxies that break what goes through, and strangers that answer in a server's place."""

from __future__ import annotations

import re
import socket
import threading
from contextlib import suppress

from tests.agent.tls_world import Listener

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
