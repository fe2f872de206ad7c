"""Many agents, many tasks, and processes that are killed all the time: nothing is lost, nothing runs twice unasked.

`make test-slow` runs two minutes of it. SOAK_SECONDS=600 SOAK_AGENTS=20 SOAK_TASKS=5000 is the long one.
"""

from __future__ import annotations

import os
import random
import threading
import time
from collections import Counter
from collections.abc import Iterator
from pathlib import Path

import pytest
import requests

from tests.faults.conftest import NewGarage
from tests.faults.garage import Garage
from tests.stack import Process, eventually

SECONDS = int(os.environ.get("SOAK_SECONDS", "75"))
AGENTS = int(os.environ.get("SOAK_AGENTS", "6"))
TASKS = int(os.environ.get("SOAK_TASKS", "600"))
AFTERWARDS_S = 240
# Killed agents are back long before their tasks are lost; a lease is short, so that leases end all the time.
TIMERS = {"lease_s": 12, "sync_wait_s": 3, "offline_after_s": 5, "lost_after_s": 300}

pytestmark = [pytest.mark.slow, pytest.mark.timeout(SECONDS + AFTERWARDS_S + 120)]


class Soak:
    def __init__(self, garage: Garage) -> None:
        self.garage = garage
        self.rng = random.Random(11)
        self.agents: dict[str, Process] = {}
        self.wishes: dict[str, str] = {}  # task → on_lost
        self.kills: Counter[str] = Counter()
        self.is_over = threading.Event()

    def start(self) -> None:
        self.garage.start_server()
        for number in range(AGENTS):
            name = f"soak-{number}"
            self.agents[name] = self.garage.start_agent(name, slots=2)

    def submit_all(self) -> None:
        """Over two thirds of the time, repeated until the server has said 201: only then it is acknowledged."""
        pause_s = SECONDS * 2 / 3 / TASKS
        for number in range(TASKS):
            on_lost = "requeue" if number % 4 == 0 else "fail"
            self.wishes[self._submit(number, on_lost)] = on_lost
            self.is_over.wait(pause_s)

    def _submit(self, number: int, on_lost: str) -> str:
        run_s = self.rng.choice([0, 0, 0.1, 0.5, 2])
        script = f"echo $GARAGESWARM_TASK_ID >> {self.ledger}; echo begin {number}; sleep {run_s}; echo end"
        wish = {"tool": "shell", "input": {"script": script}, "on_lost": on_lost, "retry_delay_s": 1}
        locks = {"locks": ["soak"]} if number % 10 == 0 else {}

        def ask() -> str | None:
            try:
                answer = self.garage.api("POST", "/tasks", json={**wish, **locks})
            except requests.RequestException:
                return None  # never acknowledged: it may be there or not
            return str(answer.json()["id"]) if answer.status_code == 201 else None

        return eventually(ask, 60, "the server to take a task") or ""

    @property
    def ledger(self) -> Path:
        return self.garage.folder / "ledger"

    def break_things(self) -> None:
        """One agent every second or two, the server now and then; each is started again a moment later."""
        until = time.monotonic() + SECONDS
        while time.monotonic() < until:
            if self.rng.random() < 0.12:
                self.garage.restart_server()
                self.kills["server"] += 1
            else:
                self._kill_an_agent()
            self.is_over.wait(self.rng.uniform(0.5, 1.5))

    def _kill_an_agent(self) -> None:
        name = self.rng.choice(sorted(self.agents))
        self.agents[name].kill_alone()
        self.is_over.wait(self.rng.uniform(0, 1))
        self.agents[name] = self.garage.start_agent(name, join=False, slots=2)
        self.kills["agent"] += 1

    def ledger_counts(self) -> Counter[str]:
        with self.ledger.open(encoding="ascii") as lines:
            return Counter(line.strip() for line in lines)

    def unfinished(self) -> list[dict[str, object]]:
        return self.garage.records.rows("SELECT id, status FROM tasks WHERE ended_at IS NULL")

    def progress(self) -> Iterator[str]:
        yield f"{len(self.wishes)} acknowledged, {len(self.unfinished())} open, killed {dict(self.kills)}"


def test_nothing_is_lost_and_nothing_runs_twice_unasked(new_garage: NewGarage) -> None:
    soak = Soak(new_garage(**TIMERS))
    soak.start()
    submitting = threading.Thread(target=soak.submit_all, daemon=True)
    submitting.start()
    soak.break_things()
    submitting.join(120)
    assert len(soak.wishes) == TASKS
    eventually(lambda: not soak.unfinished(), AFTERWARDS_S, "every task to end")
    print(*soak.progress(), sep="\n")

    tasks = {str(row["id"]): row for row in soak.garage.records.rows("SELECT * FROM tasks")}
    ran = soak.ledger_counts()
    assert soak.wishes.keys() <= tasks.keys(), "an acknowledged task is gone"
    for task_id, task in tasks.items():
        attempts = soak.garage.records.attempts(task_id)
        if task["on_lost"] == "fail":
            assert ran[task_id] <= 1, (task, attempts)
        assert ran[task_id] <= len(attempts), (task, attempts)
        if task["status"] == "completed":
            assert ran[task_id] >= 1, (task, attempts)
            log = soak.garage.log(task_id)
            assert (log[:5], log[-4:]) == (b"begin", b"end\n"), (task, log)
        else:
            assert {row["failure_class"] for row in attempts} - {None}, (task, attempts)
    assert soak.kills["server"] >= 1
    assert soak.kills["agent"] >= 5
    completed = sum(task["status"] == "completed" for task in tasks.values())
    assert completed >= 0.9 * len(tasks), f"{completed} of {len(tasks)} completed"
