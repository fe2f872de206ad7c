"""What the server makes of this machine: its key, its agent, and whether a WebSocket comes through."""

from __future__ import annotations

import json
import uuid
from dataclasses import dataclass

from websockets.exceptions import ConnectionClosed, InvalidStatus, WebSocketException

from agent import diary, lock, program
from agent.control import OPEN_S, dial
from agent.doctor.verdict import Look, Verdict, ok, problem, warning
from agent.doctor.way import Way, is_local
from agent.identity import Identity
from agent.loop import PENDING
from agent.server import Refused, Server, Unreachable

NO_SOCKET = "nothing is lost: work comes with the poll, a little later. To have it at once, let the proxy pass WebSockets on"
UPGRADE_REQUIRED = 426
# Answers of the server itself to whoever may not have this socket: the wish for one has come through.
ARRIVED = frozenset({401, 403, 503})


@dataclass
class Member:
    way: Way
    me: Identity | None

    def looks(self) -> list[Look]:
        return [
            Look("key", self.look_at_key),
            Look("WebSocket", self.open_socket),
            Look("agent", self.look_for_agent),
        ]

    @property
    def _worker(self) -> Identity | None:
        """Of this server: no other one is ever told the key."""
        is_such = self.me and self.me.is_registered and self.me.server_url == self.way.config.server_url
        return self.me if is_such else None

    def _server(self) -> Server:
        me, config = self._worker, self.way.config
        return Server(config.server_url, me.worker_id if me else "", me.api_key if me else "", config.pin)

    def look_at_key(self) -> Verdict | None:
        me = self._worker
        if me is None:
            return self._stranger()
        if not self.way.is_ours:
            return None
        try:
            self._server().control_status()
        except Unreachable as error:
            return problem(f"no answer: {error}", "try again")
        except Refused as error:
            if error.type == PENDING:
                where = f"{me.server_url}/workers"
                return warning(
                    "not approved yet", f"an admin has to, at {where}, where the code is {me.code}"
                )
            anew = program.typed("reset", self.way.config.storage)
            return problem(
                f"not taken: {error}", f"ask an admin; if this worker is gone there, join anew after: {anew}"
            )
        return ok(f"taken: this machine is {me.name} (worker {me.worker_id})")

    def _stranger(self) -> Verdict:
        config = self.way.config
        if self.me is not None and self.me.is_registered:
            anew = program.typed("reset", config.storage)
            return warning(
                f"this machine is a worker of {self.me.server_url}, and this server wasn't told its key",
                f"leave out --server to look at that one; to join this one, forget that one first: {anew}",
            )
        words = ["join --server", config.server_url, *(["--pin", config.pin] if config.pin else [])]
        words += ["--insecure"] if self.way.is_insecure and not is_local(self.way.host) else []
        return warning(
            f"this machine has not joined yet ({config.storage})",
            program.typed(" ".join(words), config.storage),
        )

    def look_for_agent(self) -> Verdict | None:
        if self._worker is None:
            return None
        storage = self.way.config.storage
        pid = lock.holder(storage)
        if pid is None:
            return warning("none runs", f"{program.typed('run', storage)}, or install")
        last = diary.read(storage)
        said = f": {last.state}" if last else ""
        return ok(f"runs (process {pid or 'of another container'}){said}")

    # The socket.

    def open_socket(self) -> Verdict | None:
        """A real handshake, and a frame each way. It asks for no work, and never takes the place of the agent's own."""
        if not self.way.is_ours:
            return None
        if self._is_open_already():
            return ok("the agent's own is open")
        try:
            return self._tried()
        except InvalidStatus as error:
            return self._refused(error.response.status_code, error.response.headers.get("Content-Type", ""))
        except TimeoutError:
            return warning(f"no answer within {OPEN_S:g} s, though the server answers else", NO_SOCKET)
        except (OSError, WebSocketException) as error:
            return warning(f"it breaks off: {error}", NO_SOCKET)

    def _is_open_already(self) -> bool:
        if self._worker is None:
            return False
        try:
            return self._server().control_status().get("connected") is True
        except (Unreachable, Refused):
            return False

    def _tried(self) -> Verdict:
        with dial(self._server()) as socket:
            socket.send(json.dumps({"type": "hello", "id": str(uuid.uuid4())}))
            try:
                socket.recv(timeout=OPEN_S)
            except ConnectionClosed as error:
                return warning(f"it opens, and is closed at once: {error}", NO_SOCKET)
            except TimeoutError:
                return warning("it opens, and then nothing comes through", NO_SOCKET)
        return ok("comes through, both ways")

    @staticmethod
    def _refused(status: int, kind: str) -> Verdict:
        is_ours = kind.startswith("application/problem+json")
        if is_ours and status in ARRIVED:
            return ok("the wish for one comes through; whether one does is seen after joining")
        if is_ours and status == UPGRADE_REQUIRED:
            return warning(
                "a proxy takes the wish for one away (the header Upgrade)",
                f"{NO_SOCKET} (in nginx: proxy_http_version 1.1, and the headers Upgrade and Connection)",
            )
        return warning(f"somebody in between refuses it ({status})", NO_SOCKET)
