"""The agent is killed, and the next one takes up what it left."""

from __future__ import annotations

import fcntl
import json
import os
import signal
import subprocess
import threading
import uuid
from pathlib import Path
from typing import Any

import pytest

from agent import clock, files, orphans, process
from agent.journal import Entry, Place
from tests.agent.conftest import (
    ONCE,
    PATIENCE_S,
    OpenSession,
    StartAgent,
    directory,
    finished,
    running,
    runs,
    wait_for,
)
from tests.agent.fake_server import Answer, FakeAttempt, FakeServer


def offered(server: FakeServer, script: str) -> FakeAttempt:
    """An attempt that the server believes to be taken, by an id of its own in each run of the tests."""
    attempt = FakeAttempt(*_offer(str(uuid.uuid4()), script), is_offered=True)
    server.attempts[attempt.offer["attempt_id"]] = attempt
    return attempt


def journaled(storage: Path, attempt: FakeAttempt) -> Place:
    """An attempt whose agent died right after it had written the journal."""
    place = directory(storage, attempt)
    place.path.parent.mkdir(parents=True, exist_ok=True)
    place.create()
    boot_id = Path("/proc/sys/kernel/random/boot_id").read_text().strip()
    entry = Entry(attempt.offer, attempt.data["task"], boot_id, clock.now(), 0.0)
    place.write_journal(entry, is_new=True)
    return place


def test_a_process_that_still_runs_is_adopted_with_its_log(
    server: FakeServer, storage: Path, start_agent: StartAgent
) -> None:
    first = start_agent()
    attempt = running(
        server, storage, "echo up; while [ ! -e ../../../go ]; do sleep 0.02; done; echo on; exit 4"
    )
    first.kill()
    start_agent()
    wait_for(lambda: len({sync["session_id"] for sync in server.syncs}) == 2)
    (storage / "go").touch()
    report = finished(attempt).report
    assert attempt.log == b"up\non\n"
    assert (report["status"], report["exit_code"]) == ("failed", 4)
    assert report["log_size"] == 6
    assert runs(storage) == 1


def test_a_process_that_vanished_fails_and_says_so(
    server: FakeServer, storage: Path, start_agent: StartAgent
) -> None:
    first = start_agent()
    attempt = running(server, storage, "sleep 300 & echo up; sleep 300")
    first.kill()
    os.kill(int(directory(storage, attempt).began.read_text()), signal.SIGKILL)
    start_agent()
    report = finished(attempt).report
    assert (report["status"], report["failure_class"]) == ("failed", "agent_error")
    assert report["error"] == "the process vanished without an exit code"
    assert orphans.leftovers(attempt.offer["attempt_id"]) == []


def test_a_machine_that_restarted_is_said(server: FakeServer, storage: Path, start_agent: StartAgent) -> None:
    first = start_agent()
    attempt = running(server, storage, "echo up; sleep 300")
    first.kill()
    place = directory(storage, attempt)
    os.killpg(int(place.began.read_text()), signal.SIGKILL)
    journal = json.loads(place.journal.read_text())
    place.journal.write_text(json.dumps({**journal, "boot_id": "an earlier boot"}))
    start_agent()
    report = finished(attempt).report
    assert (report["failure_class"], report["error"]) == (
        "agent_error",
        "the machine restarted while the task ran",
    )


def test_a_time_limit_counts_on_through_a_restart(
    server: FakeServer, storage: Path, start_agent: StartAgent
) -> None:
    first = start_agent()
    attempt = running(server, storage, "echo up; sleep 300", timeout_s=3600)
    first.kill()
    journal = directory(storage, attempt).journal
    content = json.loads(journal.read_text())
    earlier = {name: content[name] and content[name] - 3600 for name in ("prepared_at", "started_at")}
    journal.write_text(json.dumps({**content, **earlier}))
    start_agent()
    assert finished(attempt).report["failure_class"] == "timeout"


def test_an_adopted_process_can_be_cancelled(
    server: FakeServer, storage: Path, start_agent: StartAgent
) -> None:
    first = start_agent()
    attempt = running(server, storage, "setsid sleep 300 & echo up; sleep 300")
    first.kill()
    start_agent()
    wait_for(lambda: len({sync["session_id"] for sync in server.syncs}) == 2)
    server.cancel(attempt)
    assert finished(attempt).report["status"] == "cancelled"
    assert orphans.leftovers(attempt.offer["attempt_id"]) == []


def test_what_an_adopted_process_leaves_behind_is_ended(
    server: FakeServer, storage: Path, start_agent: StartAgent
) -> None:
    first = start_agent()
    wait = "while [ ! -e ../../../go ]; do sleep 0.02; done"
    attempt = running(server, storage, f"setsid sleep 300 & echo up; {wait}")
    first.kill()
    start_agent()
    wait_for(lambda: len({sync["session_id"] for sync in server.syncs}) == 2)
    (storage / "go").touch()
    assert finished(attempt).report["status"] == "completed"
    assert orphans.leftovers(attempt.offer["attempt_id"]) == []


def test_an_adopted_task_that_may_run_elsewhere_ends_where_its_lease_ran_out_meanwhile(
    server: FakeServer, storage: Path, start_agent: StartAgent
) -> None:
    first = start_agent()
    attempt = running(server, storage, "echo up; sleep 300", on_lost="requeue")
    wait_for(directory(storage, attempt).lease.exists)
    first.kill()
    directory(storage, attempt).note_renewal(clock.now() - 110, 120)
    server.misbehave = lambda *_: Answer(503, {})
    start_agent()
    wait_for(lambda: not orphans.leftovers(attempt.offer["attempt_id"]))
    server.misbehave = lambda *_: None
    assert "lost touch" in finished(attempt).report["error"]


