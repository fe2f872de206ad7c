"""A result reaches the server, whatever happens meanwhile, and an attempt runs once."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from agent.call import Call
from agent.journal import Place
from agent.loop import Loop
from agent.spool import REMEMBERED, Ended, Spool
from tests.agent.conftest import (
    ONCE,
    OpenSession,
    StartAgent,
    directory,
    finished,
    running,
    runs,
    wait_for,
)
from tests.agent.fake_server import Answer, FakeServer


def test_a_process_that_ended_meanwhile_is_reported(
    server: FakeServer, storage: Path, start_agent: StartAgent
) -> None:
    first = start_agent()
    attempt = running(server, storage, "echo up; while [ ! -e ../../../go ]; do sleep 0.02; done; echo on")
    first.kill()
    (storage / "go").touch()
    wait_for(lambda: directory(storage, attempt).exit_code() is not None)
    start_agent()
    report = finished(attempt).report
    assert report["status"] == "completed"
    assert attempt.log == b"up\non\n"
    assert report["execution_time_ms"] > 0
    assert runs(storage) == 1


def test_a_repeated_offer_is_not_started_twice(
    server: FakeServer, storage: Path, open_session: OpenSession
) -> None:
    open_session()
    attempt = running(server, storage, "echo up; sleep 0.5")
    server.offer_again(attempt)
    finished(attempt)
    server.offer_again(attempt)
    finished(server.submit("noop", {}))
    assert runs(storage) == 1


def test_an_ended_attempt_is_remembered_by_the_next_agent(
    server: FakeServer, storage: Path, start_agent: StartAgent
) -> None:
    first = start_agent()
    attempt = finished(running(server, storage, "echo up"))
    ended = storage / "ended"
    wait_for(lambda: ended.exists() and attempt.offer["attempt_id"] in ended.read_text())
    first.kill()
    start_agent()
    wait_for(lambda: len({sync["session_id"] for sync in server.syncs}) == 2)
    server.offer_again(attempt)
    finished(server.submit("noop", {}))
    assert runs(storage) == 1


def test_an_attempt_that_was_taken_away_is_not_started_by_an_answer_that_was_overtaken(
    server: FakeServer, storage: Path, open_session: OpenSession
) -> None:
    session = open_session()
    attempt = running(server, storage, "echo up; sleep 300")
    server.disown(attempt)
    wait_for(lambda: session.is_idle)
    server.offer_again(attempt)
    finished(server.submit("noop", {}))
    wait_for(lambda: session.is_idle)
    assert runs(storage) == 1


def test_what_was_taken_but_not_cleared_away_is_not_reported_again(
    server: FakeServer, storage: Path, open_session: OpenSession, monkeypatch: pytest.MonkeyPatch
) -> None:
    with monkeypatch.context() as killed:
        killed.setattr("agent.journal.Place.remove", lambda place: None)
        session = open_session()
        attempt = finished(server.submit("shell", {"script": "echo up"}))
        wait_for(lambda: session.is_idle)
        session.end()
    assert directory(storage, attempt).journal.exists()
    session = open_session()
    assert session.loop.held() == []
    assert not directory(storage, attempt).path.exists()


def test_a_report_outlasts_an_error_in_what_its_answer_says(
    server: FakeServer, open_session: OpenSession, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("agent.retry.CAP_BUSY_S", 0.1)
    settle, failures = Loop._settle_reports, list[Call]()

    def fails_once(loop: Loop, call: Call, reported: list[dict[str, Any]]) -> bool:
        if call.reports and not failures:
            failures.append(call)
            raise ZeroDivisionError
        return settle(loop, call, reported)

    monkeypatch.setattr(Loop, "_settle_reports", fails_once)
    session = open_session()
    attempt = finished(server.submit("shell", {"script": "echo up"}))
    wait_for(lambda: failures and session.is_idle)
    assert len(attempt.reports) == 2


def test_a_renewal_that_cant_be_looked_at_is_left_out(tmp_path: Path) -> None:
    place = Place(tmp_path / ("x" * 300))  # no name that a file system takes
    assert not place.note_renewal(1.0, 120)


def test_the_last_thousand_ended_attempts_are_remembered(tmp_path: Path) -> None:
    ended = Ended(tmp_path / "ended")
    for number in range(2 * REMEMBERED + 5):
        ended.add(f"a{number}")
    again = Ended(tmp_path / "ended")
    for known in (ended, again):
        assert f"a{2 * REMEMBERED + 4}" in known
        assert f"a{REMEMBERED + 5}" in known
        assert "a3" not in known
    assert len((tmp_path / "ended").read_text().splitlines()) <= 2 * REMEMBERED


def refuse_reports(server: FakeServer) -> None:
    server.judge_report = lambda attempt, report: {"status": 500}


def test_a_report_that_was_not_taken_survives_the_agent(
    server: FakeServer, storage: Path, start_agent: StartAgent
) -> None:
    refuse_reports(server)
    first = start_agent()
    attempt = server.submit("shell", {"script": ONCE + "echo kept; exit 2"})
    wait_for(lambda: any(sync["reports"] for sync in server.syncs))
    assert (storage / "spool" / f"{attempt.offer['attempt_id']}.json").exists()
    first.kill()
    server.judge_report = lambda attempt, report: None
    start_agent()
    report = finished(attempt).report
    assert report["exit_code"] == 2
    assert bytes(attempt.log) == b"kept\n"
    wait_for(lambda: list((storage / "spool").iterdir()) == [])
    wait_for(lambda: not directory(storage, attempt).path.exists())
    assert runs(storage) == 1


@pytest.mark.parametrize("status", [400, 409])
def test_a_report_that_is_refused_is_dropped(
    server: FakeServer, storage: Path, open_session: OpenSession, status: int
) -> None:
    server.judge_report = lambda attempt, report: {"status": status, "detail": "not yours"}
    session = open_session()
    attempt = server.submit("shell", {"script": "echo x"})
    wait_for(lambda: attempt.is_held or any(sync["reports"] for sync in server.syncs))
    wait_for(lambda: session.is_idle)
    wait_for(lambda: list((storage / "spool").iterdir()) == [])
    assert sum(len(sync["reports"]) for sync in server.syncs) == 1


def test_a_report_is_kept_through_an_outage(
    server: FakeServer, storage: Path, open_session: OpenSession
) -> None:
    open_session()
    attempt = server.submit("shell", {"script": "echo up; while [ ! -e ../../../go ]; do sleep 0.02; done"})
    wait_for(lambda: attempt.log)
    outage = [Answer(502, "<html>", "text/html"), Answer(500, {}), Answer(200, "<html>", "text/html")]
    server.misbehave = lambda method, path: outage.pop() if outage else None
    (storage / "go").touch()
    assert finished(attempt).report["status"] == "completed"
    assert outage == []


def test_damaged_reports_are_set_aside(tmp_path: Path) -> None:
    spool = Spool(tmp_path)
    spool.put({"attempt_id": "good", "task_id": "t"})
    (tmp_path / "half.json").write_text('{"attempt_id": "ha')
    (tmp_path / "list.json").write_text("[]")
    (tmp_path / "other.json").write_text('{"attempt_id": "good"}')
    assert [report["attempt_id"] for report in spool.load()] == ["good"]
    assert sorted(path.name for path in tmp_path.glob("*.bad")) == [
        "half.json.bad",
        "list.json.bad",
        "other.json.bad",
    ]


def test_a_damaged_spool_does_not_stop_the_agent(
    server: FakeServer, storage: Path, start_agent: StartAgent
) -> None:
    (storage / "spool").mkdir(parents=True)
    (storage / "spool" / "attempt-5.json").write_bytes(b"\x00" * 100)
    (storage / "spool" / "attempt-6.json").write_text('{"attempt_id": "attempt-6"}')
    agent = start_agent()
    finished(server.submit("noop", {}))
    assert "set aside" in agent.said
