"""A log that is longer than its cap: the first and the last bytes arrive, the hole is declared, the disk is given back."""

from __future__ import annotations

import random
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from agent.cap import Cap
from agent.config import Config
from agent.errors import BadConfig
from agent.logs import AttemptLog, FileSource, MemorySource
from agent.mask import Masker
from agent.masked import MaskedSource
from tests.agent.conftest import UNTIL_GO, OpenSession, StartAgent, directory, finished, loaded, wait_for
from tests.agent.fake_server import Answer, FakeAttempt, FakeServer, problem

# About five megabytes that say where they are.
LONG = "seq 1 700000"
LONG_LOG = b"".join(b"%d\n" % number for number in range(1, 700_001))
CAP = Cap(1024 * 1024)
SECRET = "correct-horse-battery"


@pytest.fixture
def config(config: Config) -> Config:
    return replace(config, log_cap=CAP)


def assert_capped(attempt: FakeAttempt, expected: bytes) -> None:
    """Its first and last bytes are there, the hole is where it was said to be, and the report counts all of it."""
    assert attempt.report["status"] == "completed"
    assert attempt.report["log_size"] == len(attempt.log) == len(expected)
    assert "log_sha256" not in attempt.report
    starts, ends = zip(*attempt.dropped, strict=True)
    assert set(starts) == {CAP.head}
    end = max(ends)
    assert len(expected) - CAP.tail - CAP.step <= end <= len(expected) - CAP.tail
    assert attempt.log[: CAP.head] == expected[: CAP.head]
    assert attempt.log[end:] == expected[end:]


def test_the_first_and_the_last_bytes_arrive_and_the_hole_is_declared(
    server: FakeServer, open_session: OpenSession
) -> None:
    open_session()
    attempt = finished(server.submit("shell", {"script": LONG}))
    assert_capped(attempt, LONG_LOG)
    assert attempt.report["result"]["output"].endswith("\n700000")


def test_a_log_of_exactly_its_cap_is_whole(server: FakeServer, open_session: OpenSession) -> None:
    open_session()
    attempt = finished(server.submit("shell", {"script": f"seq 1 700000 | head -c {CAP.total}"}))
    assert attempt.log == LONG_LOG[: CAP.total]
    assert (attempt.dropped, attempt.report["log_size"]) == ([], CAP.total)
    assert "log_sha256" in attempt.report


def test_what_was_printed_while_the_server_was_away_is_sent_as_far_as_it_is_kept(
    server: FakeServer, open_session: OpenSession, pauses: list[int]
) -> None:
    sent: list[int] = []

    def away(attempt: FakeAttempt, offset: int, content: bytes) -> Answer | None:
        if any(held.report is None for held in session.loop.held()):
            return Answer(503, {})
        sent.append(len(content))
        return None

    server.judge_chunk = away
    session = open_session()
    attempt = finished(server.submit("shell", {"script": LONG}))
    assert_capped(attempt, LONG_LOG)
    assert sum(sent) <= CAP.total
    assert len(set(attempt.dropped)) == 1


def test_the_middle_goes_from_the_disk_while_the_task_still_runs(
    server: FakeServer, storage: Path, start_agent: StartAgent
) -> None:
    start_agent(AGENT_LOG_CAP_BYTES=str(CAP.total))
    attempt = server.submit("shell", {"script": f"{LONG}; {UNTIL_GO} echo end"})
    output = directory(storage, attempt).output
    expected = LONG_LOG + b"end\n"
    # What the cap keeps, a step, and the two pieces of 64 KiB in which secrets are looked for.
    most = CAP.total + CAP.step + 3 * 64 * 1024
    wait_for(output.exists)
    wait_for(lambda: output.stat().st_size == len(LONG_LOG) and 512 * output.stat().st_blocks <= most)
    wait_for(lambda: len(attempt.log) >= len(LONG_LOG) - 64)
    (storage / "go").touch()
    assert_capped(finished(attempt), expected)


