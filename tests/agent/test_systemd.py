"""What systemd hears of the agent, through a real socket."""

from __future__ import annotations

import signal
import socket
import threading
import time
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

import pytest

from agent import systemd
from agent.systemd import Systemd
from tests.agent.conftest import PATIENCE_S, OpenSession, StartAgent, is_running, wait_for
from tests.agent.fake_server import Answer, FakeServer


class Listener:
    """The socket that NOTIFY_SOCKET names."""

    def __init__(self, path: Path) -> None:
        self.environ = {"NOTIFY_SOCKET": str(path), "WATCHDOG_USEC": "200000"}
        self._socket = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
        self._socket.bind(str(path))
        self._socket.settimeout(PATIENCE_S)

    def close(self) -> None:
        self._socket.close()

    def wait_for(self, text: str, times: int = 1) -> None:
        until = time.monotonic() + PATIENCE_S
        while times:
            assert time.monotonic() < until, f"{text} was not said"
            times -= self._socket.recv(4096).decode() == text

    def hears_nothing_for(self, seconds: float) -> bool:
        """From now on: what had been said before is thrown away first."""
        self._socket.setblocking(False)
        with suppress(BlockingIOError):
            while self._socket.recv(4096):
                pass
        self._socket.settimeout(seconds)
        try:
            self._socket.recv(4096)
        except TimeoutError:
            return True
        finally:
            self._socket.settimeout(PATIENCE_S)
        return False


@pytest.fixture
def listener(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Listener]:
    opened = Listener(tmp_path_factory.mktemp("n") / "notify")
    yield opened
    opened.close()


@pytest.mark.usefixtures("impatient")
def test_a_loop_that_hangs_is_not_alive_until_it_gets_on(
    listener: Listener, open_session: OpenSession
) -> None:
    session = open_session()
    told = Systemd(listener.environ)
    told.ready()
    told.watch(session.loop.progress)
    listener.wait_for(systemd.READY)
    listener.wait_for(systemd.ALIVE, times=30)
    with session.loop._changed:  # what every step of the loop needs
        wait_for(lambda: listener.hears_nothing_for(1.0))
        assert session.loop.progress.is_stuck
    listener.wait_for(systemd.ALIVE)


@pytest.mark.usefixtures("impatient")
def test_while_the_server_is_silent_the_agent_is_alive(
    server: FakeServer, listener: Listener, open_session: OpenSession
) -> None:
    silent = threading.Event()
    server.misbehave = lambda *_: Answer(503, {}) if silent.wait(PATIENCE_S) else None
    session = open_session()
    told = Systemd(listener.environ)
    told.ready()
    told.watch(session.loop.progress)
    wait_for(lambda: server.requests)
    try:
        listener.wait_for(systemd.ALIVE, times=60)  # three times what would be a standstill
        assert not session.loop.progress.is_stuck
    finally:
        silent.set()


def test_an_agent_is_ready_and_alive_before_its_server_is_there_and_says_that_it_stops(
    server: FakeServer, listener: Listener, start_agent: StartAgent
) -> None:
    server.misbehave = lambda *_: Answer(503, {})
    agent = start_agent(**listener.environ)
    listener.wait_for(systemd.READY)
    listener.wait_for(systemd.ALIVE, times=3)
    assert not server.registrations
    server.misbehave = lambda *_: None
    wait_for(lambda: server.syncs)
    agent.signal(signal.SIGTERM)
    listener.wait_for(systemd.STOPPING)
    assert agent.wait() == 0


def test_pings_for_another_process_are_not_sent(listener: Listener) -> None:
    told = Systemd({**listener.environ, "WATCHDOG_PID": "1"})
    told.ready()
    listener.wait_for(systemd.READY)
    assert listener.hears_nothing_for(0.5)


def test_a_socket_that_is_gone_is_said_once_and_ends_nothing(
    server: FakeServer, start_agent: StartAgent, tmp_path: Path
) -> None:
    agent = start_agent(NOTIFY_SOCKET=str(tmp_path / "nobody"), WATCHDOG_USEC="200000")
    wait_for(lambda: server.syncs)
    assert is_running(agent.process.pid)
    assert agent.said.count("systemd can't be told") == 1
