"""Many agents without their machines: each speaks the wire with the real agent's client, in a thread."""

from __future__ import annotations

import time
import uuid
from collections.abc import Callable, Iterable
from concurrent.futures import ThreadPoolExecutor
from typing import Any, TypeVar

from agent import retry
from agent.server import Server, Unreachable
from tests.faults.garage import Garage
from tests.stack import eventually
from tests.world import TOOLS

T = TypeVar("T")


class Member:
    """One agent. `held` is what it works on."""

    def __init__(self, garage: Garage, name: str, join_token: str) -> None:
        self.name = name
        self._session_id = str(uuid.uuid4())
        door = Server(garage.url)
        answer = door.register({**self._introduction(), "join_token": join_token})
        door._session().close()
        self._server = Server(garage.url, answer["worker_id"], answer["api_key"])
        self.held: list[dict[str, Any]] = []

    def _introduction(self) -> dict[str, Any]:
        return {
            "name": self.name,
            "hostname": self.name,
            "platform": "a test",
            "machine_id": self.name,
            "nonce": str(uuid.uuid4()),
            "agent_version": "0.1.0",
            "labels": {},
            "tools": TOOLS,
            "slots": 1,
            "plan_limit": 1,
        }

    def sync(self, wait_s: float = 0, reports: Iterable[dict[str, Any]] = ()) -> dict[str, Any]:
        body = {
            "session_id": self._session_id,
            "boot_id": "boot",
            "slots": 1,
            "plan_limit": 1,
            "accepting": True,
            "metrics": {},
            "held": [offer["attempt_id"] for offer in self.held],
            "reports": list(reports),
        }
        try:
            answer = self._server.sync(body, wait_s)
        finally:
            self._server._session().close()  # each call from a thread of its own, which ends with it
        self.held.extend(answer["offers"])
        return answer

    def take(self) -> None:
        """One task, and say that it runs."""
        eventually(lambda: self.sync() and self.held, 60, f"{self.name} to get a task")
        self.sync()

    def come_back(self) -> float:
        """Ask until the server answers, as an agent does that holds work. Returns how long it took."""
        began, failures = time.monotonic(), 0
        while True:
            try:
                answer = self.sync()
            except Unreachable as error:
                failures += 1
                time.sleep(retry.delay_s(failures, retry.CAP_BUSY_S, error.retry_after_s))
            else:
                assert answer["unknown"] == [], f"{self.name} lost its task"
                return time.monotonic() - began

    def finish(self) -> None:
        report = {"status": "completed", "execution_time_ms": 1}
        done = [{**report, "task_id": one["task_id"], "attempt_id": one["attempt_id"]} for one in self.held]
        answer = self.sync(reports=done)
        assert [row["status"] for row in answer["reported"]] == [200] * len(done), answer


def at_once(members: list[Member], do: Callable[[Member], T], threads: int = 0) -> list[T]:
    """All of them at the same time, a thread each, or fewer. The first that fails fails the test."""
    with ThreadPoolExecutor(threads or len(members)) as pool:
        return list(pool.map(do, members))


def recruit(garage: Garage, count: int) -> list[Member]:
    token = garage.join_token(count)
    with ThreadPoolExecutor(4) as pool:
        return list(pool.map(lambda number: Member(garage, f"member-{number}", token), range(count)))
