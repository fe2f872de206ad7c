from __future__ import annotations

import errno
import os
import signal
import time
from pathlib import Path
from typing import cast

import pytest

from agent import clock, orphans, process
from agent.config import Config
from agent.ending import Why
from agent.identity import Identity
from agent.journal import Entry, Place
from agent.lease import Lease
from agent.logs import AttemptLog, MemorySource, Owner
from agent.session import Session
from agent.tools.shell import Shell
from agent.watch import Wish
from tests.agent.conftest import (
    ONCE,
    PATIENCE_S,
    OpenSession,
    StartAgent,
    finished,
    is_running,
    runs,
    wait_for,
)
from tests.agent.fake_server import FakeAttempt, FakeServer

STUBBORN = """
trap '' TERM INT HUP
sh -c 'trap "" TERM; echo child; while :; do sleep 0.1; done' &
setsid sh -c 'trap "" TERM; echo escaped; while :; do sleep 0.1; done' &
echo $$
while :; do sleep 0.1; done
"""


@pytest.fixture
def short_ladder(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Shell, "ladder", [(signal.SIGTERM, 0.3), (signal.SIGKILL, 0.0)])
    monkeypatch.setattr(orphans, "GRACE_S", 0.3)


def living(attempt: FakeAttempt) -> list[int]:
    return orphans.leftovers(attempt.offer["attempt_id"])


@pytest.mark.usefixtures("short_ladder")
def test_a_whole_tree_that_ignores_term_is_killed(server: FakeServer, open_session: OpenSession) -> None:
    open_session()
    attempt = server.submit("shell", {"script": STUBBORN})
    wait_for(lambda: attempt.log.count(b"\n") == 3)
    server.cancel(attempt)
    report = finished(attempt).report
    assert (report["status"], report["failure_class"]) == ("cancelled", "cancelled")
    assert living(attempt) == []


