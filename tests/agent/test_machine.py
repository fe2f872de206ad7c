from __future__ import annotations

import json
import logging
import re
import signal
from pathlib import Path

import pytest

from agent import machine
from agent.__main__ import JsonLines, Lines
from agent.attempt import Attempt
from agent.notices import Notices
from tests.agent.conftest import OpenSession, StartAgent, finished, wait_for
from tests.agent.fake_server import FakeServer


@pytest.mark.parametrize("has_psutil", [True, False])
def test_the_gauges_read_with_and_without_psutil(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, has_psutil: bool
) -> None:
    if not has_psutil:
        monkeypatch.setattr(machine, "_psutil", None)
    metrics = machine.Gauges(tmp_path, 0).metrics()
    assert 0 <= metrics["cpu_percent"] <= 100
    assert 0 < metrics["memory_percent"] < 100
    assert 0 < metrics["disk_free_bytes"] <= metrics["disk_total_bytes"]
    assert metrics["memory_total_bytes"] > 0
    assert metrics["load_1m"] >= 0


def test_the_gauges_are_not_read_at_every_sync(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("agent.clock.now", lambda: 1000.0)
    gauges = machine.Gauges(tmp_path, 0)
    first = gauges.metrics()
    monkeypatch.setattr(machine, "memory_percent", lambda: pytest.fail("read again"))
    assert gauges.metrics() is first


@pytest.mark.parametrize(("floor", "is_low"), [(0, False), (1, False), (2**62, True)])
def test_a_disk_below_its_floor_is_low(tmp_path: Path, floor: int, is_low: bool) -> None:
    gauges = machine.Gauges(tmp_path, floor)
    gauges.metrics()
    assert bool(gauges.disk_low) is is_low


def test_an_agent_with_a_full_disk_takes_no_work_and_says_why(
    server: FakeServer, start_agent: StartAgent
) -> None:
    agent = start_agent(AGENT_DISK_FLOOR_BYTES=str(2**62))
    wait_for(lambda: server.syncs)
    assert server.syncs[0]["accepting"] is False
    why = re.compile(r"disk low: [0-9.]+ GiB free of 4294967296\.0 GiB wanted")
    assert why.fullmatch(server.syncs[0]["not_accepting"])
    assert "nearly full: no new work" in agent.said


def test_the_machine_id_is_stable_and_not_the_raw_one() -> None:
    assert machine.machine_id("a") == machine.machine_id("a")
    assert len(machine.machine_id("a")) == 64
    raw = Path("/etc/machine-id")
    assert not raw.exists() or machine.machine_id("a") != raw.read_text().strip()


def test_the_platform_is_readable() -> None:
    assert machine.describe().count(",") == 1
    assert machine.describe().isprintable()


def record(message: str) -> logging.LogRecord:
    return logging.LogRecord("agent", logging.INFO, "", 0, "%s", (message,), None)


def test_what_a_server_says_cannot_move_the_cursor() -> None:
    assert Lines("%(message)s").format(record("a\x1b[2Jb\nc")) == "a?[2Jb?c"


def test_json_lines_carry_the_ids() -> None:
    one = record("task ended")
    one.attempt_id = "a-1"
    assert (
        json.loads(JsonLines().format(one)).items() >= {"message": "task ended", "attempt_id": "a-1"}.items()
    )


def test_an_announcement_is_said_once(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.INFO, "agent")
    notices = Notices("https://garage.example", "ABC-DEF")
    for text in ("Down at\nnoon.", "Down at\nnoon.", None, "Back."):
        notices.announced(text)
    assert [one.message for one in caplog.records] == ["announcement: Down at noon.", "announcement: Back."]


def test_an_agent_can_log_in_json(server: FakeServer, start_agent: StartAgent) -> None:
    agent = start_agent(AGENT_LOG="json")
    attempt = finished(server.submit("noop", {}))
    agent.signal(signal.SIGTERM)
    assert agent.wait() == 0  # so that no line is half written
    lines = [json.loads(line) for line in agent.said.splitlines()]
    assert any(line.get("attempt_id") == attempt.offer["attempt_id"] for line in lines)


def test_an_error_that_nobody_expected_fails_the_task_and_not_the_agent(
    server: FakeServer, open_session: OpenSession, monkeypatch: pytest.MonkeyPatch
) -> None:
    open_session()
    with monkeypatch.context() as patch:
        patch.setattr(Attempt, "_run_tool", lambda *_: 1 / 0)
        report = finished(server.submit("noop", {})).report
    assert report["failure_class"] == "agent_error"
    assert "ZeroDivisionError" in report["error"]
    assert finished(server.submit("noop", {})).report["status"] == "completed"
