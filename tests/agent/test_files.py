"""How many files may be open, and what that means for tasks."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from agent import files
from agent.config import Config
from tests.agent.conftest import ROOT, AgentProcess, OpenSession, StartAgent, finished, wait_for
from tests.agent.fake_server import FakeServer

# bash, so that both limits are set before the agent starts.
FEW = ("bash", "-c", 'ulimit -Sn 90 && ulimit -Hn 120 && exec "$@"', "limited")


@pytest.fixture
def start_limited(server: FakeServer, storage: Path) -> Iterator[StartAgent]:
    started: list[AgentProcess] = []

    def start(**environ: str) -> AgentProcess:
        started.append(AgentProcess(server, storage, environ, FEW))
        return started[-1]

    yield start
    for one in started:
        one.kill()


def allow(monkeypatch: pytest.MonkeyPatch, soft: int) -> None:
    monkeypatch.setattr("agent.files.resource.getrlimit", lambda _: (soft, soft))


def test_slots_that_there_are_no_files_for_are_left_unused(
    config: Config, monkeypatch: pytest.MonkeyPatch
) -> None:
    allow(monkeypatch, files.OWN + 3 * files.PER_TASK + 2)
    assert files.fitted(config).slots == 3
    allow(monkeypatch, files.OWN + 4 * files.PER_TASK)
    assert files.fitted(config) is config
    allow(monkeypatch, 1)
    assert files.fitted(config).slots == 1, "one task is always tried"


def test_the_limit_is_raised_for_the_agent_and_tasks_start_with_the_old_one(
    server: FakeServer, start_limited: StartAgent
) -> None:
    agent = start_limited(AGENT_SLOTS="50")
    wait_for(lambda: server.syncs)
    most = (120 - files.OWN) // files.PER_TASK
    assert server.registrations[0]["slots"] == server.syncs[0]["slots"] == most
    assert f"{most} are used" in agent.said
    attempt = finished(server.submit("shell", {"script": "ulimit -Sn"}))
    assert attempt.log.strip() == b"90"


def test_the_limit_is_given_back_to_an_agent_that_follows_in_the_same_process() -> None:
    asks = "resource.getrlimit(resource.RLIMIT_NOFILE)[0]"
    code = f"import resource; from agent import files; files.raise_limit(); print({asks}); files.give_back(); print({asks})"
    asked = subprocess.run(
        [*FEW, sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, check=True
    )
    assert asked.stdout.split() == ["120", "90"]


def test_a_person_who_gives_more_slots_than_there_are_files_for_gets_no_more(
    server: FakeServer, config: Config, open_session: OpenSession, monkeypatch: pytest.MonkeyPatch
) -> None:
    allow(monkeypatch, files.OWN + files.PER_TASK)
    open_session(config=config)  # four slots
    server.submit("shell", {"script": "sleep 60"})
    wait_for(
        lambda: server.syncs and server.syncs[-1].get("not_accepting", "").startswith("no more tasks than 1")
    )
