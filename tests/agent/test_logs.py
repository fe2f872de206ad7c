from __future__ import annotations

import hashlib
import time
from pathlib import Path

import pytest

from agent import pump
from tests.agent.conftest import UNTIL_GO, OpenSession, StartAgent, finished, wait_for
from tests.agent.fake_server import Answer, FakeAttempt, FakeServer, problem

# About five megabytes that say where they are.
LONG = "seq 1 700000"
LONG_LOG = b"".join(b"%d\n" % number for number in range(1, 700_001))


def is_whole(attempt: FakeAttempt, expected: bytes) -> bool:
    digest = hashlib.sha256(expected).hexdigest()
    return (
        bytes(attempt.log) == expected
        and attempt.report["log_size"] == len(expected)
        and attempt.report["log_sha256"] == digest
    )


def test_five_megabytes_arrive_byte_for_byte(server: FakeServer, start_agent: StartAgent) -> None:
    start_agent()
    attempt = finished(server.submit("shell", {"script": LONG}))
    assert is_whole(attempt, LONG_LOG)
    assert attempt.report["result"]["output"].endswith("\n700000")
    assert len(attempt.report["result"]["output"]) <= 4096


@pytest.mark.usefixtures("no_early_flush")
def test_bytes_that_are_no_text_arrive_as_they_are(server: FakeServer, open_session: OpenSession) -> None:
    open_session()
    attempt = finished(server.submit("shell", {"script": r"printf '\xff\xfe\x00caf\xc3'; printf '\xc3\xa9'"}))
    assert is_whole(attempt, b"\xff\xfe\x00caf\xc3\xc3\xa9")
    assert "content_base64" in attempt.report["log_tail"]
    assert "\0" not in attempt.report["result"]["output"]


def test_a_lot_of_random_bytes_arrive_as_they_are(server: FakeServer, open_session: OpenSession) -> None:
    open_session()
    attempt = finished(
        server.submit("shell", {"script": "head -c 1500000 /dev/urandom | tee copy; cat copy"})
    )
    half = bytes(attempt.log[:1_500_000])
    assert is_whole(attempt, half + half)


def test_a_log_of_exactly_what_a_report_carries_rides_in_it(
    server: FakeServer, open_session: OpenSession
) -> None:
    open_session()
    attempt = finished(server.submit("shell", {"script": "head -c 65536 /dev/zero | tr '\\0' x"}))
    assert is_whole(attempt, b"x" * 65536)


def test_a_silent_task_reports_an_empty_log(server: FakeServer, open_session: OpenSession) -> None:
    open_session()
    attempt = finished(server.submit("shell", {"script": "true"}))
    assert is_whole(attempt, b"")
    assert "log_tail" not in attempt.report


@pytest.mark.usefixtures("no_early_flush")
def test_a_quick_task_sends_no_chunk(server: FakeServer, open_session: OpenSession) -> None:
    open_session()
    attempt = finished(server.submit("shell", {"script": "echo quick"}))
    assert server.paths("/logs/chunk") == []
    assert is_whole(attempt, b"quick\n")


def test_the_first_line_is_there_while_the_task_still_runs(
    server: FakeServer, open_session: OpenSession
) -> None:
    open_session()
    attempt = server.submit("shell", {"script": "echo first; sleep 300"})
    wait_for(lambda: attempt.log == b"first\n")
    assert not attempt.is_ended
    assert pump.FIRST_FLUSH_S + pump.LIVE_LOOK_S < 0.3, "the agent is no slower than that to send it"
    server.cancel(attempt)
    finished(attempt)


def test_many_small_writes_are_gathered(server: FakeServer, storage: Path, open_session: OpenSession) -> None:
    open_session()
    began = time.monotonic()
    script = "for i in $(seq 1 60); do echo $i; sleep 0.02; done; " + UNTIL_GO
    attempt = server.submit("shell", {"script": script})
    written = b"".join(b"%d\n" % number for number in range(1, 61))
    wait_for(lambda: attempt.log == written)
    # A busy machine takes longer for it, and may send more often.
    assert len(attempt.chunk_times) <= 2 + (time.monotonic() - began) / pump.LIVE_FLUSH_S
    (storage / "go").touch()
    assert is_whole(finished(attempt), written)


