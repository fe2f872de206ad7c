"""The control socket: an accelerator. What comes down it could come by sync a little later, and nothing needs it.

One thread reads, one speaks: heartbeats, acknowledgements, and hints of what has ended. Reports go by sync.
"""

from __future__ import annotations

import json
import logging
import socket as sockets
import threading
import uuid
from collections import OrderedDict
from contextlib import suppress
from typing import Any
from urllib.parse import quote

from websockets.exceptions import ConnectionClosed, InvalidHandshake, InvalidStatus, WebSocketException
from websockets.sync.client import connect
from websockets.sync.connection import Connection

from agent import __version__, clock, retry, tls
from agent.answer import strings
from agent.attempt import Attempt
from agent.holding import Holding
from agent.loop import Loop
from agent.server import Server

log = logging.getLogger("agent")

HEARTBEAT_S = 20.0
SILENCE_S = 60.0  # nothing from the server, which answers each heartbeat: the way to it is gone
OPEN_S = 10.0
# Changes gather for this long: the server closes a socket that says more than 20 things a second.
GAP_S = 0.25
HINTS_AT_ONCE = 2
MAX_MESSAGE_BYTES = 1024 * 1024
REMEMBERED_IDS = 500
STABLE_S = 60.0
# Another agent has taken over, or the key is refused: no hurry.
REPLACED, REFUSED = 4409, frozenset({4401, 4403})
REFUSED_S = 60.0
ANOTHER = (
    "another agent uses this worker's key, as after a disk was copied: the newest has the control socket. "
    "On the copy stop the agent and use its command reset"
)


class Control:
    """Connects again and again until the program ends."""

    def __init__(self, server: Server, loop: Loop) -> None:
        self._server = server
        self._loop = loop
        self._session: Session | None = None
        self._failures = 0
        loop.when_changed = self.kick

    def run(self) -> None:
        """Not before the server knows this session of the agent: its first sync says what it is."""
        self._loop.is_known.wait()
        while True:
            began = clock.now()
            try:
                pause_s = self._connection()
            except Exception:
                log.exception("control socket: an error that nobody expected")
                pause_s = retry.CAP_BUSY_S
            if clock.now() - began >= STABLE_S:
                self._failures = 0
            self._failures += 1
            threading.Event().wait(max(pause_s, retry.delay_s(self._failures)))

    def reconnect(self) -> None:
        """With the key as it is now."""
        session = self._session
        if session is not None:
            session.close()

    def kick(self) -> None:
        """What is held has changed: say so now, not at the next heartbeat."""
        session = self._session
        if session is not None:
            session.kick()

    def ended(self, attempt: Attempt) -> None:
        """A hint that a report is on its way."""
        session = self._session
        if session is not None and attempt.report is not None:
            session.hint(attempt.report)

    def _connection(self) -> float:
        """One connection, to its end. → seconds to wait at least before the next one."""
        try:
            with dial(self._server) as socket:
                self._session = Session(socket, self._loop)
                self._session.run()
        except InvalidStatus as error:
            # 401 and 403 are said by sync; 404: a server without this, or a proxy that lets no socket through.
            return REFUSED_S if error.response.status_code in {401, 403, 404} else 0.0
        except ConnectionClosed as error:
            return self._closed(error.rcvd.code if error.rcvd else 1006)
        except (OSError, InvalidHandshake, WebSocketException):
            return 0.0  # sync says when the server can't be reached
        finally:
            self._session = None
        return 0.0

    def _closed(self, code: int) -> float:
        if code == REPLACED:
            log.warning(ANOTHER)
        return retry.around(REFUSED_S) if code == REPLACED or code in REFUSED else 0.0


def dial(server: Server) -> Connection:
    """Redirects aren't followed: they would carry the key along. Raises what `connect` does."""
    scheme, _, rest = server.url.partition("://")
    is_safe = scheme == "https"
    query = quote(server.worker_id, safe="")
    return connect(
        f"{'wss' if is_safe else 'ws'}://{rest}/api/v1/agents/control?agent_id={query}",
        ssl=tls.context(server.pin) if is_safe else None,
        additional_headers={"X-Worker-API-Key": server.secret} if server.secret else {},
        user_agent_header=f"garageswarm-agent/{__version__}",
        compression=None,
        open_timeout=OPEN_S,
        ping_interval=None,  # the heartbeat is its own
        close_timeout=1,
        max_size=MAX_MESSAGE_BYTES,
    )