def test_a_task_that_obeys_term_ends_at_once(
    server: FakeServer, open_session: OpenSession, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(Shell, "ladder", [(signal.SIGTERM, 3600.0), (signal.SIGKILL, 0.0)])
    open_session()
    script = "trap 'echo bye; exit 0' TERM; echo up; while :; do sleep 0.05; done"
    attempt = server.submit("shell", {"script": script})
    wait_for(lambda: attempt.log)
    server.cancel(attempt)
    report = finished(attempt).report
    assert attempt.log.startswith(b"up\n")
    assert attempt.log.endswith(b"bye\n")
    assert (report["status"], report["exit_code"]) == ("cancelled", 0)


@pytest.mark.parametrize(
    "leave",
    ["sleep 300 &", "setsid sleep 300 &", "(setsid nohup sh -c 'sleep 300 & sleep 300' >/dev/null 2>&1 &)"],
)
def test_what_a_task_leaves_behind_is_ended(server: FakeServer, start_agent: StartAgent, leave: str) -> None:
    start_agent()
    attempt = finished(server.submit("shell", {"script": f"{leave}\nsleep 0.05; echo done"}))
    assert attempt.report["status"] == "completed"
    assert living(attempt) == []


def test_leftovers_are_found_without_being_told_of_orphans(
    server: FakeServer, open_session: OpenSession
) -> None:
    open_session()
    attempt = finished(server.submit("shell", {"script": "setsid sleep 300 & sleep 0.05"}))
    assert living(attempt) == []


def test_a_leftover_without_the_environment_is_found_by_its_session(
    server: FakeServer, start_agent: StartAgent
) -> None:
    start_agent()
    attempt = finished(server.submit("shell", {"script": "env -i sleep 300 & echo $!"}))
    assert not is_running(int(attempt.log))


def test_other_attempts_are_left_alone(server: FakeServer, start_agent: StartAgent) -> None:
    start_agent()
    other = server.submit("shell", {"script": "echo up; sleep 300"})
    wait_for(lambda: other.log)
    finished(server.submit("shell", {"script": "setsid sleep 300 & sleep 0.05"}))
    assert living(other)
    assert not other.is_ended


def test_a_time_limit_ends_the_task(server: FakeServer, open_session: OpenSession) -> None:
    open_session()
    began = time.monotonic()
    attempt = finished(server.submit("shell", {"script": "echo on; sleep 300"}, timeout_s=0.3))
    passed_ms = 1000 * (time.monotonic() - began)
    report = attempt.report
    assert (report["status"], report["failure_class"]) == ("failed", "timeout")
    assert report["error"] == "time limit of 0.3 s reached"
    assert bytes(attempt.log) in {b"on\n", b""}, (
        "nothing where even the shell's start takes longer than the limit"
    )
    assert 300 <= report["execution_time_ms"] <= passed_ms
    assert living(attempt) == []


def test_silence_ends_the_task_where_that_is_asked_for(server: FakeServer, open_session: OpenSession) -> None:
    open_session()
    attempt = finished(server.submit("shell", {"script": "sleep 300"}, no_output_timeout_s=0.6))
    assert attempt.report["failure_class"] == "no_output"
    assert attempt.report["error"] == "no output for 0.6 s"
    assert living(attempt) == []


def test_silence_counts_from_the_last_output(monkeypatch: pytest.MonkeyPatch) -> None:
    now = [1000.0]
    monkeypatch.setattr("agent.clock.now", lambda: now[0])
    source = MemorySource()
    log = AttemptLog("task", "attempt", source, owner=cast("Owner", None), grown_at=1000.0)
    grown = []
    for now[0], piece in ((1040.0, b""), (1050.0, b"one"), (1070.0, b""), (1200.0, b"two"), (1900.0, b"")):
        source.append(piece)
        log.notice_growth()
        grown.append(log.grown_at)
    assert grown == [1000.0, 1050.0, 1050.0, 1200.0, 1200.0]


def test_a_task_that_is_not_ours_any_more_is_ended_and_not_reported(
    server: FakeServer, storage: Path, open_session: OpenSession
) -> None:
    session = open_session()
    attempt = server.submit("shell", {"script": "echo up; sleep 300"})
    wait_for(lambda: attempt.log)
    server.disown(attempt)
    wait_for(lambda: session.is_idle)
    assert living(attempt) == []
    assert attempt.reports == []
    assert not (storage / "jobs" / attempt.offer["attempt_id"]).exists()


@pytest.mark.parametrize(("lease_s", "fence_s"), [(120.0, 105.0), (60.0, 45.0), (20.0, 15.0)])
def test_a_fence_stands_fifteen_seconds_before_the_end_of_the_lease(lease_s: float, fence_s: float) -> None:
    """By the agent's own clock, from when the renewal was sent. Of a short lease a quarter is left."""
    lease = Lease(lease_s, renewed_at=1000.0)
    assert lease.fence_at == 1000.0 + fence_s
    lease.renew(1030.0)
    lease.renew(1020.0)  # an older call's answer
    assert lease.fence_at == 1030.0 + fence_s


@pytest.mark.parametrize(("on_lost", "fences"), [("requeue", 1), ("fail", 0)])
def test_only_what_may_run_elsewhere_has_a_fence(
    server: FakeServer, open_session: OpenSession, on_lost: str, fences: int
) -> None:
    session = open_session()
    attempt = server.submit("shell", {"script": "echo up; sleep 300"}, on_lost=on_lost)
    wait_for(lambda: attempt.log)
    [held] = session.loop.held()
    found = [at for at, why, _ in held._deadlines(clock.now()) if why is Why.FENCED]
    assert found == [held.lease.renewed_at + 105] * fences


@pytest.mark.parametrize("age_s", [50, 500])
def test_the_fence_of_an_adopted_task_counts_on_from_its_last_renewal(config: Config, age_s: float) -> None:
    """Also where the lease has run out: the server gives the task away then, whether an agent is there or not."""
    renewed_at = clock.now() - age_s
    place = Place(config.jobs / "attempt-1")
    place.path.parent.mkdir(parents=True)
    place.create()
    offer = {"task_id": "task-1", "attempt_id": "attempt-1", "tool": "shell", "on_lost": "requeue"}
    place.write_journal(Entry(offer, {}, "boot", clock.now(), 0.0), is_new=True)
    place.note_renewal(renewed_at, 120)
    [adopted] = Session(config, Identity(config.server_url, "nonce", "seed"))._adopted
    assert [at for at, why, _ in adopted._deadlines(0.0) if why is Why.FENCED] == [renewed_at + 105]


def test_a_task_whose_lease_ran_out_before_its_data_came_is_not_started(
    server: FakeServer, storage: Path, open_session: OpenSession, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("agent.attempt.Lease.fence_at", property(lambda lease: lease.renewed_at))
    open_session()
    late = server.submit("shell", {"script": ONCE}, on_lost="requeue", fetch=True)
    assert finished(late).report["failure_class"] == "worker_lost"
    staying = server.submit("shell", {"script": ONCE}, fetch=True)
    assert finished(staying).report["status"] == "completed"
    assert runs(storage) == 1


def test_a_task_that_may_run_elsewhere_ends_before_its_lease_does(
    server: FakeServer, open_session: OpenSession, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("agent.attempt.Lease.fence_at", property(lambda lease: lease.renewed_at + 0.5))
    open_session()
    staying = server.submit("shell", {"script": "echo up; sleep 300"})
    wait_for(lambda: staying.log)
    moving = server.submit("shell", {"script": "sleep 300"}, on_lost="requeue")
    report = finished(moving).report
    assert report["failure_class"] == "worker_lost"
    assert "lost touch" in report["error"]
    assert living(staying)


def test_a_reused_process_id_is_never_signalled(tmp_path: Path) -> None:
    place = Place(tmp_path / "attempt")
    place.create()
    child = process.start(["/bin/sleep", "300"], {"PATH": "/bin"}, place)
    try:
        assert child.start_time is not None
        assert process.attach(child.pid, child.start_time - 1) is None
        assert process.attach(child.pid, None) is None
        impostor = process.Process(child.pid, child.start_time - 1, None)
        impostor.signal_group(signal.SIGKILL)
        impostor.collect()
        time.sleep(0.05)
        assert is_running(child.pid)
    finally:
        os.killpg(child.pid, signal.SIGKILL)
        child.collect()


def test_a_process_that_cant_be_watched_is_ended_before_its_task_is_given_to_another(
    server: FakeServer, open_session: OpenSession, monkeypatch: pytest.MonkeyPatch
) -> None:
    def too_many(wish: Wish) -> int:
        raise OSError(errno.EMFILE, os.strerror(errno.EMFILE))

    monkeypatch.setattr(Wish, "open", too_many)
    open_session()
    attempt = finished(server.submit("shell", {"script": "sleep 300"}))
    assert (attempt.report["status"], attempt.report["failure_class"]) == ("failed", "agent_error")
    assert living(attempt) == []


def test_a_process_is_waited_for_where_the_system_has_no_pidfd(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(process, "_pidfd_open", lambda pid: None)
    place = Place(tmp_path / "attempt")
    place.create()
    script = "while [ ! -e go ]; do sleep 0.02; done"
    child = process.start(["/bin/sh", "-c", script], {"PATH": os.environ["PATH"]}, place)
    adopted = process.attach(child.pid, child.start_time)
    wish = Wish()
    wake_fd = wish.open()
    assert adopted is not None
    assert not child.wait(0.05, wake_fd)
    (place.work / "go").touch()
    assert child.wait(PATIENCE_S, wake_fd)
    assert child.collect() == 0
    assert adopted.has_ended()
    wish.close()


def test_the_first_reason_stands_and_only_a_lost_lease_overrules_it() -> None:
    wish = Wish()
    wish.ask(Why.TIMEOUT, "late")
    wish.ask(Why.CANCELLED, "asked")
    assert (wish.why, wish.text) == (Why.TIMEOUT, "late")
    wish.ask(Why.ABANDONED)
    assert wish.why is Why.ABANDONED
