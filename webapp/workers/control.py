"""The control socket: an accelerator beside sync. One a worker, the newest wins; without it nothing is lost.

What goes down it is what a sync would answer, a message each: offers, cancels, which logs are watched, drain, announcements.
Reports come by HTTP: what an agent says of them here is a hint.
"""

import json
import logging
import threading
from collections.abc import Iterator
from dataclasses import dataclass, field
from datetime import datetime
from functools import partial
from typing import Any

from flask import current_app
from pydantic import ValidationError
from sqlalchemy.exc import SQLAlchemyError

from webapp import clock
from webapp.api.body import decoded
from webapp.database import new_id, release
from webapp.errors import GarageError, Invalid, invalid_from
from webapp.live.bus import bus, worker_topic
from webapp.live.socket import REPLACED, RESTARTING, SESSION_ENDED, Connection, WebSocket
from webapp.workers import identify, presence, sync, twins
from webapp.workers.caller import Caller, refuse_status
from webapp.workers.schemas import SyncRequest
from webapp.workers.sync import Answer, Parked, Terms

log = logging.getLogger(__name__)

HINTS = frozenset({"task_completed", "task_failed"})
REMEMBERED_IDS = 500


@dataclass
class Told:
    """What this connection has said, so that only changes are said."""

    cancels: set[str] = field(default_factory=set)
    streams: set[str] = field(default_factory=set)
    is_drained: bool = False
    announcement: str | None = None
    wants_rotation: bool = False


class Control(Connection):
    """An agent's open socket. Its own greenlet does one pass after each heartbeat, each wake-up, and now and then."""

    def __init__(self, ws: WebSocket, caller: Caller) -> None:
        super().__init__(ws, lambda: True)
        self.caller = caller
        # No frame for this long: the agent or the way to it is gone. It says something every 20 s.
        self._silence_s: float = current_app.config["SETTINGS"].control_silence_s
        self.look_every_s = min(sync.FLOOR_S, self._silence_s / 4)
        self.parked = Parked(caller.worker_id, caller.organisation_id, self)
        self.connected_at = clock.now()
        self.heartbeat_at: datetime | None = None
        self._heard_at = clock.monotonic()
        self._request: SyncRequest | None = None  # the newest heartbeat
        self._unanswered: list[str] = []  # ids of heartbeats
        self._answers: list[dict[str, Any]] = []
        self._seen: dict[str, None] = {}
        self._told = Told()

    # ---- from the agent

    def hear(self, frame: str) -> None:
        """One frame. What can't be read is answered with an error, and changes nothing."""
        self._heard_at = clock.monotonic()
        presence.seen(self.caller.worker_id, self.caller.address)
        try:
            message = decoded(frame.encode())
            kind, message_id = str(message["type"]), str(message["id"])[:64]
        except (Invalid, ValueError, TypeError, KeyError):
            self._refuse("", "A message is a JSON object with type and id, without NUL characters.")
            return
        if kind == "heartbeat":
            self._heartbeat(message, message_id)
        elif kind in HINTS:
            self._answers.append({"type": "ack", "id": message_id})
        elif kind != "ack":
            self._refuse(message_id, f"There is no message {kind[:40]!r}.")

    def _heartbeat(self, message: dict[str, Any], message_id: str) -> None:
        self._unanswered.append(message_id)
        if message_id in self._seen:
            return  # answered again, not acted on again
        try:
            request = SyncRequest.model_validate(message)
        except ValidationError as error:
            self._unanswered.remove(message_id)
            self._refuse(message_id, invalid_from(error).detail)
            return
        self._seen[message_id] = None
        if len(self._seen) > REMEMBERED_IDS:
            del self._seen[next(iter(self._seen))]
        self._request = request.model_copy(update={"reports": []})
        self.parked.session_id = request.session_id
        self.heartbeat_at = clock.now()
        seen = presence.seen(self.caller.worker_id, self.caller.address)
        presence.heard(seen, request)
        twins.heard(self.caller.worker_id, request, self.caller.address)

    def _refuse(self, message_id: str, words: str) -> None:
        self._answers.append({"type": "error", "id": message_id, "detail": words})

    # ---- to the agent

    def _check(self) -> None:
        if self.parked.is_superseded:
            self.close(REPLACED)
        elif clock.monotonic() - self._heard_at > self._silence_s:
            self.close(RESTARTING)

    def _send(self) -> None:
        if self._close_with is None:
            for message in [*self._pass(), *self._taken_answers()]:
                self.ws.send(json.dumps(message))

    def _taken_answers(self) -> list[dict[str, Any]]:
        answers, self._answers = self._answers, []
        return answers

    def _pass(self) -> list[dict[str, Any]]:
        """What there is to say now. Trouble with the database waits for the next look; the agent's sync goes on."""
        self.parked.free_slots = 0
        try:
            # By its key, not only its worker: a key ends by itself, and also who says nothing must hear of it.
            self.caller = identify.again(self.caller)
            refuse_status(self.caller.status)
            if self._request is None:
                return []
            answer = sync.exchange(self.caller, self._request_now(self._request), self._terms(self._request))
        except GarageError as error:
            if error.status < 500:
                self.close(SESSION_ENDED)
            return []
        except SQLAlchemyError as error:
            log.warning("control socket: the database doesn't answer", extra={"error": str(error)[:300]})
            return []
        finally:
            release()
        self.parked.offered, self.parked.free_slots = answer.offered, answer.free_slots
        return [*self._acknowledged(answer), *self._news(answer)]

    def _terms(self, request: SyncRequest) -> Terms:
        is_heartbeat = bool(self._unanswered)
        is_elsewhere = partial(twins.is_elsewhere, self.caller.worker_id, request.boot_id)
        return Terms(renews=is_heartbeat, heard_at=self.heartbeat_at, is_elsewhere=is_elsewhere)

    def _request_now(self, request: SyncRequest) -> SyncRequest:
        """A silent worker gets no new work, though its socket is open still: frozen or cut off, it couldn't begin it."""
        if clock.monotonic() - self._heard_at <= current_app.config["SETTINGS"].offline_after_s:
            return request
        return request.model_copy(update={"accepting": False})

    def _acknowledged(self, answer: Answer) -> Iterator[dict[str, Any]]:
        """Heartbeats are answered with what their sync would have: the lease, and what isn't the worker's any more."""
        ids, self._unanswered = self._unanswered, []
        for message_id in ids:
            said = {name: answer.body[name] for name in ("lease_s", "lost_after_s", "unknown")}
            yield {"type": "ack", "id": message_id, **said}

    def _news(self, answer: Answer) -> Iterator[dict[str, Any]]:
        body, told = answer.body, self._told
        for offer in body["offers"]:
            yield self._message("run_task", **offer)
        cancels = {row["attempt_id"]: row for row in body["cancel"]}
        for attempt_id in cancels.keys() - told.cancels:
            yield self._message("cancel_task", **cancels[attempt_id])
        streams = set(body["stream"])
        for attempt_id in streams - told.streams:
            yield self._message("start_realtime_stream", attempt_id=attempt_id)
        for attempt_id in told.streams - streams:
            yield self._message("stop_realtime_stream", attempt_id=attempt_id)
        if body.get("rotate_key", False) and not told.wants_rotation:
            yield self._message("rotate_key")
        if body["drain"] != told.is_drained:
            yield self._message("drain" if body["drain"] else "resume")
        if body["announce"] != told.announcement:
            yield self._message("announce", text=body["announce"] or "")
        wants_rotation = body.get("rotate_key", False)
        self._told = Told(set(cancels), streams, body["drain"], body["announce"], wants_rotation)

    @staticmethod
    def _message(kind: str, **said: Any) -> dict[str, Any]:
        return {"type": kind, "id": new_id(), **said}


