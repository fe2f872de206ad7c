"""Those who look at the same share a room: one greenlet renders for all of them."""

import logging
import threading
from dataclasses import dataclass
from typing import Any

from flask import Flask, current_app

from webapp import clock
from webapp.database import release
from webapp.errors import NotFound
from webapp.live.bus import bus
from webapp.live.socket import RESTARTING, Connection
from webapp.live.views import LiveView, Scope, rendered

log = logging.getLogger(__name__)

# A view is rendered at most this often, and at most a tenth of the time goes into it.
RENDER_EVERY_S = 0.25
APPEND_EVERY_S = 0.05
RENDER_SHARE = 0.1
# Facts that follow from the time (a worker went silent) wake nobody: look now and then.
FLOOR_S = 5.0


@dataclass
class LogPlace:
    """How far a page's log is."""

    attempt_id: str
    offset: int


class Room:
    """All who look at the same: one greenlet renders for them."""

    def __init__(self, app: Flask, view: LiveView, scope: Scope) -> None:
        self.app, self.view, self.scope = app, view, scope
        self.connections: dict[Connection, LogPlace | None] = {}
        self.latest: dict[str, str] = {}
        self._next_render = 0.0
        self._is_due = False
        self._is_behind = False

    def run(self) -> None:
        """Until nobody looks any more."""
        with bus.listen(*self.view.topics(self.scope)) as waiter:
            self.tell_watched()
            while self.connections and not bus.stopping.is_set():
                began = clock.monotonic()
                self._one_pass()
                # Logs may be appended more often than fragments are rendered, but not take the server for themselves.
                bus.stopping.wait(max(APPEND_EVERY_S, clock.monotonic() - began))
                waiter.wait(self._pause_s())

    def _pause_s(self) -> float:
        if self._is_behind:
            return 0.0
        return max(0.0, self._next_render - clock.monotonic()) if self._is_due else FLOOR_S

    def _one_pass(self) -> None:
        try:
            with self.app.test_request_context():
                self._append()
                self._is_due = clock.monotonic() < self._next_render
                if not self._is_due:
                    self._render()
        except NotFound:
            for connection in list(self.connections):
                connection.close(RESTARTING)  # what it showed has gone: the page finds out when it asks again
        except Exception:
            log.exception("a live view failed", extra={"view": self.view.name})
            self._next_render = clock.monotonic() + FLOOR_S

    def _render(self) -> None:
        began = clock.monotonic()
        fresh = rendered(self.view, self.scope)
        release()
        spent = clock.monotonic() - began
        self._next_render = clock.monotonic() + max(RENDER_EVERY_S, spent / RENDER_SHARE)
        changed = {name: html for name, html in fresh.items() if self.latest.get(name) != html}
        self.latest = fresh
        for connection in list(self.connections):
            for name, html in changed.items():
                connection.deliver(name, html)

    def _append(self) -> None:
        """What each page's log lacks; pages at the same place share the rendering."""
        if self.view.append is None:
            return
        made: dict[tuple[str, int], tuple[str, int]] = {}
        self._is_behind = False
        for connection, place in list(self.connections.items()):
            if place is None:
                continue
            if "log" in connection.pending:
                self._is_behind = True
                continue
            key = (place.attempt_id, place.offset)
            made[key] = made.get(key) or self.view.append(self.scope, *key)
            html, place.offset = made[key]
            if html:
                connection.deliver("log", html)
                self._is_behind = True  # one append has a limit: look at once whether there is more

    def tell_watched(self) -> None:
        """Whoever makes what is shown here may want to know that somebody looks, or nobody any more."""
        if self.view.when_watched is None or bus.stopping.is_set():
            return
        try:
            with self.app.app_context():
                self.view.when_watched(self.scope)
                release()
        except Exception:
            log.exception("a live view failed", extra={"view": self.view.name})

    def join(self, connection: Connection) -> None:
        self.connections[connection] = None
        for name, html in self.latest.items():
            connection.deliver(name, html)


_rooms: dict[tuple[str, Any], Room] = {}
_lock = threading.Lock()


def enter(view: LiveView, scope: Scope, connection: Connection) -> Room:
    """The room of those who look at the same, made by the first."""
    with _lock:
        room = _rooms.get((view.name, scope.key))
        if room is None:
            room = Room(current_app._get_current_object(), view, scope)  # type: ignore[attr-defined]
            _rooms[view.name, scope.key] = room
            room.join(connection)
            threading.Thread(target=_run, args=(room,), daemon=True).start()
        else:
            room.join(connection)
        return room


def _run(room: Room) -> None:
    while True:
        room.run()
        with _lock:
            if not room.connections or bus.stopping.is_set():
                _rooms.pop((room.view.name, room.scope.key), None)
                break
    room.tell_watched()


def close_all() -> None:
    """The server stops: everybody is told to come back."""
    with _lock:
        connections = [connection for room in _rooms.values() for connection in room.connections]
    for connection in connections:
        connection.close(RESTARTING)


def leave(room: Room, connection: Connection) -> None:
    """The last one out lets the room end at its next look."""
    room.connections.pop(connection, None)
    bus.wake(*room.view.topics(room.scope))
