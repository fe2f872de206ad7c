from __future__ import annotations

import signal
import time
from pathlib import Path

import pytest

from agent import orphans
from tests.agent.conftest import (
    AgentProcess,
    StartAgent,
    directory,
    finished,
    is_running,
    running,
    runs,
    wait_for,
)
from tests.agent.fake_server import Answer, FakeServer


def test_first_signal_leaves_a_long_task_running_and_the_next_agent_adopts_it(
    server: FakeServer, storage: Path, start_agent: StartAgent
) -> None:
    first = start_agent(AGENT_DRAIN_S="1")
    attempt = running(server, storage, "echo up; while [ ! -e ../../../go ]; do sleep 0.02; done; echo on")
    pid = int(directory(storage, attempt).began.read_text())
    first.signal(signal.SIGTERM)
    assert first.wait() == 0
    assert is_running(pid)
    assert server.syncs[-1]["accepting"] is False
    start_agent()
    (storage / "go").touch()
    assert finished(attempt).report["status"] == "completed"
    assert runs(storage) == 1


def test_first_signal_lets_a_short_task_finish_and_be_reported(
    server: FakeServer, storage: Path, start_agent: StartAgent
) -> None:
    agent = start_agent()
    attempt = running(server, storage, "echo up; sleep 0.7; echo on")
    agent.signal(signal.SIGTERM)
    assert agent.wait() == 0
    assert attempt.report["status"] == "completed"


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_the_second_signal_cancels(
    server: FakeServer, storage: Path, start_agent: StartAgent, number: int
) -> None:
    agent = start_agent()
    attempt = running(server, storage, "echo up; sleep 300")
    agent.signal(number)
    wait_for(lambda: "stopping" in agent.said)
    agent.signal(number)
    assert agent.wait() == 0
    assert (attempt.report["status"], attempt.report["failure_class"]) == ("cancelled", "cancelled")
    assert orphans.leftovers(attempt.offer["attempt_id"]) == []


def test_with_nothing_to_do_a_signal_ends_it_at_once(server: FakeServer, start_agent: StartAgent) -> None:
    agent = start_agent()
    wait_for(lambda: server.syncs)
    began = time.monotonic()
    agent.signal(signal.SIGTERM)
    assert agent.wait() == 0
    assert time.monotonic() - began < 0.5


def test_a_signal_ends_it_while_the_server_is_away(server: FakeServer, start_agent: StartAgent) -> None:
    server.misbehave = lambda *_: Answer(503, {})
    agent: AgentProcess = start_agent()
    wait_for(lambda: "can't register" in agent.said)
    agent.signal(signal.SIGTERM)
    assert agent.wait(5) in {0, -signal.SIGTERM}