_connected: dict[str, Control] = {}
_lock = threading.Lock()


def serve(ws: WebSocket, caller: Caller) -> None:
    """Until either side ends it. An older connection of the same worker is closed with 4409."""
    release()  # the guard has read the key: who says nothing yet may hold no connection either
    connection = Control(ws, caller)
    with bus.attach(connection, worker_topic(caller.worker_id)):
        _enter(connection)
        if bus.stopping.is_set():  # it came in while everybody else was told to come back
            connection.close(RESTARTING)
        try:
            connection.serve(connection.hear)
        finally:
            _leave(connection)


def _enter(connection: Control) -> None:
    with _lock:
        older = _connected.get(connection.caller.worker_id)
        _connected[connection.caller.worker_id] = connection
    if older:
        older.parked.supersede()
    sync.pushed_to[connection.caller.worker_id] = connection.parked
    bus.wake(worker_topic(connection.caller.worker_id))


def _leave(connection: Control) -> None:
    """Touches nothing of a newer connection."""
    worker_id = connection.caller.worker_id
    with _lock:
        if _connected.get(worker_id) is connection:
            del _connected[worker_id]
            if sync.pushed_to.get(worker_id) is connection.parked:
                del sync.pushed_to[worker_id]
            # Its sync takes over now, not at its next look.
            bus.wake(worker_topic(worker_id))


def connection_of(worker_id: str) -> Control | None:
    return _connected.get(worker_id)


def count() -> int:
    return len(_connected)


def close_all() -> None:
    """The server stops: everybody is told to come back."""
    with _lock:
        connections = list(_connected.values())
    for connection in connections:
        connection.close(RESTARTING)
