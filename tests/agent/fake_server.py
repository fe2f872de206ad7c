"""A control plane that speaks the agent's wire on loopback, and can be told to misbehave."""

from __future__ import annotations

import base64
import gzip
import json
import ssl
import threading
import time
import uuid
from collections import deque
from collections.abc import Callable, Sequence
from hashlib import sha256
from http.server import ThreadingHTTPServer
from typing import Any

from tests.agent.fake_control import FakeControl
from tests.agent.fake_http import Answer, FakeAttempt, Json, handler_of, problem
from tests.certificates import Pair

NO_ORDERS: Json = {"offers": [], "cancel": [], "unknown": []}


class FakeServer:
    """Use as a context manager. With a TLS context it speaks https.

    `misbehave(method, path)` may give an Answer instead of the real one.
    """

    def __init__(self, context: ssl.SSLContext | None = None) -> None:
        self.lock = threading.Condition()
        self.requests: list[tuple[str, str, dict[str, str]]] = []
        self.registrations: list[Json] = []
        self.syncs: list[Json] = []
        self.attempts: dict[str, FakeAttempt] = {}
        self.is_pending = False
        self.is_draining = False
        self.is_deaf = False  # offers although the agent has just said that it takes nothing
        self.misbehave: Callable[[str, str], Answer | None] = lambda method, path: None
        self.judge_report: Callable[[FakeAttempt, Json], Json | None] = lambda attempt, report: None
        self.judge_chunk: Callable[[FakeAttempt, int, bytes], Answer | None] = lambda *_: None
        self.project_reports: list[Json] = []  # `project_id` and what was said, in the order of `events`
        self.events: list[str] = []  # of an attempt's end: project, report
        self.unknown: set[str] = set()
        self.levels: Json = {}  # what each answer to sync says besides
        self.stream: list[str] = []
        self.protocol = 2
        self.date = ""  # what time it is there; empty: the machine's
        self.control: FakeControl | None = None  # without one the socket's address is a 404
        self.keys = {"gsw_key"}
        self.used_keys: list[str] = []
        self.when_used: Callable[[str], None] = lambda key: None  # at its first use
        self.wants_rotation = False
        self._told_rotation: set[str] = set()
        self.lost_rotations = 0
        self.made = self.most_parked = self._parked = self._newest = 0
        self._session = ""
        self._former_sessions: set[str] = set()
        self._queue: deque[FakeAttempt] = deque()
        self._http = ThreadingHTTPServer(("127.0.0.1", 0), handler_of(self))
        self._http.daemon_threads = True
        self.url = f"{'https' if context else 'http'}://127.0.0.1:{self._http.server_address[1]}"
        self._context = context
        if context:  # the handshake is done by the thread that serves the connection
            self._http.socket = context.wrap_socket(
                self._http.socket, server_side=True, do_handshake_on_connect=False
            )

    def __enter__(self) -> FakeServer:
        threading.Thread(target=self._http.serve_forever, args=(0.02,), daemon=True).start()
        return self

    def __exit__(self, *_: object) -> None:
        with self.lock:
            self._newest += 1_000_000
            self.lock.notify_all()
        self._http.shutdown()
        self._http.server_close()

    # What a test says.

    def show(self, pair: Pair) -> None:
        """Another certificate, from the next connection on."""
        assert self._context is not None
        self._context.load_cert_chain(pair.cert_file, pair.key_file)

    def submit(self, tool: str, task_input: Json, *, fetch: bool = False, **more: Any) -> FakeAttempt:
        attempt = self.known(tool, task_input, fetch=fetch, **more)
        with self.lock:
            self._queue.append(attempt)
            self.lock.notify_all()
        return attempt

    def known(
        self,
        tool: str,
        task_input: Json,
        *,
        fetch: bool = False,
        secrets: Json | None = None,
        project: Json | None = None,
        **more: Any,
    ) -> FakeAttempt:
        """An attempt that the server knows of and doesn't offer by itself."""
        task_id, attempt_id = str(uuid.uuid4()), str(uuid.uuid4())
        offer = {
            "task_id": task_id,
            "attempt_id": attempt_id,
            "attempt": 1,
            "tool": tool,
            "timeout_s": 60,
            "on_lost": "fail",
            "data_url": f"/api/v1/agents/tasks/{task_id}/data?attempt_id={attempt_id}",
            **more,
        }
        data: Json = {"task": {"id": task_id, "attempt_id": attempt_id, "tool": tool, "input": task_input}}
        data |= {} if secrets is None else {"secrets": secrets}
        data |= {} if project is None else {"project": project}
        if not fetch:
            offer["data"] = data
        attempt = FakeAttempt(offer, data)
        with self.lock:
            self.attempts[attempt_id] = attempt
        return attempt

    def offer_again(self, attempt: FakeAttempt) -> None:
        """Also one that was never submitted."""
        with self.lock:
            self._queue.append(attempt)
            self.lock.notify_all()

    def cancel(self, attempt: FakeAttempt, reason: str = "asked for by ada") -> None:
        with self.lock:
            attempt.cancel_reason = reason
            self.lock.notify_all()

    def disown(self, attempt: FakeAttempt) -> None:
        with self.lock:
            self.unknown.add(attempt.offer["attempt_id"])
            self.lock.notify_all()

    def drain(self) -> None:
        with self.lock:
            self.is_draining = True
            self.lock.notify_all()

    def ask_for_rotation(self) -> None:
        with self.lock:
            self.wants_rotation = True
            self.lock.notify_all()

    def approve(self) -> None:
        with self.lock:
            self.is_pending = False
            self.lock.notify_all()

    def paths(self, ending: str) -> list[str]:
        with self.lock:
            return [path for _, path, _ in self.requests if path.partition("?")[0].endswith(ending)]

    # The wire.

    def answer(self, method: str, path: str, headers: dict[str, str], content: bytes) -> Answer:
        with self.lock:
            self.requests.append((method, path, headers))
        instead = self.misbehave(method, path)
        if instead is not None:
            return instead
        route, _, query = path.partition("?")
        public = self._public(route, headers, content)
        if public is not None:
            return public
        key = headers.get("x-worker-api-key", "")
        if key not in self.keys:
            return problem(401, "urn:garageswarm:error:unauthorized")
        self._note_use(key)
        if route.endswith("/rotate-key"):
            return self._rotate(key)
        return self._answer_worker(route, query, headers, content)

    def _public(self, route: str, headers: dict[str, str], content: bytes) -> Answer | None:
        """What is said to anybody."""
        if route.endswith("/register"):
            return self._register(json.loads(content))
        if route.endswith("/release"):
            return Answer(200, {"version": "0.1.0", "protocol": self.protocol, "sha256": "", "url": ""})
        if "sec-websocket-key" in headers and "upgrade" not in headers:
            return problem(426, "urn:garageswarm:error:upgrade-required")
        return None

    def _answer_worker(self, route: str, query: str, headers: dict[str, str], content: bytes) -> Answer:
        if route.endswith("/sync"):
            return self._sync(json.loads(content))
        if route.endswith("/logs/chunk"):
            return self._chunk(headers, content)
        if route.endswith("/cc-status"):
            return self._control_status()
        if route.endswith("/status"):
            return self._told(route, json.loads(content))
        if route.endswith("/data"):
            return Answer(200, self.attempts[query.removeprefix("attempt_id=")].data)
        return problem(404)

    def _told(self, route: str, body: Json) -> Answer:
        kind, name = route.split("/")[-3:-1]
        with self.lock:
            if kind == "projects":
                self.project_reports.append({"project_id": name, **body})
                self.events.append("project")
                return Answer(200, {"status": "active"})
            attempt = self.attempts[body["attempt_id"]]
            attempt.told.append(body)
            attempt.told_times.append(time.monotonic())
            return Answer(200, {"cancel": attempt.cancel_reason is not None})

    def _control_status(self) -> Answer:
        if self.is_pending:
            return problem(403, "urn:garageswarm:error:worker-pending")
        is_connected = bool(self.control and self.control.lines and self.control.lines[-1].is_open)
        return Answer(200, {"agent_id": "w-1", "connected": is_connected})

    def _note_use(self, key: str) -> None:
        with self.lock:
            if key not in self.used_keys:
                self.used_keys.append(key)
                self.when_used(key)
                self.wants_rotation = self.wants_rotation and key == "gsw_key"

    def _rotate(self, key: str) -> Answer:
        """Another one each time, and of those that nobody has used only the last opens anything."""
        with self.lock:
            self.made += 1
            fresh = f"gsw_fresh{self.made}"
            self.keys = {one for one in self.keys if one in self.used_keys} | {fresh}
            if self.lost_rotations:
                self.lost_rotations -= 1
                return Answer(502, "<html>Bad Gateway</html>", "text/html")
            self.lock.notify_all()
        return Answer(
            200, {"api_key": fresh, "key_id": "fresh", "old_key_expires_at": "2026-01-01T00:00:00Z"}
        )

    def end_key(self, key: str) -> None:
        with self.lock:
            self.keys.discard(key)

    def _register(self, body: Json) -> Answer:
        with self.lock:
            self.registrations.append(body)
        status = "pending" if self.is_pending else "approved"
        body = {"worker_id": "w-1", "api_key": "gsw_key", "status": status, "code": "ABC-DEF"}
        return Answer(201, body)

    def _sync(self, body: Json) -> Answer:
        with self.lock:
            mine = self._number_of(body.get("session_id", ""))
            self._parked += 1
            self.most_parked = max(self.most_parked, self._parked)
            self.lock.notify_all()
            self.syncs.append(body)
            try:
                return self._held_answer(body, mine)
            finally:
                self._parked -= 1

    def _number_of(self, session_id: str) -> int:
        """A call of an agent that was killed may be read only after its successor's: it is never the newest."""
        if session_id in self._former_sessions:
            return -1
        if session_id != self._session:
            self._former_sessions.add(self._session)
            self._session = session_id
        self._newest += 1
        return self._newest

    def _held_answer(self, body: Json, mine: int) -> Answer:
        reported = [self._report(report) for report in body["reports"]]
        for attempt_id in body["held"]:
            if attempt_id in self.attempts:
                self.attempts[attempt_id].is_held = True
        until = time.monotonic() + body["wait_s"]
        told_drain = False
        while True:
            if mine != self._newest:  # whoever made it may be gone, and would take an offer along
                answer: Json = {**NO_ORDERS, "reported": reported}
                break
            if self.is_pending:
                answer = {}
            else:
                answer = self._orders(body, reported)
                told_drain = self.is_draining and body["accepting"]
            told_rotation = self.wants_rotation and body["session_id"] not in self._told_rotation
            if any(answer.values()) or told_drain or told_rotation or time.monotonic() >= until:
                break
            # Nobody has to wait a whole poll until an agent first calls with its fresh key.
            self.lock.wait(0.2 if self.keys - set(self.used_keys) else until - time.monotonic())
            if self.keys - set(self.used_keys):
                until = 0.0
        if self.is_pending:
            return problem(403, "urn:garageswarm:error:worker-pending")
        if self.wants_rotation:
            self._told_rotation.add(body["session_id"])
            answer["rotate_key"] = True
        levels = {"stream": self.stream, "drain": self.is_draining, "announce": None, **self.levels}
        return Answer(200, {**answer, **levels, "lease_s": 120, "lost_after_s": 600})

    def _orders(self, body: Json, reported: list[Json]) -> Json:
        running = sum(a.is_offered and not a.is_ended for a in self.attempts.values())
        offers: list[Json] = []
        while self._queue and (body["accepting"] or self.is_deaf) and running + len(offers) < body["slots"]:
            attempt = self._queue.popleft()
            attempt.is_offered = True
            offers.append(attempt.offer)
        held = [self.attempts[one] for one in body["held"] if one in self.attempts]
        cancel = [
            {"attempt_id": one.offer["attempt_id"], "reason": one.cancel_reason}
            for one in held
            if one.cancel_reason and not one.is_ended
        ]
        unknown = [one for one in body["held"] if one in self.unknown or one not in self.attempts]
        return {"offers": offers, "cancel": cancel, "unknown": unknown, "reported": reported}

    def _report(self, report: Json) -> Json:
        name = {"attempt_id": report["attempt_id"]}
        attempt = self.attempts.get(report["attempt_id"])
        if attempt is None:
            return {**name, "status": 400, "detail": "Task not found or not assigned to this worker"}
        judged = self.judge_report(attempt, report)
        if judged is not None:
            return {**name, **judged}
        tail = report.get("log_tail")
        if tail:
            raw = base64.b64decode(tail["content_base64"]) if "content_base64" in tail else None
            content = raw if raw is not None else tail["content"].encode()
            self._append(attempt, tail["offset"], content, tail.get("dropped"))
        if report.get("log_size", len(attempt.log)) != len(attempt.log):
            return {**name, "status": 412, "next_offset": len(attempt.log)}
        attempt.reports.append(report)
        self.events.append("report")
        attempt.is_ended = True
        self.lock.notify_all()
        return {**name, "status": 200, "new_status": report["status"]}

    def _chunk(self, headers: dict[str, str], content: bytes) -> Answer:
        if headers.get("content-encoding") == "gzip":
            content = gzip.decompress(content)
        if sha256(content).hexdigest() != headers["x-log-sha256"]:
            return problem(422)
        attempt = self.attempts[headers["x-log-attempt"]]
        offset = int(headers["x-log-offset"])
        judged = self.judge_chunk(attempt, offset, content)
        if judged is not None:
            return judged
        with self.lock:
            attempt.chunk_times.append(time.monotonic())
            if not self._append(attempt, offset, content, _span(headers.get("x-log-dropped"))):
                return problem(416, next_offset=len(attempt.log))
            self.lock.notify_all()
            cancel = attempt.cancel_reason is not None
        end = len(attempt.log)
        return Answer(
            200, {"status": "ok", "next_offset": end, "saved_bytes": len(content), "cancel": cancel}
        )

    def _append(
        self, attempt: FakeAttempt, offset: int, content: bytes, dropped: Sequence[int] | None = None
    ) -> bool:
        """What is left out becomes zeros, whether it came before or not."""
        start, end = dropped or (0, 0)
        if not start <= end <= offset or not (
            offset <= len(attempt.log) or start <= len(attempt.log) <= offset <= end
        ):
            return False
        attempt.log += bytes(max(0, offset - len(attempt.log)))
        attempt.log += content[len(attempt.log) - offset :]
        if dropped:
            attempt.log[start:end] = bytes(end - start)
            attempt.dropped.append((start, end))
        return True


def _span(text: str | None) -> list[int] | None:
    return [int(part) for part in text.split("-")] if text else None