def test_the_next_agent_goes_on_behind_the_hole_also_where_secrets_were_masked_in_it(
    server: FakeServer, storage: Path, start_agent: StartAgent
) -> None:
    first = start_agent(AGENT_LOG_CAP_BYTES=str(CAP.total))
    script = f'yes "$KEY and some more words" | head -n 100000; {UNTIL_GO} seq 1 1000; echo "$KEY"'
    attempt = server.submit("shell", {"script": script, "env": {"KEY": SECRET}})
    masked = b"*** and some more words\n" * 100_000
    wait_for(lambda: len(attempt.log) == len(masked))
    wait_for(directory(storage, attempt).hole.exists)
    first.kill()
    (storage / "go").touch()
    wait_for(directory(storage, attempt).exit.exists)
    start_agent(AGENT_LOG_CAP_BYTES=str(CAP.total))
    expected = masked + b"".join(b"%d\n" % number for number in range(1, 1001)) + b"***\n"
    assert_capped(finished(attempt), expected)


@pytest.mark.parametrize("wanted", [0, 50_000, CAP.head, 2_000_000])
def test_a_rejected_report_is_followed_by_the_log_with_its_hole(
    server: FakeServer, open_session: OpenSession, wanted: int
) -> None:
    judged: list[dict[str, Any]] = []

    def want_more(attempt: FakeAttempt, report: dict[str, Any]) -> dict[str, Any] | None:
        judged.append(report)
        if len(judged) > 1:
            return None
        del attempt.log[wanted:]
        return {"status": 412, "next_offset": wanted}

    server.judge_report = want_more
    open_session()
    attempt = finished(server.submit("shell", {"script": LONG}))
    assert_capped(attempt, LONG_LOG)
    assert len(judged) == 2


def test_a_server_that_has_forgotten_a_part_gets_it_again_as_far_as_it_is_kept(
    server: FakeServer, open_session: OpenSession
) -> None:
    lost: list[int] = []

    def forget_once(attempt: FakeAttempt, offset: int, content: bytes) -> Answer | None:
        if offset > 3_000_000 and not lost:
            lost.append(offset)
            del attempt.log[50_000:]
            return problem(416, next_offset=50_000)
        return None

    server.judge_chunk = forget_once
    open_session()
    assert_capped(finished(server.submit("shell", {"script": LONG})), LONG_LOG)
    assert lost


@pytest.mark.parametrize("status", [413, 416, 422])
def test_a_server_that_takes_no_hole_gets_the_report_nevertheless(
    server: FakeServer, open_session: OpenSession, monkeypatch: pytest.MonkeyPatch, status: int
) -> None:
    monkeypatch.setattr("agent.pump.RETRY_REFUSED_S", 0.0)
    monkeypatch.setattr("agent.retry.delay_s", lambda *_: 0.0)

    def refuse(attempt: FakeAttempt, offset: int, content: bytes) -> Answer | None:
        return problem(status, next_offset=len(attempt.log)) if offset + len(content) > CAP.head else None

    server.judge_chunk = refuse
    open_session()
    attempt = finished(server.submit("shell", {"script": LONG}))
    assert (attempt.report["status"], "log_size" in attempt.report) == ("completed", False)


# ---- The numbers


def test_a_tenth_is_kept_of_the_beginning_and_the_rest_of_the_end() -> None:
    cap = Cap()
    assert (cap.total, cap.head, cap.tail) == (100 * 2**20, 10 * 2**20, 90 * 2**20)
    assert cap.step < 5 * 2**20
    for size, floor in ((0, cap.head), (cap.total, cap.head), (cap.total + 1, cap.head + 1)):
        assert cap.floor(size) == floor
    assert cap.floor_by_steps(cap.total + cap.step - 1) == cap.head
    assert cap.floor_by_steps(cap.total + cap.step) == cap.head + cap.step


@pytest.mark.parametrize("text", ["0", "1048575", "-1", "100M", "1e9", str(2**63)])
def test_a_cap_that_makes_no_sense_stops_the_start(text: str) -> None:
    environ = {"AGENT_SERVER_URL": "https://garage.example", "AGENT_LOG_CAP_BYTES": text}
    with pytest.raises(BadConfig, match="AGENT_LOG_CAP_BYTES"):
        loaded([], environ)


def test_the_cap_is_a_setting() -> None:
    environ = {"AGENT_SERVER_URL": "https://garage.example"}
    assert loaded([], environ).log_cap == Cap()
    assert loaded([], {**environ, "AGENT_LOG_CAP_BYTES": "1048576"}).log_cap == CAP


