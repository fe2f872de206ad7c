"""gunicorn's gevent worker, taught to stop: parked polls, open pages and idle connections end when it is told to.

And to begin: a TLS handshake takes only so long, and one that fails says so in a line at most.
"""

import os
import socket
import ssl
from types import FrameType
from typing import Any

import gevent
from gunicorn.workers.ggevent import GeventWorker

HANDSHAKE_SECONDS = 10
PLAIN_HTTP = (
    b"HTTP/1.1 400 Bad Request\r\nConnection: close\r\nContent-Type: text/plain; charset=utf-8\r\n\r\n"
    b"This port speaks https: begin the address with https://\n"
)


class LateHandshake(ssl.SSLSocket):
    """Wrapped without a word: gevent would wait for the other side's for ever, and print a traceback where it fails."""

    def __init__(self, **options: Any) -> None:
        try:
            super().__init__(**{**options, "do_handshake_on_connect": False})
        except OSError as error:  # whoever it was has gone: nothing to tell anybody
            raise gevent.GreenletExit from error


class IdleTimeout(gevent.Timeout):
    """How long a connection may wait for its next request; `end` is the same, now."""

    def __init__(self, seconds: float, idle: set["IdleTimeout"]) -> None:
        super().__init__(seconds, False)  # type: ignore[arg-type]  # False: end in silence
        self._idle = idle
        self._greenlet: Any = None

    def __enter__(self) -> "IdleTimeout":
        self._greenlet = gevent.getcurrent()
        self._idle.add(self)
        super().__enter__()
        return self

    def __exit__(self, kind: Any, value: Any, trace: Any) -> Any:
        self._idle.discard(self)
        return super().__exit__(kind, value, trace)

    def end(self) -> None:
        gevent.get_hub().loop.run_callback(self._greenlet.throw, self)


class Worker(GeventWorker):
    """Without this a stopping server would wait `graceful_timeout` for browsers that keep a connection open."""

    def __init__(self, *arguments: Any, **options: Any) -> None:
        super().__init__(*arguments, **options)
        self._idle: set[IdleTimeout] = set()

    def timeout_ctx(self) -> IdleTimeout:
        return IdleTimeout(self.cfg.keepalive, self._idle)

    def handle(self, listener: Any, client: Any, addr: Any) -> None:
        if not isinstance(client, ssl.SSLSocket) or self._shakes_hands(client, addr):
            super().handle(listener, client, addr)

    def _shakes_hands(self, client: ssl.SSLSocket, addr: Any) -> bool:
        with IdleTimeout(HANDSHAKE_SECONDS, self._idle):
            try:
                client.do_handshake()
                return True
            except ssl.SSLError as error:
                self.log.debug("No TLS with %s: %s", addr, error)
                if error.reason == "HTTP_REQUEST":
                    _answer_plainly(client)
            except OSError as error:  # it has gone
                self.log.debug("No TLS with %s: %s", addr, error)
        return False

    def handle_exit(self, sig: int, frame: FrameType | None) -> None:
        super().handle_exit(sig, frame)
        gevent.spawn(self._let_go)

    def _let_go(self) -> None:
        from webapp import serving

        serving.stop()
        for _ in range(int(self.cfg.graceful_timeout * 10)):
            for timeout in list(self._idle):
                timeout.end()
            gevent.sleep(0.1)


def _answer_plainly(client: ssl.SSLSocket) -> None:
    """To somebody who speaks http to the TLS port. What he still sends is read: closing over it would take the answer
    away from him."""
    try:
        os.write(client.fileno(), PLAIN_HTTP)
        client.shutdown(socket.SHUT_WR)  # from here on `client` reads what is there, not TLS
        while client.recv(4096):
            pass
    except OSError:
        return  # he has gone