def test_after_a_gap_the_log_goes_on_where_the_server_says(
    server: FakeServer, open_session: OpenSession
) -> None:
    lost: list[int] = []

    def forget_once(attempt: FakeAttempt, offset: int, content: bytes) -> Answer | None:
        if offset > 0 and not lost:
            lost.append(offset)
            del attempt.log[100_000:]
            return problem(416, next_offset=100_000)
        return None

    server.judge_chunk = forget_once
    open_session()
    assert is_whole(finished(server.submit("shell", {"script": LONG})), LONG_LOG)
    assert lost


@pytest.mark.usefixtures("no_early_flush")
def test_a_report_before_its_log_is_followed_by_the_log(
    server: FakeServer, open_session: OpenSession
) -> None:
    judged: list[dict[str, object]] = []

    def want_more(attempt: FakeAttempt, report: dict[str, object]) -> dict[str, object] | None:
        judged.append(report)
        return {"status": 412, "next_offset": 0} if len(judged) == 1 else None

    server.judge_report = want_more
    open_session()
    attempt = finished(server.submit("shell", {"script": "echo once more"}))
    assert is_whole(attempt, b"once more\n")
    assert len(server.paths("/logs/chunk")) == 1
    assert "log_tail" not in attempt.report


def test_a_log_that_never_fits_does_not_keep_the_report_for_ever(
    server: FakeServer, open_session: OpenSession
) -> None:
    def never(attempt: FakeAttempt, report: dict[str, object]) -> dict[str, object] | None:
        return {"status": 412, "next_offset": 0} if "log_size" in report else None

    server.judge_report = never
    open_session()
    assert finished(server.submit("shell", {"script": "echo x"})).report["status"] == "completed"


def test_a_log_that_the_server_cannot_read_does_not_keep_the_report_for_ever(
    server: FakeServer, open_session: OpenSession, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("agent.pump.RETRY_REFUSED_S", 0.0)
    monkeypatch.setattr("agent.retry._spread.random", lambda: 0.01)
    server.judge_chunk = lambda *_: problem(422, detail="The checksum is not that of the content.")
    open_session()
    attempt = finished(server.submit("shell", {"script": "head -c 200000 /dev/zero"}))
    assert attempt.report["status"] == "completed"
    assert "log_size" not in attempt.report


def test_a_report_that_makes_no_sense_to_the_server_says_less_each_time(
    server: FakeServer, open_session: OpenSession
) -> None:
    server.judge_report = lambda attempt, report: {"status": 422} if "result" in report else None
    open_session()
    attempt = finished(server.submit("shell", {"script": "echo x; exit 3"}))
    assert attempt.report.keys() == {
        *("task_id", "attempt_id", "status", "execution_time_ms", "failure_class")
    }


@pytest.mark.parametrize("status", [500, 503, 429])
def test_trouble_with_the_log_never_ends_the_task(
    server: FakeServer, open_session: OpenSession, status: int
) -> None:
    refusals = [status] * 3

    def refuse(*_: object) -> Answer | None:
        return Answer(refusals.pop(), {}) if refusals else None

    server.judge_chunk = refuse
    open_session()
    script = "head -c 200000 /dev/zero | tr '\\0' x; sleep 0.5"
    assert is_whole(finished(server.submit("shell", {"script": script})), b"x" * 200_000)
    assert not refusals


def test_a_chunks_answer_can_cancel(server: FakeServer, open_session: OpenSession) -> None:
    def cancel(attempt: FakeAttempt, *_: object) -> Answer:
        return Answer(200, {"status": "ok", "next_offset": 2, "saved_bytes": 2, "cancel": True})

    server.judge_chunk = cancel
    open_session()
    attempt = server.submit("shell", {"script": "echo x; sleep 60"})
    wait_for(lambda: server.paths("/logs/chunk"))
    wait_for(lambda: any(report["attempt_id"] == attempt.offer["attempt_id"] for report in _reports(server)))
    (report,) = {one["attempt_id"]: one for one in _reports(server)}.values()
    assert report["status"] == "cancelled"


def test_a_lost_lease_ends_the_task_without_a_report(server: FakeServer, open_session: OpenSession) -> None:
    server.judge_chunk = lambda *_: problem(409, detail="Another attempt owns this task.")
    session = open_session()
    attempt = server.submit("shell", {"script": "echo x; sleep 60"})
    wait_for(lambda: attempt.is_held)
    wait_for(lambda: session.is_idle)
    assert _reports(server) == []
    assert len(server.paths("/logs/chunk")) == 1


def _reports(server: FakeServer) -> list[dict[str, object]]:
    return [report for sync in server.syncs for report in sync["reports"]]
