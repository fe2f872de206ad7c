"""A fake control plane, and agents to put beside it: as a real process, or as a session inside the test."""

from __future__ import annotations

import os
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from agent import commands, retry, tls
from agent import config as config_file
from agent.config import Config
from agent.identity import Identity
from agent.journal import Place
from agent.session import Session
from tests.agent.doctor_world import Doctor
from tests.agent.fake_server import FakeAttempt, FakeServer
from tests.stack import NotInTime, end_leftovers

ROOT = Path(__file__).resolve().parents[2]


# Far longer than anything takes, also on a machine that is busy with something else for some seconds.
PATIENCE_S = 30.0
# What a task's script waits with until the test lets it go on: `(storage / "go").touch()`.
UNTIL_GO = "while [ ! -e ../../../go ]; do sleep 0.02; done; "


def wait_for(claim: Callable[[], object], seconds: float = PATIENCE_S) -> None:
    """Until `claim()` is true. Raises NotInTime."""
    until = time.monotonic() + seconds
    while not claim():
        if time.monotonic() > until:
            raise NotInTime(f"not within {seconds} s")
        time.sleep(0.01)


def is_running(pid: int) -> bool:
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except (FileNotFoundError, ProcessLookupError):  # the latter where it vanishes while one reads
        return False


class AgentProcess:
    """`python -m agent` in a process of its own; `prefix` is a command that starts it."""

    def __init__(
        self, server: FakeServer, storage: Path, environ: dict[str, str], prefix: Sequence[str] = ()
    ) -> None:
        self._errors = storage.parent / f"{storage.name}.stderr"
        with self._errors.open("ab") as errors:
            self.process = subprocess.Popen(
                [*prefix, sys.executable, "-m", "agent"],
                cwd=ROOT,
                stderr=errors,
                env={
                    **{name: value for name, value in os.environ.items() if not name.startswith("AGENT_")},
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

    def wait(self, seconds: float = PATIENCE_S) -> int:
        return self.process.wait(seconds)


@pytest.fixture
def server() -> Iterator[FakeServer]:
    with FakeServer() as fake:
        yield fake
        for attempt_id in fake.attempts:
            end_leftovers(attempt_id)


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


def loaded(arguments: Sequence[str], environ: Mapping[str, str]) -> Config:
    """The settings, as `run` takes them where nobody has joined."""
    nowhere = {"AGENT_STORAGE_PATH": "/nowhere"}
    return config_file.load(commands.parse(arguments), {**nowhere, **environ})


@pytest.fixture
def config(server: FakeServer, storage: Path) -> Config:
    return Config(server.url, "attic", {}, 4, 1, storage, storage / "jobs", disk_floor_bytes=0)


@pytest.fixture
def open_session(server: FakeServer, config: Config) -> Iterator[OpenSession]:
    """A session inside the test, so that its parts can be shortened."""
    opened: list[Session] = []

    def start(*, key: str = "gsw_key", config: Config = config) -> Session:
        config.jobs.mkdir(parents=True, exist_ok=True)
        identity = Identity(server.url, "nonce", "seed", "w-1", key, "ABC-DEF", "attic")
        opened.append(Session(config, identity))
        opened[-1].start()
        return opened[-1]

    yield start
    for session in opened:
        session.end()


@pytest.fixture
def impatient(monkeypatch: pytest.MonkeyPatch) -> None:
    """A standstill is one second."""
    monkeypatch.setattr("agent.progress.STUCK_S", 1.0)
    monkeypatch.setattr("agent.loop.LOOK_S", 0.1)


@pytest.fixture
def no_early_flush(monkeypatch: pytest.MonkeyPatch) -> None:
    """Every task is over before its log is first sent, however slow the machine is."""
    monkeypatch.setattr("agent.pump.FIRST_FLUSH_S", 3600.0)


@pytest.fixture
def pauses(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """Every pause of the sync loop, by how many failures or hollow answers it stands for. They take a twentieth of
    their time, and every answer counts as a quick one."""
    made: list[int] = []
    original = retry.delay_s

    def noted(failures: int, cap_s: float = 60.0, retry_after_s: float | None = None) -> float:
        made.append(failures)
        return original(failures, cap_s, retry_after_s) / 20

    monkeypatch.setattr("agent.loop.retry", SimpleNamespace(**{**vars(retry), "delay_s": noted}))
    monkeypatch.setattr("agent.loop.QUICK_S", 3600.0)
    return made


def finished(attempt: FakeAttempt, seconds: float = PATIENCE_S) -> FakeAttempt:
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


@pytest.fixture
def plain_environment(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """What the machine of the test trusts, and its proxies, are nobody's business here."""
    for name in (*tls.BUNDLES, "SSL_CERT_FILE", "SSL_CERT_DIR", "HTTP_PROXY", "HTTPS_PROXY", "NO_PROXY"):
        monkeypatch.delenv(name, raising=False)
        monkeypatch.delenv(name.lower(), raising=False)
    tls.context.cache_clear()
    yield
    tls.context.cache_clear()


@pytest.fixture
def doctor(storage: Path, capsys: pytest.CaptureFixture[str]) -> Doctor:
    return Doctor(storage, capsys)
