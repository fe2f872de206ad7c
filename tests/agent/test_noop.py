from __future__ import annotations

import itertools
from pathlib import Path
from typing import Any

import pytest

from agent import clock
from agent.ending import Why
from agent.inline import InlineJob
from agent.logs import MemorySource
from agent.tools import BadInput, registry
from agent.watch import Wish
from tests.agent.conftest import OpenSession, finished, wait_for
from tests.agent.fake_server import FakeServer


def test_noop_logs_its_message_and_leaves_nothing_on_disk(
    server: FakeServer, storage: Path, open_session: OpenSession
) -> None:
    open_session()
    attempt = finished(server.submit("noop", {"message": "hi\nthere"}))
    assert attempt.log == b"hi there\n"
    assert attempt.report["status"] == "completed"
    assert list((storage / "jobs").iterdir()) == []


def test_noop_fails_where_it_is_asked_to(server: FakeServer, open_session: OpenSession) -> None:
    open_session()
    report = finished(server.submit("noop", {"fail": True})).report
    assert (report["status"], report["failure_class"]) == ("failed", "exit_code")


def test_noop_can_be_cancelled_while_it_waits(server: FakeServer, open_session: OpenSession) -> None:
    open_session()
    attempt = server.submit("noop", {"sleep_ms": 60_000})
    wait_for(lambda: attempt.is_held)
    server.cancel(attempt)
    report = finished(attempt).report
    assert (report["status"], report["failure_class"]) == ("cancelled", "cancelled")
    assert report["error"] == "asked for by ada"


def test_noop_ends_at_its_time_limit(server: FakeServer, open_session: OpenSession) -> None:
    open_session()
    report = finished(server.submit("noop", {"sleep_ms": 60_000}, timeout_s=0.2)).report
    assert (report["failure_class"], report["error"]) == ("timeout", "time limit of 0.2 s reached")


def test_a_limit_that_is_always_ahead_ends_nothing_however_slow_the_machine_is(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    moments = itertools.count()
    monkeypatch.setattr(clock, "now", lambda: float(next(moments)))
    job = InlineJob(MemorySource(), Wish(), lambda: [(clock.now() + 0.5, Why.DISK, "too much")])
    job.pause(20.0)


@pytest.mark.parametrize(
    "task_input",
    [{"message": 1}, {"message": "x" * 1001}, {"sleep_ms": -1}, {"sleep_ms": True}, {"fail": 1}, {"x": 1}],
)
def test_noop_checks_its_input(task_input: dict[str, Any]) -> None:
    with pytest.raises(BadInput):
        registry()["noop"].check(task_input)


@pytest.mark.usefixtures("no_early_flush")
def test_many_small_tasks_ride_on_few_requests(server: FakeServer, open_session: OpenSession) -> None:
    open_session()
    attempts = [server.submit("noop", {"message": str(number)}) for number in range(200)]
    wait_for(lambda: all(attempt.is_ended for attempt in attempts))
    # News of an offer and of an end each make at most one call; usually they gather.
    assert len(server.requests) <= 2 + 2 * len(attempts)
    assert server.paths("/logs/chunk") == []
