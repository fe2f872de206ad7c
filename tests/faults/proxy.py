"""The network between an agent and its server, to be broken while both run."""

from __future__ import annotations

import re
import socket
import struct
import threading
import time
from collections.abc import Callable
from contextlib import suppress

Lost = Callable[[bytes, bytes], bool]

_RESET_ON_CLOSE = struct.pack("ii", 1, 0)
_PASS, _HOLD, _SWALLOW, _ANSWER = "pass", "hold", "swallow", "answer"
_LENGTH = re.compile(rb"\r\ncontent-length: (\d+)\r\n", re.IGNORECASE)


class Proxy:
    """TCP on loopback, a thread each way. It passes everything on until it is told otherwise."""

    def __init__(self, port: int) -> None:
        self.target = ("127.0.0.1", port)
        self.changed = threading.Condition()
        self.mode = _PASS
        self.delay_s = 0.0
        self.said = b""  # the answer instead of the server's
        self.requests: list[bytes] = []  # first lines
        self.connections = 0
        self._lost: Lost | None = None
        self._links: set[_Link] = set()
        self._guard = _bound(0)  # never listens: keeps the port ours while connections are refused
        self.port: int = self._guard.getsockname()[1]
        self._listener: socket.socket | None = None

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}"

    def close(self) -> None:
        self.refuse()
        self._guard.close()

    # What happens to the network.

    def pass_on(self) -> None:
        """All is well again; what was held back goes on its way."""
        self._lost = None
        self._set(_PASS)
        if self._listener is None:
            self._listener = _bound(self.port)
            self._listener.listen(256)
            threading.Thread(target=self._accept, args=(self._listener,), daemon=True).start()

    def refuse(self) -> None:
        """Nobody listens, and what was open is reset: as when the server's program is gone."""
        if self._listener is not None:
            with suppress(OSError):
                self._listener.shutdown(socket.SHUT_RDWR)  # wakes the thread in accept()
            self._listener.close()
            self._listener = None
        self.reset()

    def hold(self) -> None:
        """Nothing arrives until `pass_on`, and then all of it: a cable that is out for a while."""
        self._set(_HOLD)

    def swallow(self) -> None:
        """A black hole: what is sent disappears, and connections of this time stay dead for ever (half-open)."""
        with self.changed:
            for link in self._links:
                link.is_dead = True
        self._set(_SWALLOW)

    def answer(self, said: bytes) -> None:
        """Somebody else answers every request, in HTTP."""
        self.said = said
        self._set(_ANSWER)
        self.reset()

    def lose_reply(self, lost: Lost) -> threading.Event:
        """The next reply for which `lost(request, reply)` is true is thrown away, after the server has sent all of it, and
        the connection reset. The event says that it happened."""
        happened = threading.Event()

        def once(request: bytes, reply: bytes) -> bool:
            if not lost(request, reply):
                return False
            self._lost = None
            happened.set()
            return True

        self._lost = once
        return happened

    def swallow_from(self, lost: Lost) -> threading.Event:
        """As `swallow`, at the very moment of the next reply for which `lost(request, reply)` is true: it is the first thing
        that disappears. The event says that it happened."""
        happened = threading.Event()

        def once(request: bytes, reply: bytes) -> bool:
            if lost(request, reply) and not happened.is_set():
                self.swallow()
                happened.set()
            return happened.is_set()

        self._lost = once
        return happened

    def reset(self) -> None:
        with self.changed:
            links = list(self._links)
        for link in links:
            link.reset()

    # What its connections ask.

    def may_pass(self, link: _Link) -> bool:
        """Waits while everything is held back. False: to be swallowed."""
        time.sleep(self.delay_s)
        with self.changed:
            self.changed.wait_for(lambda: self.mode != _HOLD or link.is_closed)
        return not link.is_dead

    def is_answering(self) -> bool:
        return self.mode == _ANSWER

    def is_choosy(self) -> bool:
        """Whether replies have to be seen whole."""
        return self._lost is not None

    def loses(self, request: bytes, reply: bytes) -> bool:
        return self._lost is not None and self._lost(request, reply)

    def _set(self, mode: str) -> None:
        with self.changed:
            self.mode = mode
            self.changed.notify_all()

    def _accept(self, listener: socket.socket) -> None:
        while True:
            try:
                client, _ = listener.accept()
            except OSError:
                return
            link = _Link(self, client)
            with self.changed:
                self.connections += 1
                link.is_dead = self.mode == _SWALLOW
                self._links.add(link)
            threading.Thread(target=self._serve, args=(link,), daemon=True).start()

    def _serve(self, link: _Link) -> None:
        try:
            link.serve()
        finally:
            with self.changed:
                self._links.discard(link)


class _Link:
    """One connection of a client, and ours to the server for it. HTTP/1.1, one request at a time."""

    def __init__(self, proxy: Proxy, client: socket.socket) -> None:
        self._proxy = proxy
        self._client = client
        self._server: socket.socket | None = None
        self._request = b""
        self._has_reply = False
        self.is_dead = False
        self.is_closed = False

    def serve(self) -> None:
        with suppress(OSError):
            self._server = socket.create_connection(self._proxy.target, 10)
            self._server.settimeout(None)
            down = threading.Thread(target=self._down, args=(self._server,), daemon=True)
            down.start()
            with suppress(OSError):
                self._up(self._server)
            with suppress(OSError):
                self._server.shutdown(socket.SHUT_RDWR)
            down.join()
        self.reset()

    def reset(self) -> None:
        """Both ends at once, without a farewell."""
        self.is_closed = True
        with self._proxy.changed:
            self._proxy.changed.notify_all()
        for end in (self._client, self._server):
            if end is not None:
                with suppress(OSError):
                    end.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, _RESET_ON_CLOSE)
                    end.shutdown(socket.SHUT_RD)  # wakes the thread that reads from it
                end.close()

    def _up(self, server: socket.socket) -> None:
        while data := self._client.recv(65536):
            self._note(data)
            if not self._proxy.may_pass(self):
                continue
            if self._proxy.is_answering():
                self._client.sendall(self._proxy.said)
                self._client.shutdown(socket.SHUT_WR)
                return
            server.sendall(data)

    def _note(self, data: bytes) -> None:
        if self._has_reply or not self._request:
            self._request, self._has_reply = b"", False
            self._proxy.requests.append(data.partition(b"\r\n")[0])
        self._request += data

    def _down(self, server: socket.socket) -> None:
        held = b""
        with suppress(OSError):
            while data := server.recv(65536):
                held += data
                if not self._proxy.may_pass(self):
                    held = b""
                elif not (self._proxy.is_choosy() and _is_part(held)):
                    if self._proxy.loses(self._request, held):
                        break
                    self._has_reply = True
                    self._client.sendall(held)
                    held = b""
        if not self.is_dead:
            self.reset()


def is_claim(request: bytes, reply: bytes) -> bool:
    """By the answer of a sync, or pushed through the agent's socket."""
    return b'"offers":[{' in reply or b"run_task" in reply


def _is_part(reply: bytes) -> bool:
    """Whether more of it is to come."""
    head, end, body = reply.partition(b"\r\n\r\n")
    if not head.startswith(b"HTTP/1."):
        return False  # the rest of one that was let pass before
    length = _LENGTH.search(head + b"\r\n")
    return not end or (length is not None and len(body) < int(length[1]))


def _bound(port: int) -> socket.socket:
    sock = socket.socket()
    sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEPORT, 1)
    sock.bind(("127.0.0.1", port))
    return sock
