"""A log of a hundred numbered lines, and how its middle is left out."""

from __future__ import annotations

from typing import Any

from tests.world import WorkerOf, World

# A hundred numbered lines of ten bytes.
LINES = [b"line %04d\n" % number for number in range(1, 101)]
LOG = b"".join(LINES)


def dropped(start: int, end: int) -> dict[str, str]:
    return {"X-Log-Dropped": f"{start}-{end}"}


def attempt_of(world: World, offer: dict[str, Any]) -> dict[str, Any]:
    """As the API shows it; what it says is missing is what the index misses."""
    shown = dict(world.task(offer["task_id"])["attempts"][-1])
    rows = [row for row in world.rows("log_chunks") if row["attempt_id"] == offer["attempt_id"]]
    assert shown["log_missing"] == shown["log_size"] - sum(row["size"] for row in rows)
    return shown


def send_lines(worker: WorkerOf, offer: dict[str, Any], first: int, last: int, **headers: str) -> None:
    """Lines `first` to `last`, a chunk each."""
    for number in range(first, last + 1):
        answer = worker.send_log(offer, LINES[number - 1], 10 * (number - 1), **headers)
        assert answer.status_code == 200, answer.json
        headers = {}


def cut_log(worker: WorkerOf, offer: dict[str, Any]) -> None:
    """Its first 20 and its last 30 lines are there: lines 21 to 70, 500 bytes, never came."""
    send_lines(worker, offer, 1, 20)
    send_lines(worker, offer, 71, 100, **dropped(200, 700))
