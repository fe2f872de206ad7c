"""A fake control plane, and agents to put beside it: as a real process, or as a session inside the test."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import suppress
from pathlib import Path
from typing import Any

import pytest

from agent import orphans
from agent.config import Config
from agent.identity import Identity
from agent.journal import Place
from agent.session import Session
from tests.agent.fake_server import FakeAttempt, FakeServer

ROOT = Path(__file__).resolve().parents[2]


def wait_for(claim: Callable[[], object], seconds: float = 15.0) -> None:
    """Until `claim()` is true; fails the test when it isn't in time."""
    until = time.monotonic() + seconds
    while not claim():
        if time.monotonic() > until:
            pytest.fail(f"not within {seconds} s", pytrace=True)
        time.sleep(0.01)


def is_running(pid: int) -> bool:
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except FileNotFoundError:
        return False


class AgentProcess:
    """`python -m agent` in a process of its own."""

    def __init__(self, server: FakeServer, storage: Path, environ: dict[str, str]) -> None:
        self._errors = storage.parent / f"{storage.name}.stderr"
        with self._errors.open("ab") as errors:
            self.process = subprocess.Popen(
                [sys.executable, "-m", "agent"],
                cwd=ROOT,
                stderr=errors,
                env={
                    **os.environ,
                    "AGENT_SERVER_URL": server.url,
                    "AGENT_STORAGE_PATH": str(storage),
                    "AGENT_SLOTS": "4",
                    "AGENT_DISK_FLOOR_BYTES": "0",
                    **environ,
                },
            )

    @property
    def said(self) -> str:
        return self._errors.read_text()

    def signal(self, number: int) -> None:
        self.process.send_signal(number)

    def kill(self) -> None:
        self.process.kill()
        self.process.wait()

    def wait(self, seconds: float = 15.0) -> int:
        return self.process.wait(seconds)


@pytest.fixture
def server() -> Iterator[FakeServer]:
    with FakeServer() as fake:
        yield fake
        for attempt_id in fake.attempts:
            for pid in orphans.leftovers(attempt_id):
                with suppress(OSError):
                    os.kill(pid, signal.SIGKILL)


@pytest.fixture
def storage(tmp_path: Path) -> Path:
    return tmp_path / "storage"


StartAgent = Callable[..., AgentProcess]
OpenSession = Callable[..., Session]


@pytest.fixture
def start_agent(server: FakeServer, storage: Path) -> Iterator[StartAgent]:
    started: list[AgentProcess] = []

    def start(**environ: str) -> AgentProcess:
        started.append(AgentProcess(server, storage, environ))
        return started[-1]

    yield start
    for one in started:
        one.kill()


@pytest.fixture
def config(server: FakeServer, storage: Path) -> Config:
    return Config(server.url, "attic", {}, 4, 1, storage, storage / "jobs", disk_floor_bytes=0)


@pytest.fixture
def open_session(server: FakeServer, config: Config) -> Iterator[OpenSession]:
    """A session inside the test, so that its parts can be shortened."""
    opened: list[Session] = []

    def start(*, key: str = "gsw_key") -> Session:
        config.jobs.mkdir(parents=True, exist_ok=True)
        identity = Identity(server.url, "nonce", "seed", "w-1", key, "ABC-DEF", "attic")
        opened.append(Session(config, identity))
        opened[-1].start()
        return opened[-1]

    yield start
    for session in opened:
        session.end()


def finished(attempt: FakeAttempt, seconds: float = 15.0) -> FakeAttempt:
    """The attempt, once its report was accepted."""
    wait_for(lambda: attempt.is_ended, seconds)
    return attempt


# What a task says that it ran, to be counted.
ONCE = "echo begun >> ../../../runs; "


def runs(storage: Path) -> int:
    path = storage / "runs"
    return path.read_text().count("begun") if path.exists() else 0


def directory(storage: Path, attempt: FakeAttempt) -> Place:
    return Place(storage / "jobs" / attempt.offer["attempt_id"])


def running(server: FakeServer, storage: Path, script: str, **more: Any) -> FakeAttempt:
    attempt = server.submit("shell", {"script": ONCE + script}, **more)
    wait_for(lambda: attempt.is_held and b"up" in attempt.log)
    return attempt