def test_an_adopted_task_goes_on_where_its_lease_still_holds(
    server: FakeServer, storage: Path, start_agent: StartAgent
) -> None:
    first = start_agent()
    wait = "while [ ! -e ../../../go ]; do sleep 0.02; done"
    attempt = running(server, storage, f"echo up; {wait}", on_lost="requeue")
    first.kill()
    start_agent()
    wait_for(lambda: len({sync["session_id"] for sync in server.syncs}) == 2)
    (storage / "go").touch()
    assert finished(attempt).report["status"] == "completed"


def test_a_long_log_is_not_sent_again_from_the_start(
    server: FakeServer, storage: Path, start_agent: StartAgent
) -> None:
    first = start_agent()
    script = "seq 1 700000; echo up; while [ ! -e ../../../go ]; do sleep 0.02; done; echo on"
    attempt = running(server, storage, script)
    first.kill()
    sent = len(server.paths("/logs/chunk"))
    (storage / "go").touch()
    start_agent()
    assert finished(attempt).log.endswith(b"up\non\n")
    assert len(server.paths("/logs/chunk")) - sent <= 2


def test_an_attempt_with_a_journal_that_never_began_is_not_started(
    server: FakeServer, storage: Path, open_session: OpenSession
) -> None:
    attempt = offered(server, ONCE + "echo up")
    journaled(storage, attempt)
    open_session()
    report = finished(attempt).report
    assert (report["status"], report["failure_class"]) == ("failed", "offer_lost")
    assert report["error"] == "the agent stopped before it started this"
    server.offer_again(attempt)
    finished(server.submit("noop", {}))
    assert runs(storage) == 0


def just_forked(place: Place, script: str) -> subprocess.Popen[bytes]:
    """A child as a dying agent leaves it between fork and exec: it has the output open and says nothing of itself. It
    goes on, as the wrapper with the attempt's id, when it is written to."""
    output = os.open(place.output, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o600)
    try:
        fcntl.flock(output, fcntl.LOCK_EX)
        mark = f"{orphans.ID_VARIABLE}={place.attempt_id}"
        command = [files.of_tasks(), "sh", "-c", script]
        wrapper = ["env", mark, "sh", "-c", process.WRAPPER, str(place.path), *command]
        return subprocess.Popen(
            ["sh", "-c", 'read go; exec "$@"', "sh", *wrapper],
            stdin=subprocess.PIPE,
            stdout=output,
            cwd=place.work,
            start_new_session=True,
        )
    finally:
        os.close(output)


def test_a_child_that_its_agent_had_only_just_forked_is_waited_for(
    server: FakeServer, storage: Path, open_session: OpenSession, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("agent.process_run.FORKED_S", 3600.0)
    attempt = offered(server, "true")
    child = just_forked(journaled(storage, attempt), ONCE + "echo up; exit 3")
    looked = threading.Event()
    original = process.is_output_held
    monkeypatch.setattr(process, "is_output_held", lambda place: looked.set() or original(place))
    open_session()
    assert looked.wait(PATIENCE_S)
    child.communicate(b"go\n")
    report = finished(attempt).report
    assert (report["exit_code"], bytes(attempt.log), runs(storage)) == (3, b"up\n", 1)


def test_a_child_that_never_gets_on_is_not_taken_for_one_that_was_never_started(
    server: FakeServer, storage: Path, open_session: OpenSession, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("agent.process_run.FORKED_S", 0.1)
    attempt = offered(server, "true")
    child = just_forked(journaled(storage, attempt), "true")
    try:
        open_session()
        assert finished(attempt).report["failure_class"] == "agent_error"
    finally:
        child.kill()
        child.communicate()


def test_a_process_that_its_agent_could_not_note_is_found_and_not_started_twice(
    server: FakeServer, storage: Path, open_session: OpenSession
) -> None:
    attempt = offered(server, ONCE + "echo up")
    place = journaled(storage, attempt)
    child = process.start(
        ["/bin/sh", "-c", ONCE + "sleep 0.5; echo up"],
        {"PATH": os.environ["PATH"], orphans.ID_VARIABLE: attempt.offer["attempt_id"]},
        place,
    )
    wait_for(lambda: runs(storage) == 1)
    place.began.unlink()
    open_session()
    try:
        assert finished(attempt).log == b"up\n", attempt.report
    finally:
        child.collect()
    assert runs(storage) == 1


def test_a_directory_without_a_journal_is_cleared_away(
    server: FakeServer, storage: Path, open_session: OpenSession
) -> None:
    left = Place(storage / "jobs" / "attempt-3")
    left.path.parent.mkdir(parents=True)
    left.create()
    open_session()
    assert not left.path.exists()


def test_a_damaged_journal_is_set_aside_and_its_attempt_not_started_again(
    server: FakeServer, storage: Path, open_session: OpenSession
) -> None:
    left = Place(storage / "jobs" / "attempt-4")
    left.path.parent.mkdir(parents=True)
    left.create()
    left.journal.write_text('{"offer": 5}')
    open_session()
    assert left.journal.with_name("journal.json.bad").exists()
    server.offer_again(FakeAttempt(*_offer("attempt-4", ONCE)))
    finished(server.submit("noop", {}))
    assert runs(storage) == 0


def _offer(attempt_id: str, script: str) -> tuple[dict[str, Any], dict[str, Any]]:
    offer = {"task_id": "task", "attempt_id": attempt_id, "attempt": 1, "tool": "shell", "timeout_s": 60}
    data = {"task": {"input": {"script": script}}}
    return {**_defaults(), **offer}, data


def _defaults() -> dict[str, Any]:
    return {"no_output_timeout_s": None, "on_lost": "fail", "data_url": "/api/v1/x"}
