"""Who may stand where an agent looks for its server: somebody with another certificate, and a proxy on the way."""

from __future__ import annotations

import select
import socket
import ssl
import threading
from contextlib import suppress

from tests.certificates import Pair


def context_of(pair: Pair) -> ssl.SSLContext:
    made = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    made.load_cert_chain(pair.cert_file, pair.key_file)
    return made


class Listener:
    """Serves each connection in a thread. Use as a context manager."""

    def __init__(self, port: int = 0) -> None:
        self._listener = socket.create_server(("127.0.0.1", port))
        self.port = self._listener.getsockname()[1]

    def __enter__(self) -> None:
        threading.Thread(target=self._accept, daemon=True).start()

    def __exit__(self, *_: object) -> None:
        self._listener.close()

    def _accept(self) -> None:
        with suppress(OSError):
            while True:
                connection, _ = self._listener.accept()
                threading.Thread(target=self._serve_and_close, args=(connection,), daemon=True).start()

    def _serve_and_close(self, connection: socket.socket) -> None:
        with connection, suppress(OSError):
            self.serve(connection)

    def serve(self, connection: socket.socket) -> None:
        raise NotImplementedError


class Impostor(Listener):
    """Does the TLS handshake with a certificate of its own, and keeps every byte that it is told after it."""

    def __init__(self, pair: Pair, port: int = 0) -> None:
        super().__init__(port)
        self._context = context_of(pair)
        self._changed = threading.Condition()
        self.heard: list[bytes] = []  # a connection each, once it has ended

    @property
    def url(self) -> str:
        return f"https://127.0.0.1:{self.port}"

    def serve(self, connection: socket.socket) -> None:
        with self._context.wrap_socket(connection, server_side=True) as stream:
            said = b""
            with suppress(OSError):
                while part := stream.recv(65536):
                    said += part
            with self._changed:
                self.heard.append(said)
                self._changed.notify_all()

    def heard_of(self, connections: int) -> list[bytes]:
        """What was said on that many at least."""
        with self._changed:
            assert self._changed.wait_for(lambda: len(self.heard) >= connections, 30), self.heard
            return list(self.heard)


class ConnectProxy(Listener):
    """Opens the way that CONNECT asks for, and remembers the heads."""

    def __init__(self) -> None:
        super().__init__()
        self.heads: list[bytes] = []

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}"

    def serve(self, connection: socket.socket) -> None:
        head = b""
        while b"\r\n\r\n" not in head:
            head += connection.recv(1)
        self.heads.append(head)
        host, _, port = head.split()[1].decode().partition(":")
        with socket.create_connection((host, int(port))) as beyond:
            connection.sendall(b"HTTP/1.1 200 OK\r\n\r\n")
            ends = {connection: beyond, beyond: connection}
            while True:
                for source in select.select(list(ends), [], [])[0]:
                    data = source.recv(65536)
                    if not data:
                        return
                    ends[source].sendall(data)
