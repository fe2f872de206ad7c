"""A proxy between browser and server that lets every request through but the one for a WebSocket."""

from __future__ import annotations

import socket
import threading
from collections.abc import Iterator
from contextlib import contextmanager, suppress

REFUSED = b"HTTP/1.1 403 Forbidden\r\nContent-Length: 0\r\nConnection: close\r\n\r\n"


class UpgradeRefusingProxy:
    """One request a connection, so that every head passes under its eyes. The Host header stays the browser's."""

    def __init__(self, port: int) -> None:
        self._target = ("127.0.0.1", port)
        self._listener = socket.create_server(("127.0.0.1", 0))
        self.refused = 0

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self._listener.getsockname()[1]}"

    @contextmanager
    def running(self) -> Iterator[UpgradeRefusingProxy]:
        threading.Thread(target=self._accept, daemon=True).start()
        try:
            yield self
        finally:
            self._listener.close()

    def _accept(self) -> None:
        while True:
            try:
                browser, _ = self._listener.accept()
            except OSError:
                return
            threading.Thread(target=self._serve, args=(browser,), daemon=True).start()

    def _serve(self, browser: socket.socket) -> None:
        with browser, suppress(OSError):
            head = _head_of(browser)
            if not head:
                return
            if b"\r\nupgrade: websocket" in head.lower():
                self.refused += 1
                browser.sendall(REFUSED)
                return
            with socket.create_connection(self._target) as server:
                server.sendall(_without_keep_alive(head))
                threading.Thread(target=_pipe, args=(browser, server), daemon=True).start()
                _pipe(server, browser)


def _head_of(connection: socket.socket) -> bytes:
    """Everything up to and behind the blank line: what came of the body goes along."""
    data = b""
    while b"\r\n\r\n" not in data:
        part = connection.recv(65536)
        if not part:
            return b""
        data += part
    return data


def _without_keep_alive(head: bytes) -> bytes:
    lines = head.split(b"\r\n")
    at = lines.index(b"")
    kept = [line for line in lines[:at] if not line.lower().startswith(b"connection:")]
    return b"\r\n".join([*kept, b"Connection: close", *lines[at:]])


def _pipe(source: socket.socket, target: socket.socket) -> None:
    with suppress(OSError):
        while data := source.recv(65536):
            target.sendall(data)
