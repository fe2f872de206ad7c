"""Cancel against completion, 200 times: one of them wins, and it is said once."""

from __future__ import annotations

import random
import time
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest

from tests.faults.conftest import NewGarage
from tests.faults.garage import Garage

pytestmark = [pytest.mark.slow, pytest.mark.timeout(400)]

RACES = 200
AT_ONCE = 6
# Cancels come at any time until well after the end of most tasks that nobody disturbs; the longest lose to theirs on any
# machine.
RUNS_MS = (50, 150, 400, 3000)
SPREAD_S = 0.6


def test_cancel_races_completion(new_garage: NewGarage, database_url: str) -> None:
    """Half of the tasks on an agent with a control socket, half on one that has its sync alone."""
    garage = new_garage(database_url)
    garage.start_server()
    for control in (0, 1):
        garage.start_agent(f"agent-{control}", slots=AT_ONCE, control=control, labels=f"control={control}")
    rng = random.Random(7)
    delays = [rng.uniform(0, SPREAD_S) for _ in range(RACES)]
    with ThreadPoolExecutor(AT_ONCE) as pool:
        ends = list(pool.map(lambda numbered: race(garage, *numbered), enumerate(delays)))
    for control in (0, 1):
        assert set(ends[control::2]) == {"completed", "cancelled"}, "both winners occur"
    garage.check()


def race(garage: Garage, number: int, delay_s: float) -> str:
    """A task and its cancel; how it ended."""
    wish: dict[str, Any] = {"labels": {"control": str(number % 2)}, "max_retries": 0}
    runs_ms = RUNS_MS[number // 4 % len(RUNS_MS)]
    if number % 4 < 2:
        task_id = garage.submit(f"sleep {runs_ms / 1000}", **wish)
    else:
        task_id = garage.submit(tool="noop", input={"sleep_ms": runs_ms}, **wish)
    time.sleep(delay_s)  # the race itself: nothing waits for this
    answer = garage.api("POST", f"/tasks/{task_id}/cancel")
    task = garage.ended(task_id, 60)
    assert answer.status_code in {200, 409}
    if task["status"] == "cancelled":
        assert answer.status_code == 200, "a task was cancelled though the cancel was refused"
    ends = [name for name in garage.events(task_id) if name in {"task_completed", "task_cancelled"}]
    assert ends == [f"task_{task['status']}"]
    return str(task["status"])
