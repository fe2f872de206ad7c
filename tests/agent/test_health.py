"""`/health` and `/metrics`, asked over HTTP."""

from __future__ import annotations

import re
import socket
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest
import requests

from agent import diary, health
from agent.diary import Diary
from agent.errors import BadConfig
from agent.progress import Progress
from agent.session import Session
from agent.snapshot import Snapshot
from tests.agent.conftest import OpenSession, StartAgent, loaded, running, wait_for
from tests.agent.fake_server import Answer, FakeServer
from tests.ports import free_port

URL = {"AGENT_SERVER_URL": "https://garage.example"}


class Watched:
    """A session, and its port."""

    def __init__(self, session: Session) -> None:
        self.session = session
        self.http = health.serve("127.0.0.1", 0, session.loop.progress, lambda: session.diary.latest)

    def get(self, path: str) -> requests.Response:
        return requests.get(f"http://127.0.0.1:{self.http.server_address[1]}{path}", timeout=20)

    def metrics(self) -> dict[str, float]:
        """By name, and the values of labels. Each line has to be what Prometheus can read, and come after its type."""
        found: dict[str, float] = {}
        typed: set[str] = set()
        for line in self.get("/metrics").text.splitlines():
            if line.startswith("#"):
                kind = re.fullmatch(r"# (?:HELP|TYPE) ([a-z_]+) \S.*", line)
                assert kind, line
                typed.add(kind[1])
                continue
            sample = re.fullmatch(r'([a-z_]+)(?:\{[a-z]+="([^"\\]*)"\})? (-?[0-9.e+]+)', line)
            assert sample, line
            assert sample[1] in typed
            found[f"{sample[1]} {sample[2] or ''}".strip()] = float(sample[3])
        return found

    def close(self) -> None:
        self.http.shutdown()
        self.http.server_close()


@pytest.fixture
def watched(open_session: OpenSession) -> Iterator[Watched]:
    one = Watched(open_session())
    yield one
    one.close()


def test_metrics_count_what_runs_and_what_is_undelivered(
    server: FakeServer, storage: Path, watched: Watched
) -> None:
    server.judge_report = lambda *_: {"status": 503}
    server.submit("noop", {})
    running(server, storage, "echo up; sleep 60")
    wait_for(lambda: watched.metrics()["garageswarm_agent_tasks_running"] == 1)
    wait_for(lambda: watched.metrics()["garageswarm_agent_reports_undelivered"] == 1)
    found = watched.metrics()
    assert found["garageswarm_agent_tasks_held"] == 2
    assert found["garageswarm_agent_connected"] == 1
    assert found["garageswarm_agent_last_sync_age_seconds"] < 60
    assert found["garageswarm_agent_disk_free_bytes"] > 0
    assert found["garageswarm_agent_starts_total"] == 1
    assert found["garageswarm_agent_tool_works shell"] == 1
    assert found["garageswarm_agent_slots"] == 4


@pytest.mark.usefixtures("impatient")
def test_health_is_200_without_a_server_and_503_when_the_loop_hangs(
    server: FakeServer, watched: Watched
) -> None:
    server.misbehave = lambda *_: Answer(503, {})
    wait_for(lambda: watched.get("/health").json()["server"] == "unreachable")
    assert watched.get("/health").status_code == 200
    with watched.session.loop._changed:
        wait_for(lambda: watched.get("/health").status_code == 503)
        assert watched.get("/health").json()["status"] == "stuck"
        assert watched.metrics()["garageswarm_agent_stuck"] == 1


def test_who_says_a_byte_now_and_then_is_cut_off(watched: Watched, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(health, "REQUEST_S", 0.2)
    with socket.create_connection(watched.http.server_address) as slow:

        def is_cut_off() -> bool:
            try:
                slow.send(b"G")
            except OSError:
                return True
            return False

        wait_for(is_cut_off)
    monkeypatch.undo()
    assert watched.get("/health").status_code == 200


def test_nothing_else_is_answered(watched: Watched) -> None:
    assert watched.get("/").status_code == 404
    assert watched.get("/health?verbose=1").status_code == 200


@pytest.mark.parametrize(
    ("text", "at"),
    [
        ("", None),
        ("9101", ("127.0.0.1", 9101)),
        ("localhost:9101", ("localhost", 9101)),
        ("0.0.0.0:9101", ("0.0.0.0", 9101)),
        ("[::1]:9101", ("::1", 9101)),
    ],
)
def test_the_port_is_for_this_machine_unless_another_address_is_asked_for(text: str, at: object) -> None:
    assert loaded([], {**URL, "AGENT_HTTP": text}).http == at


@pytest.mark.parametrize("text", ["yes", "127.0.0.1:", "garage.example:9101", "1.2.3.4:0", "1.2.3.4:65536"])
def test_a_port_that_makes_no_sense_is_refused(text: str) -> None:
    with pytest.raises(BadConfig, match="AGENT_HTTP"):
        loaded([], {**URL, "AGENT_HTTP": text})


def test_a_port_that_is_taken_ends_the_agent_with_one_line(watched: Watched, start_agent: StartAgent) -> None:
    port = watched.http.server_address[1]
    agent = start_agent(AGENT_HTTP=str(port))
    assert agent.wait() == 2
    assert f"port {port} can't be listened on" in agent.said


def test_a_real_agent_answers_where_it_was_told(server: FakeServer, start_agent: StartAgent) -> None:
    port = free_port()
    start_agent(AGENT_HTTP=str(port))
    wait_for(lambda: server.syncs)

    def health_of_it() -> bool:
        try:
            return requests.get(f"http://127.0.0.1:{port}/health", timeout=20).json()["server"] == "connected"
        except requests.ConnectionError:
            return False

    wait_for(health_of_it)


def test_the_diary_counts_starts_and_says_when_the_last_sync_was(tmp_path: Path) -> None:
    def take(blank: Snapshot) -> Snapshot:
        return replace(blank, state="connected", synced_at=blank.at - 5)

    for _ in range(3):
        Diary(tmp_path, take).look()
    last = diary.read(tmp_path)
    assert last is not None
    assert last.starts == 3
    assert last.synced_s is not None
    assert last.synced_s >= 5
    assert replace(last, boot_id="before").synced_s is None


def test_the_diary_is_written_for_news_and_else_seldom(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    now, state = 0.0, "connected"
    monkeypatch.setattr("agent.diary.clock.now", lambda: now)
    kept = Diary(tmp_path, lambda blank: replace(blank, state=state, running=int(now)))
    file = tmp_path / diary.FILE

    def is_written_after(seconds: float) -> bool:
        nonlocal now
        now += seconds
        file.unlink(missing_ok=True)
        kept.look()
        return file.exists()

    assert is_written_after(0)
    assert not is_written_after(2)
    state = "unreachable"
    assert is_written_after(2)
    assert not is_written_after(diary.WRITE_S - 1)
    assert is_written_after(2)


@pytest.mark.parametrize(
    "content",
    ["", "[]", "{}", '{"pid": "x", "version": "1"}', '{"pid": 1, "version": "1", "synced_at": "now"}'],
)
def test_a_diary_that_makes_no_sense_counts_as_none(tmp_path: Path, content: str) -> None:
    (tmp_path / diary.FILE).write_text(content)
    assert diary.read(tmp_path) is None


def test_a_loop_that_has_not_begun_is_not_stuck() -> None:
    assert not Progress().is_stuck
