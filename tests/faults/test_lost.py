"""Longer away than `lost_after_s`: the task's own policy decides, and who comes back late changes nothing."""

from __future__ import annotations

import hashlib
import json
from pathlib import Path

import pytest
import requests

from tests.faults.conftest import NewGarage, NewProxy
from tests.faults.garage import SHORT, Garage, freeze, thaw
from tests.stack import eventually

pytestmark = [pytest.mark.slow, pytest.mark.timeout(180)]

# A longer lease than elsewhere: what fences itself when a quarter of it is left mustn't do so on a slow machine.
SOON = {**SHORT, "lease_s": 12, "lost_after_s": 14}
# Says so when another run of the same task is still alive, then works until it is told to stop.
ALONE = """
if [ -e {pid} ] && kill -0 "$(cat {pid})" 2>/dev/null; then echo overlap >> {overlap}; fi
echo $$ > {pid}
echo up
until [ -e {stop} ]; do sleep 0.2; done
"""
AGAIN = {"on_lost": "requeue", "retry_delay_s": 0, "max_retries": 1}


def alone(garage: Garage, name: str, **wish: object) -> str:
    files = {kind: garage.folder / f"{kind}-{name}" for kind in ("pid", "overlap", "stop")}
    task_id = garage.submit(garage.script(name, ALONE.format(**files)), name=name, **wish)
    garage.logged(task_id, b"up\n")
    return task_id


def finish(garage: Garage, name: str) -> None:
    (garage.folder / f"stop-{name}").touch()


def is_gone(garage: Garage, name: str) -> bool:
    pid = int((garage.folder / f"pid-{name}").read_text())
    return not Path(f"/proc/{pid}").exists()


def decided(garage: Garage, task_id: str, attempts: int) -> None:
    """The first attempt has been given up; with a second one, that runs."""

    def look() -> bool:
        task = garage.task(task_id)
        first = task["attempts"][0]
        is_next = task["status"] == "running" if attempts == 2 else task["ended_at"]
        return bool(first["ended_at"] and len(task["attempts"]) == attempts and is_next)

    eventually(look, 90, "the attempt to be decided")


def test_cut_off_for_long_a_task_fails_or_runs_elsewhere_and_never_twice_at_once(
    new_garage: NewGarage, new_proxy: NewProxy
) -> None:
    garage = new_garage(**SOON)
    garage.start_server()
    proxy = new_proxy(garage)
    garage.start_agent("away", server_url=proxy.url)
    failing, moving = alone(garage, "failing"), alone(garage, "moving", **AGAIN)
    garage.start_agent("near")
    proxy.swallow()
    decided(garage, failing, attempts=1)
    decided(garage, moving, attempts=2)
    assert garage.task(failing)["attempts"][0]["failure_class"] == "worker_lost"
    assert [row["worker"] for row in garage.task(moving)["attempts"]] == ["away", "near"]
    assert not is_gone(garage, "failing"), (
        "with `fail` it works on: its result may still be wanted by a person"
    )
    proxy.pass_on()
    eventually(lambda: is_gone(garage, "failing"), 60, "the agent to end what isn't its own any more")
    finish(garage, "moving")
    assert garage.ended(moving)["status"] == "completed"
    assert garage.starts("moving") == 2
    assert not (garage.folder / "overlap-moving").exists(), "the first ended itself before the second began"
    assert garage.task(failing)["status"] == "failed"


def test_frozen_past_its_lease_an_agent_is_too_late_and_told_so(new_garage: NewGarage) -> None:
    """One task ends while its agent is frozen, the other runs on, and nothing could stop it: but its word counts no more."""
    garage = new_garage(**SOON)
    garage.start_server()
    frozen = garage.start_agent("frozen")
    failing, moving = alone(garage, "failing"), alone(garage, "moving", **AGAIN)
    first = int((garage.folder / "pid-moving").read_text())
    garage.start_agent("near")
    freeze(frozen)
    finish(garage, "failing")
    decided(garage, failing, attempts=1)
    decided(garage, moving, attempts=2)
    assert Path(f"/proc/{first}").exists()
    for task_id in (failing, moving):
        for answer in said_too_late(garage, task_id):
            assert (answer.status_code, garage.starts("moving")) == (409, 2), answer.text
    garage.check()  # remembers how these ended
    thaw(frozen)
    eventually(
        lambda: not Path(f"/proc/{first}").exists(), 60, "the frozen agent to end what isn't its own any more"
    )
    eventually(
        lambda: garage.shown("frozen") == "online", 60, "the frozen agent to be back, with nothing held"
    )
    finish(garage, "moving")
    assert garage.ended(moving)["status"] == "completed"
    task = garage.task(failing)
    assert (task["status"], task["attempts"][0]["failure_class"]) == ("failed", "worker_lost")


def said_too_late(garage: Garage, task_id: str) -> list[requests.Response]:
    """What the frozen agent would say of its attempt: a piece of its log, a result."""
    identity = json.loads((garage.folder / "frozen" / "identity.json").read_text())
    key = {"X-Worker-API-Key": identity["api_key"]}
    attempt = garage.records.attempts(task_id)[0]
    own = {"attempt_id": attempt["id"]}
    digest = hashlib.sha256(b"late").hexdigest()
    chunk = {**own, "offset": attempt["log_size"], "content": "late", "checksum": digest}
    report = {**own, "task_id": task_id, "status": "completed", "execution_time_ms": 1}
    calls = {
        f"/agents/tasks/{task_id}/logs/chunk": chunk,
        f"/workers/{identity['worker_id']}/report-result": report,
    }
    return [
        requests.post(f"{garage.url}/api/v1{path}", json=body, headers=key, timeout=20)
        for path, body in calls.items()
    ]
