"""The log on the worker is gone or was cut short: the report says so, instead of being rejected for ever."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import cast

import pytest

from agent.journal import Place
from agent.logs import TAIL_BYTES, AttemptLog, MemorySource, Owner
from agent.pump import Pump
from agent.server import Server
from tests.agent.conftest import UNTIL_GO, StartAgent, directory, finished, running, wait_for
from tests.agent.fake_server import FakeAttempt, FakeServer

Lose = Callable[[Place], None]
LOST = "bytes of its log are missing: the file on the worker is gone or was cut short"


def vanish(place: Place) -> None:
    place.output.unlink()


def cut_short(place: Place) -> None:
    with place.output.open("r+b") as file:
        file.truncate(2)


@pytest.mark.parametrize(("lose", "missing"), [(vanish, 7), (cut_short, 5)])
@pytest.mark.parametrize("ending", [(0, ""), (4, "; it ended with: exit code 4")])
def test_an_adopted_task_whose_log_is_shorter_than_the_servers_fails_and_says_by_how_much(
    server: FakeServer,
    storage: Path,
    start_agent: StartAgent,
    lose: Lose,
    missing: int,
    ending: tuple[int, str],
) -> None:
    code, ended = ending
    first = start_agent()
    attempt = running(server, storage, f"echo one up; {UNTIL_GO} exit {code}")
    first.kill()
    lose(directory(storage, attempt))
    start_agent()
    (storage / "go").touch()
    report = finished(attempt).report
    assert (report["status"], report["failure_class"]) == ("failed", "log_incomplete")
    assert report["error"] == f"{missing} {LOST}{ended}"
    assert report["exit_code"] == code
    assert attempt.log == b"one up\n"
    wait_for(lambda: not directory(storage, attempt).path.exists())


class Unreadable(MemorySource):
    """It has a size, and the disk gives nothing of it away."""

    def size(self) -> int:
        return 2 * TAIL_BYTES


def test_a_log_that_cant_be_read_does_not_keep_the_report_for_ever(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("agent.pump.MAX_FAILURES", 1)
    monkeypatch.setattr("agent.pump.RETRY_REFUSED_S", 0.0)
    log = AttemptLog("task", "attempt", Unreadable(), owner=cast("Owner", None))
    pump = Pump(Server("http://127.0.0.1:9"))
    reportable: list[str] = []
    pump.finish(log, lambda: reportable.append(log.attempt_id))
    wait_for(lambda: pump.step() and reportable)
    assert log.is_refused


def reported_but_not_taken(
    server: FakeServer, storage: Path, start_agent: StartAgent, *, log_reached: int
) -> FakeAttempt:
    """An attempt that ended, whose agent was killed before the server took its report, with so much of the log there."""
    server.judge_report = lambda attempt, report: {"status": 500}
    first = start_agent()
    attempt = server.submit("shell", {"script": "echo one up"})
    wait_for(lambda: any(sync["reports"] for sync in server.syncs))
    first.kill()
    with server.lock:
        attempt.log[:] = b"one up\n"[:log_reached]
    server.judge_report = lambda attempt, report: None
    return attempt


@pytest.mark.parametrize(("lose", "reached", "missing"), [(vanish, 3, 4), (vanish, 0, 7), (cut_short, 0, 5)])
def test_a_restored_report_whose_log_was_lost_meanwhile_says_so(
    server: FakeServer, storage: Path, start_agent: StartAgent, lose: Lose, reached: int, missing: int
) -> None:
    attempt = reported_but_not_taken(server, storage, start_agent, log_reached=reached)
    lose(directory(storage, attempt))
    start_agent()
    report = finished(attempt).report
    assert (report["failure_class"], report["error"]) == ("log_incomplete", f"{missing} {LOST}")
    assert "log_size" not in report


@pytest.mark.parametrize("lose", [vanish, cut_short])
def test_a_log_that_is_lost_here_after_the_server_has_it_costs_nothing(
    server: FakeServer, storage: Path, start_agent: StartAgent, lose: Lose
) -> None:
    attempt = reported_but_not_taken(server, storage, start_agent, log_reached=7)
    lose(directory(storage, attempt))
    start_agent()
    report = finished(attempt).report
    assert (report["status"], report["log_size"]) == ("completed", 7)


def test_a_cancelled_task_stays_cancelled_without_its_log(
    server: FakeServer, storage: Path, start_agent: StartAgent
) -> None:
    first = start_agent()
    attempt = running(server, storage, "echo one up; sleep 300")
    first.kill()
    vanish(directory(storage, attempt))
    server.cancel(attempt)
    start_agent()
    report = finished(attempt).report
    assert (report["status"], report["failure_class"]) == ("cancelled", "cancelled")
    assert "log_size" not in report


def test_what_is_missing_is_in_the_spool_too(
    server: FakeServer, storage: Path, start_agent: StartAgent
) -> None:
    """So that an agent that is killed after it found out doesn't claim the opposite when it is back."""
    attempt = reported_but_not_taken(server, storage, start_agent, log_reached=0)
    vanish(directory(storage, attempt))
    spooled = storage / "spool" / f"{attempt.offer['attempt_id']}.json"
    taken: list[str] = []

    def look_into_the_spool(one: FakeAttempt, report: dict[str, object]) -> None:
        if report.get("failure_class") == "log_incomplete":
            taken.append(json.loads(spooled.read_text())["failure_class"])

    server.judge_report = look_into_the_spool
    start_agent()
    finished(attempt)
    assert taken == ["log_incomplete"]
