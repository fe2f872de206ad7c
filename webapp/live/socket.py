"""A WebSocket, a page's or an agent's: whole sends under a lock, a limit on what comes in, an end when the session ends."""

import socket
import threading
from collections.abc import Callable
from typing import Any, Protocol

import gevent
from simple_websocket import ConnectionClosed

from webapp import clock
from webapp.live.bus import Waiter

SEND_SECONDS = 10
# 200 messages in 10 s is a flood.
FLOOD_MESSAGES, FLOOD_SECONDS = 200, 10
WAITING_FRAMES = 20
RECHECK_SECONDS = 30

RESTARTING, TOO_SLOW, SESSION_ENDED, NOT_ALLOWED, REPLACED = 1012, 1013, 4401, 4403, 4409


class WebSocket(Protocol):
    """What simple_websocket.Server has and we use."""

    sock: Any
    connected: bool
    event: threading.Event
    input_buffer: list[str | bytes]

    def send(self, data: str) -> None: ...
    def close(self, reason: int, message: str | None = None) -> None: ...


class WholeSends:
    """simple-websocket calls `send` once and ignores how much of it went out: a slow reader would get a corrupt stream."""

    def __init__(self, sock: socket.socket) -> None:
        self._sock = sock
        self._lock = threading.Lock()

    def send(self, data: bytes) -> int:
        with self._lock, gevent.Timeout(SEND_SECONDS, OSError("the reader is too slow")):
            self._sock.sendall(data)
        return len(data)

    def __getattr__(self, name: str) -> Any:
        return getattr(self._sock, name)


class Inbox(list[str | bytes]):
    """Frames that wait to be read, never many: a page that floods while it doesn't read can't fill the memory."""

    dropped = 0

    def append(self, frame: str | bytes) -> None:
        if len(self) < WAITING_FRAMES:
            super().append(frame)
        else:
            self.dropped += 1


class Connection(Waiter):
    """One open socket. Others leave things in `pending` and wake it; only its own greenlet sends."""

    look_every_s: float = RECHECK_SECONDS

    def __init__(self, ws: WebSocket, is_valid: Callable[[], bool]) -> None:
        super().__init__()
        ws.sock = WholeSends(ws.sock)
        ws.input_buffer = self._inbox = Inbox(ws.input_buffer)
        self.ws = ws
        self._event = ws.event  # also set by an incoming frame and by the other side's close
        self._is_valid = is_valid
        self._checked_at = clock.monotonic()
        self._check_now = False
        self._flood_began, self._flood_count = clock.monotonic(), 0
        self._close_with: int | None = None
        self.pending: dict[str, str] = {}

    def wake(self) -> None:
        """A hint that the person's rights may have changed."""
        self._check_now = True
        self._event.set()

    def deliver(self, name: str, html: str) -> None:
        """Leave the newest state of a fragment: a slow reader gets the last one, not a queue of all."""
        self.pending[name] = html
        self._event.set()

    def close(self, code: int) -> None:
        self._close_with = code
        self._event.set()

    def serve(self, on_frame: Callable[[str], None]) -> None:
        """Until either side ends it: hand frames over, send what is pending, look whether the session still holds."""
        try:
            while self.ws.connected and self._close_with is None:
                self._event.wait(self.look_every_s)
                self._event.clear()
                self._read(on_frame)
                self._check()
                self._send()
            if self.ws.connected:
                self.ws.close(self._close_with or RESTARTING)
        except (ConnectionClosed, OSError):
            self.ws.connected = False

    def _read(self, on_frame: Callable[[str], None]) -> None:
        while self.ws.input_buffer:
            frame = self.ws.input_buffer.pop(0)
            if self._is_flood():
                self.close(TOO_SLOW)
                return
            if isinstance(frame, str):
                on_frame(frame)

    def _is_flood(self) -> bool:
        if clock.monotonic() - self._flood_began > FLOOD_SECONDS:
            self._flood_began, self._flood_count = clock.monotonic(), 0
        self._flood_count += 1 + self._inbox.dropped
        self._inbox.dropped = 0
        return self._flood_count > FLOOD_MESSAGES

    def _check(self) -> None:
        if not self._check_now and clock.monotonic() - self._checked_at < RECHECK_SECONDS:
            return
        self._check_now, self._checked_at = False, clock.monotonic()
        if not self._is_valid():
            self.close(SESSION_ENDED)

    def _send(self) -> None:
        pending, self.pending = self.pending, {}
        if pending and self._close_with is None:
            # The log last: htmx tells its listeners of every new line again for each fragment that follows.
            log = pending.pop("log", "")
            self.ws.send("".join(pending.values()) + log)