class Session:
    """One connection."""

    def __init__(self, socket: Connection, loop: Loop) -> None:
        self._socket = socket
        self._loop = loop
        self._changed = threading.Condition()
        self._is_over = False
        self._is_due = True  # the first heartbeat at once
        self._due_at = 0.0  # whatever else is said meanwhile
        self._acks: list[str] = []
        self._hints: list[dict[str, Any]] = []
        self._sent: dict[str, tuple[float, list[Attempt]]] = {}  # heartbeats that wait for their answer
        # A pushed offer was claimed after the server had answered this heartbeat, so its lease began later.
        self._answered_at = clock.now()
        self._known: OrderedDict[str, None] = OrderedDict()

    def run(self) -> None:
        """Raises ConnectionClosed when it ends."""
        threading.Thread(target=self._speak, name="control-heartbeat", daemon=True).start()
        try:
            while True:
                self._hear(self._socket.recv(timeout=SILENCE_S))
        except TimeoutError:
            log.info("control socket: silent for %s s, connecting again", SILENCE_S)
            # Nobody reads at the other end: whoever is just sending would block, and closing would wait for that.
            with suppress(OSError):
                self._socket.socket.shutdown(sockets.SHUT_RDWR)
        finally:
            with self._changed:
                self._is_over = True
                self._changed.notify_all()

    def kick(self) -> None:
        with self._changed:
            self._is_due = True
            self._changed.notify_all()

    def close(self) -> None:
        self._socket.close()

    def hint(self, report: dict[str, Any]) -> None:
        kind = "task_completed" if report.get("status") == "completed" else "task_failed"
        names = {name: report[name] for name in ("task_id", "attempt_id", "status")}
        with self._changed:
            if len(self._hints) < HINTS_AT_ONCE:
                self._hints.append({"type": kind, "id": str(uuid.uuid4()), **names})
                self._changed.notify_all()

    # What is said.

    def _speak(self) -> None:
        try:
            while True:
                messages = self._next_messages()
                if not messages:
                    return
                for message in messages:
                    self._socket.send(json.dumps(message))
                threading.Event().wait(GAP_S)
        except (ConnectionClosed, OSError):
            return  # the reader finds out too, and ends the session

    def _next_messages(self) -> list[dict[str, Any]]:
        """Waits until there is something to say. Empty when the session is over."""
        with self._changed:
            while not (self._is_over or self._is_due or self._acks or self._hints):
                self._changed.wait(max(0.0, self._due_at - clock.now()))
                if clock.now() >= self._due_at:
                    break
            if self._is_over:
                return []
            acks, self._acks = self._acks, []
            messages, self._hints = self._hints, []
            is_due, self._is_due = self._is_due or clock.now() >= self._due_at, False
        if acks:
            messages.append({"type": "ack", "id": str(uuid.uuid4()), "of": acks})
        return [*messages, self._heartbeat()] if is_due else messages

    def _heartbeat(self) -> dict[str, Any]:
        message_id, sent_at = str(uuid.uuid4()), clock.now()
        self._due_at = sent_at + retry.around(HEARTBEAT_S)
        held, body = self._loop.heartbeat()
        self._sent[message_id] = (sent_at, held)
        return {"type": "heartbeat", "id": message_id, **body}

    # What is heard.

    def _hear(self, frame: str | bytes) -> None:
        try:
            message = json.loads(frame)
            kind, message_id = message["type"], message["id"]
        except (ValueError, TypeError, KeyError, RecursionError):
            log.warning("control socket: a message that can't be read: ignored")
            return
        if kind == "ack":
            self._acknowledged(message)
        elif kind == "error":
            self._sent.pop(str(message_id), None)
            log.warning("control socket: the server says %s", message.get("detail"))
        else:
            self._ordered(str(kind), str(message_id), message)

    def _acknowledged(self, message: dict[str, Any]) -> None:
        sent_at, held = self._sent.pop(str(message["id"]), (None, []))
        if sent_at is None:
            return
        self._answered_at = sent_at

        def renew(holding: Holding) -> None:
            holding.renew(held, message, sent_at)
            holding.end_wanted(strings(message, "unknown"), ())

        self._loop.pushed(renew)

    def _ordered(self, kind: str, message_id: str, message: dict[str, Any]) -> None:
        """A repeated id is answered and not acted on again."""
        if message_id not in self._known:
            self._loop.pushed(lambda holding: self._obey(holding, kind, message))
            self._known[message_id] = None
            if len(self._known) > REMEMBERED_IDS:
                self._known.popitem(last=False)
        with self._changed:
            self._acks.append(message_id)
            self._changed.notify_all()

    def _obey(self, holding: Holding, kind: str, message: dict[str, Any]) -> None:
        attempt_id = str(message.get("attempt_id"))
        if kind == "run_task":
            if holding.take([message], self._answered_at):
                self.kick()
        elif kind == "cancel_task":
            holding.end_wanted((), [message])
        elif kind in {"start_realtime_stream", "stop_realtime_stream"}:
            holding.watch_one(attempt_id, is_watched=kind.startswith("start"))
        elif kind in {"drain", "resume"}:
            if holding.drain(kind == "drain"):
                self.kick()
        elif kind == "rotate_key":
            holding.rotate_key()
        elif kind == "announce":
            holding.announce(message.get("text"))
        else:
            log.info("control socket: %r is not known here: ignored", kind)
