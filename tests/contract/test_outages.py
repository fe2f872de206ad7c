"""The control plane goes away, the agent goes away: work goes on, and nothing is lost or done twice."""

from __future__ import annotations

import signal
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.services import PostgresServer
from tests.stack import Stack, eventually, running_stack

pytestmark = [pytest.mark.slow, pytest.mark.timeout(180)]
COUNT = "for i in $(seq 1 8); do echo $i; sleep 1; done"
COUNTED = b"1\n2\n3\n4\n5\n6\n7\n8\n"


@pytest.fixture(params=["sqlite", pytest.param("postgresql", marks=pytest.mark.postgres)])
def stack(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Stack]:
    """A server of its own for each test: it is going to be killed."""
    url = ""
    if request.param == "postgresql":
        postgres: PostgresServer = request.getfixturevalue("postgres")
        url = postgres.fresh_database()
    with running_stack(tmp_path, url) as started:
        yield started


def counting(stack: Stack) -> str:
    task_id = stack.submit(COUNT)
    eventually(lambda: b"2\n" in stack.log(task_id), what="the task to count")
    return task_id


def assert_counted_once(stack: Stack, task_id: str) -> None:
    task = stack.ended(task_id, 60)
    assert (task["status"], len(task["attempts"])) == ("completed", 1), task
    assert stack.log(task_id) == COUNTED
    types = [event["type"] for event in stack.api("GET", f"/tasks/{task_id}/events").json()["items"]]
    assert types == ["task_queued", "task_started", "task_completed"]


def test_a_killed_server_harms_no_running_task(stack: Stack) -> None:
    stack.start_agent()
    task_id = counting(stack)
    assert stack.server is not None
    stack.server.kill()
    stack.start_server()
    assert_counted_once(stack, task_id)


def test_a_task_that_ends_while_the_server_is_away_is_reported_afterwards(stack: Stack) -> None:
    agent = stack.start_agent()
    task_id = counting(stack)
    assert stack.server is not None
    stack.server.kill()
    eventually(lambda: "ended" in agent.output(), what="the agent to see the end")
    stack.start_server()
    assert_counted_once(stack, task_id)


def test_a_killed_agent_finds_its_task_again(stack: Stack) -> None:
    agent = stack.start_agent()
    task_id = counting(stack)
    agent.process.kill()
    agent.process.wait()
    stack.start_agent()
    assert_counted_once(stack, task_id)


def test_an_agent_that_comes_back_late_reports_what_ended_meanwhile(stack: Stack) -> None:
    agent = stack.start_agent()
    task_id = counting(stack)
    agent.process.kill()
    agent.process.wait()
    journal = stack.folder / "agent-1"
    eventually(
        lambda: any(path.read_text().strip() == "0" for path in journal.rglob("exit")),
        what="the script to end",
    )
    stack.start_agent()
    assert_counted_once(stack, task_id)


def test_a_stopping_server_answers_its_parked_polls_and_ends_quickly(stack: Stack) -> None:
    agent = stack.start_agent()
    server = stack.server
    assert server is not None
    server.signal(signal.SIGTERM)
    server.process.wait(20)  # less than the 25 s for which a poll is parked
    stack.start_server()
    task = stack.ended(stack.submit("echo back"))
    assert task["status"] == "completed"
    assert "Traceback" not in agent.output()


def test_a_pending_agent_starts_working_the_moment_it_is_approved(stack: Stack) -> None:
    agent = stack.start_agent("newcomer", join=False)
    eventually(lambda: stack.worker("newcomer"), what="the agent to register")
    worker = stack.worker("newcomer")
    assert (worker["status"], len(worker["code"])) == ("pending", 7)
    eventually(lambda: worker["code"] in agent.output(), what="the same code in the agent's terminal")
    task_id_before = stack.api("POST", "/tasks", json={"tool": "noop"})
    assert task_id_before.status_code == 422  # nobody who was approved has brought a tool yet
    assert stack.api("POST", f"/workers/{worker['id']}/approve").status_code == 200
    eventually(lambda: stack.api("GET", "/tools").json()["items"], what="its tools")
    assert stack.ended(stack.submit("echo hello"))["status"] == "completed"


def test_a_revoked_agent_is_refused_and_says_so(stack: Stack) -> None:
    agent = stack.start_agent()
    task_id = stack.submit("sleep 300")
    stack.running(task_id)
    worker = stack.worker("agent-1")
    assert stack.api("POST", f"/workers/{worker['id']}/revoke").status_code == 200
    task = stack.ended(task_id)
    assert (task["status"], task["attempts"][0]["failure_class"]) == ("failed", "worker_lost")
    eventually(lambda: "revoked" in agent.output().lower(), 40, "the agent to say that it was revoked")
    assert agent.process.poll() is None