# ---- Offsets


class Nobody:
    def cancel_asked(self) -> None: ...
    def lease_lost(self) -> None: ...
    def lease_renewed(self, sent_at: float) -> None: ...


class Store:
    """A server's log: what came, and None for what was left out."""

    def __init__(self) -> None:
        self.bytes: list[int | None] = []

    def take(self, offset: int, content: bytes, dropped: tuple[int, int] | None) -> bool:
        start, end = dropped or (0, 0)
        assert start <= end <= offset
        if offset > len(self.bytes):
            if not start <= len(self.bytes) <= offset <= end:
                return False
            self.bytes += [None] * (offset - len(self.bytes))
        self.bytes += content[len(self.bytes) - offset :]
        self.bytes[start:end] = [None] * (end - start)
        return True


@pytest.mark.parametrize("seed", range(100))
def test_whatever_is_lost_on_the_way_the_server_ends_with_the_first_and_the_last_bytes(seed: int) -> None:
    chance = random.Random(seed)
    cap, store, memory = Cap(200), Store(), MemorySource()
    log = AttemptLog("t", "a", memory, Nobody(), cap=cap)
    whole = chance.randbytes(chance.choice([50, 200, 201, 210, 1000, 5000]))
    while memory.size() < len(whole) or log.unsent():
        memory.append(whole[memory.size() :][: chance.choice([0, 1, 10, 100, 400])])
        if chance.random() < 0.5:
            log.notice_growth()
        if chance.random() < 0.05:  # another agent takes over
            log = AttemptLog("t", "a", memory, Nobody(), cap=cap)
        if chance.random() < 0.02:  # the server was restored from a backup
            del store.bytes[chance.randrange(len(store.bytes) + 1) :]
        piece = log.piece(chance.choice([1, 20, 64]))
        if piece is None:
            continue
        assert piece.content == whole[piece.offset : piece.end]
        is_taken = store.take(piece.offset, piece.content, piece.dropped)
        if not is_taken:
            log.sent = len(store.bytes)
        elif chance.random() < 0.8:  # else the answer was lost
            log.arrived(piece, len(store.bytes))
    if log.piece(64) is None and len(store.bytes) < len(whole):
        return  # the backup was restored after the last byte had been sent: the report's 412 says so
    assert len(store.bytes) == len(whole)
    kept = [place for place, byte in enumerate(store.bytes) if byte is not None]
    assert all(store.bytes[place] == whole[place] for place in kept)
    hole = set(range(len(whole))) - set(kept)
    assert hole <= set(range(cap.head, len(whole) - cap.tail))
    assert (log.checksum()[1] is None) == (len(whole) > cap.total)


@pytest.mark.parametrize("seed", range(20))
def test_bytes_that_were_masked_keep_their_places_when_the_middle_has_gone(tmp_path: Path, seed: int) -> None:
    chance = random.Random(seed)
    words = [SECRET.encode(), b"plain ", b"correct-", b"\n", chance.randbytes(300), b"x" * 5000]
    raw = b"".join(chance.choice(words) for _ in range(500))
    masker = Masker([SECRET])
    masked = masker.whole(raw)
    path = tmp_path / "output"
    path.write_bytes(raw)

    def opened(*, is_over: bool) -> MaskedSource:
        source = MaskedSource(FileSource(path), tmp_path / "hole")
        source.know(masker)
        if is_over:
            source.finish()
        return source

    source = opened(is_over=False)
    begin = source.size() // 10
    for _ in range(3):
        visible = source.size()
        source.forget(begin, visible - chance.randrange(visible // 2))
        gone = source.gone
        source = opened(is_over=chance.random() < 0.5)
        assert source.gone == gone
    source.finish()
    assert source.size() == len(masked)
    assert source.gone > 0
    assert source.read(0, begin) == masked[:begin]
    assert source.read(source.gone, len(masked)) == masked[source.gone :]
    for at in range(source.gone, len(masked), 9973):
        assert source.read(at, 100) == masked[at : at + 100]
    assert 512 * path.stat().st_blocks < len(raw)
