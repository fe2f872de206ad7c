from __future__ import annotations

import signal
import threading
from pathlib import Path

import pytest

from agent import orphans
from agent.loop import WAIT_S
from tests.agent.conftest import (
    UNTIL_GO,
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
    start_agent()
    (storage / "go").touch()
    assert finished(attempt).report["status"] == "completed"
    assert runs(storage) == 1


def test_first_signal_lets_a_short_task_finish_and_be_reported(
    server: FakeServer, storage: Path, start_agent: StartAgent
) -> None:
    agent = start_agent(AGENT_DRAIN_S="3600")
    attempt = running(server, storage, f"echo up; {UNTIL_GO} echo on")
    agent.signal(signal.SIGTERM)
    wait_for(lambda: server.syncs[-1]["accepting"] is False)
    late = server.submit("noop", {})
    (storage / "go").touch()
    assert agent.wait() == 0
    assert attempt.report["status"] == "completed"
    assert not late.is_offered


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_the_second_signal_cancels(
    server: FakeServer, storage: Path, start_agent: StartAgent, number: int
) -> None:
    agent = start_agent(AGENT_DRAIN_S="3600")
    attempt = running(server, storage, "echo up; sleep 300")
    agent.signal(number)
    wait_for(lambda: "stopping" in agent.said)
    agent.signal(number)
    assert agent.wait() == 0
    assert (attempt.report["status"], attempt.report["failure_class"]) == ("cancelled", "cancelled")
    assert orphans.leftovers(attempt.offer["attempt_id"]) == []


def test_with_nothing_to_do_a_signal_ends_it_at_once(server: FakeServer, start_agent: StartAgent) -> None:
    agent = start_agent(AGENT_DRAIN_S="3600")
    wait_for(lambda: server.syncs and server.syncs[-1]["wait_s"] == WAIT_S)
    agent.signal(signal.SIGTERM)
    assert agent.wait(WAIT_S - 5) == 0, "waits neither for the call that is parked nor for its drain"


def test_an_idle_agent_says_goodbye_before_it_ends(server: FakeServer, start_agent: StartAgent) -> None:
    agent = start_agent(AGENT_DRAIN_S="3600")
    wait_for(lambda: server.syncs and server.syncs[-1]["wait_s"] == WAIT_S)
    agent.signal(signal.SIGTERM)
    assert agent.wait() == 0
    last = server.syncs[-1]
    assert (last["accepting"], last["not_accepting"]) == (False, "draining: the agent is stopping")


def test_a_busy_agent_says_at_once_that_it_takes_no_more(
    server: FakeServer, storage: Path, start_agent: StartAgent
) -> None:
    agent = start_agent(AGENT_DRAIN_S="3600")
    attempt = running(server, storage, f"echo up; {UNTIL_GO}")
    agent.signal(signal.SIGTERM)
    wait_for(lambda: server.syncs[-1].get("not_accepting") == "draining: the agent is stopping")
    assert not attempt.is_ended
    (storage / "go").touch()
    assert agent.wait() == 0


def test_an_offer_that_crossed_the_signal_is_given_back_and_not_started(
    server: FakeServer, storage: Path, start_agent: StartAgent
) -> None:
    agent = start_agent(AGENT_DRAIN_S="3600")
    attempt = running(server, storage, f"echo up; {UNTIL_GO}")
    agent.signal(signal.SIGTERM)
    wait_for(lambda: server.syncs[-1]["accepting"] is False)
    server.is_deaf = True
    report = finished(server.submit("shell", {"script": "echo begun >> ../../../runs"})).report
    assert (report["status"], report["failure_class"]) == ("failed", "offer_lost")
    (storage / "go").touch()
    assert agent.wait() == 0
    assert attempt.report["status"] == "completed"
    assert runs(storage) == 1


def test_a_signal_ends_it_while_the_server_answers_no_more(
    server: FakeServer, start_agent: StartAgent
) -> None:
    agent = start_agent(AGENT_DRAIN_S="3600")
    wait_for(lambda: server.syncs and server.syncs[-1]["wait_s"] == WAIT_S)
    hanging = threading.Event()

    def hang(method: str, path: str) -> None:
        hanging.wait(WAIT_S)

    server.misbehave = hang
    agent.signal(signal.SIGTERM)
    try:
        assert agent.wait(WAIT_S - 5) == 0
    finally:
        hanging.set()


def test_a_signal_ends_it_while_the_server_is_away(server: FakeServer, start_agent: StartAgent) -> None:
    server.misbehave = lambda *_: Answer(503, {})
    agent: AgentProcess = start_agent()
    wait_for(lambda: "can't register" in agent.said)
    agent.signal(signal.SIGTERM)
    assert agent.wait() in {0, -signal.SIGTERM}
