"""`status` and `reset`: what a storage says, with and without an agent at work in it."""

from __future__ import annotations

import json
import os
import pty
import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from agent import diary, identity
from agent.commands import status
from agent.errors import BadConfig
from agent.identity import Identity
from tests.agent.conftest import (
    ROOT,
    StartAgent,
    directory,
    is_running,
    running,
    wait_for,
)
from tests.agent.fake_server import Answer, FakeServer
from tests.agent.one_command import agent


def facts(storage: Path, **environ: str) -> dict[str, Any]:
    return status.gather(storage, environ)


def code(storage: Path) -> int:
    return status.exit_code(facts(storage))


def text(storage: Path) -> str:
    return "\n".join(status.lines(facts(storage)))


def test_before_joining_it_says_how(storage: Path) -> None:
    ended = agent(storage, "status")
    assert ended.returncode == 1
    assert "has not joined" in ended.stdout
    assert "join --server URL" in ended.stdout
    assert not storage.exists()


def test_a_connected_agent_is_0_and_its_task_is_listed(
    server: FakeServer, storage: Path, start_agent: StartAgent
) -> None:
    start_agent()
    attempt = running(server, storage, "echo up; sleep 60")
    wait_for(lambda: facts(storage)["connection"]["state"] == "connected")
    before = len(server.requests)
    ended = agent(storage, "status", "--json")
    assert ended.returncode == 0
    assert len(server.requests) == before, "the server hears nothing of it"
    found = json.loads(ended.stdout)
    assert (found["name"], found["worker_id"], found["server"]) == (
        server.registrations[0]["name"],
        "w-1",
        server.url,
    )
    assert found["agent"]["running"]
    assert found["connection"]["last_sync_s"] < status.LATELY_S
    assert found["tools"]["shell"]["works"]
    (task,) = found["tasks"]
    assert (task["task_id"], task["tool"], task["has_report"]) == (attempt.offer["task_id"], "shell", False)
    assert task["running_s"] >= 0
    assert f"{attempt.offer['task_id']} shell runs for" in text(storage)


def test_an_agent_without_a_server_is_5_and_says_why(
    server: FakeServer, storage: Path, start_agent: StartAgent
) -> None:
    start_agent()
    wait_for(lambda: facts(storage)["connection"]["state"] == "connected")
    server.misbehave = lambda *_: Answer(503, {})
    server.approve()  # wakes the call that is parked
    server.submit("noop", {})
    wait_for(lambda: facts(storage)["connection"]["state"] == "unreachable")
    assert code(storage) == 5
    assert "unreachable: the server says 503" in text(storage)


def test_an_agent_that_waits_for_approval_is_5(
    server: FakeServer, storage: Path, start_agent: StartAgent
) -> None:
    server.is_pending = True
    start_agent()
    wait_for(lambda: facts(storage)["connection"]["state"] == "waiting for approval")
    assert code(storage) == 5
    assert "code ABC-DEF" in text(storage)


def test_an_agent_that_was_killed_is_4_and_what_it_left_is_listed(
    server: FakeServer, storage: Path, start_agent: StartAgent
) -> None:
    killed = start_agent()
    running(server, storage, "echo up; sleep 60")
    wait_for(lambda: facts(storage)["connection"]["state"] == "connected")
    killed.kill()
    assert code(storage) == 4
    said = text(storage)
    assert "not running; to start it" in said
    assert "last answer" in said
    assert "runs for" in said


def test_an_agent_that_says_connected_and_has_had_no_answer_for_long_is_silent(storage: Path) -> None:
    last = diary.Snapshot(1, "1", state="connected", synced_at=0.0)
    assert status._connection(is_running=True, now=last, last=last)["state"] == "silent"
    assert status._connection(is_running=False, now=None, last=last)["state"] == "not running"


def test_what_an_earlier_agent_last_said_is_not_how_this_one_stands(
    server: FakeServer, storage: Path, start_agent: StartAgent
) -> None:
    first = start_agent()
    wait_for(lambda: facts(storage)["connection"]["state"] == "connected")
    first.kill()
    server.misbehave = lambda *_: Answer(503, {})
    start_agent()
    states = set()
    while "unreachable" not in states:
        states.add(facts(storage)["connection"]["state"])
    assert states <= {"not running", "starting", "unreachable"}


def test_the_owners_policy_is_shown_with_and_without_an_agent(
    server: FakeServer, storage: Path, start_agent: StartAgent
) -> None:
    storage.mkdir(mode=0o700)
    (storage / "policy.ini").write_text("[policy]\ntools =\n  shell\n  noop\nmax_minutes = 5\n")
    (storage / "policy.ini").chmod(0o600)
    assert "policy    tools shell, noop; max_minutes 5" in text(storage)
    start_agent()
    wait_for(lambda: facts(storage)["connection"]["state"] == "connected")
    assert "policy    tools shell, noop; max_minutes 5" in text(storage)
    (storage / "policy.ini").write_text("[policy]\ntuuls = shell\n")
    wait_for(lambda: "problem" in facts(storage)["policy"])
    assert "policy    no task is started: " in text(storage)


def test_looking_changes_nothing_a_damaged_file_neither(storage: Path) -> None:
    (storage / "jobs" / "a-1").mkdir(parents=True)
    (storage / "spool").mkdir()
    for name in ("identity.json", "status.json", "jobs/a-1/journal.json", "spool/a-2.json"):
        (storage / name).write_text('{"nonce": ')
    before = sorted((path, path.stat().st_mtime_ns) for path in storage.rglob("*"))
    assert code(storage) == 1
    assert sorted((path, path.stat().st_mtime_ns) for path in storage.rglob("*")) == before


@pytest.fixture
def as_nobody() -> Iterator[None]:
    """Root may read anything: as root the test goes on as somebody else."""
    own = os.geteuid()
    if own == 0:
        os.seteuid(65_534)
    yield
    os.seteuid(own)


def test_a_storage_of_another_account_is_said_in_one_line(
    storage: Path, request: pytest.FixtureRequest
) -> None:
    storage.mkdir(mode=0o000)
    request.getfixturevalue("as_nobody")
    with pytest.raises(BadConfig, match="ask as the account that runs the agent"):
        facts(storage)


def test_a_lock_that_is_only_looked_at_keeps_no_agent_from_starting(
    server: FakeServer, storage: Path, start_agent: StartAgent
) -> None:
    first = start_agent()
    wait_for(lambda: server.syncs)
    first.kill()
    started = start_agent()
    while len({sync["session_id"] for sync in server.syncs}) < 2:
        facts(storage)
        assert is_running(started.process.pid)


# reset


def joined(server: FakeServer, storage: Path) -> None:
    storage.mkdir()
    me = Identity(server.url, "nonce", "seed", "w-1", "gsw_key", "ABC-DEF", "attic")
    identity.save(storage, me)


def test_reset_asks_and_does_nothing_where_nobody_can_answer(server: FakeServer, storage: Path) -> None:
    joined(server, storage)
    ended = agent(storage, "reset", said="y\n")
    assert ended.returncode == 1
    assert "--yes" in ended.stderr
    assert (storage / "identity.json").exists()


@pytest.mark.parametrize(("answer", "is_kept"), [("n", True), ("", True), ("yes", False)])
def test_a_person_at_a_terminal_is_asked(
    server: FakeServer, storage: Path, answer: str, is_kept: bool
) -> None:
    joined(server, storage)
    ours, theirs = pty.openpty()
    command = [sys.executable, "-m", "agent", "reset", "--storage", str(storage)]
    with subprocess.Popen(command, cwd=ROOT, stdin=theirs, stdout=subprocess.PIPE, text=True) as asking:
        os.write(ours, f"{answer}\n".encode())
        said, _ = asking.communicate(timeout=50)
    assert f"Forget that this machine is worker attic of {server.url}?" in said
    assert asking.returncode == int(is_kept)
    assert (storage / "identity.json").exists() == is_kept
    os.close(ours)
    os.close(theirs)


def test_after_a_reset_the_machine_joins_as_another_worker(server: FakeServer, storage: Path) -> None:
    joined(server, storage)
    (storage / "rotate-key.wish").touch()  # for the worker that it was
    ended = agent(storage, "reset", "--yes")
    assert ended.returncode == 0
    assert f"{server.url}/workers" in ended.stdout
    assert not {path.name for path in storage.iterdir()} & {"identity.json", "rotate-key.wish"}
    assert agent(storage, "join", "--server", server.url).returncode == 0
    assert server.registrations[0]["nonce"] != "nonce"


def test_a_reset_said_twice_has_nothing_to_forget(server: FakeServer, storage: Path) -> None:
    joined(server, storage)
    agent(storage, "reset", "--yes")
    ended = agent(storage, "reset", "--yes")
    assert (ended.returncode, ended.stderr) == (0, "")
    assert "Nothing to forget" in ended.stdout


def test_a_running_agent_is_not_reset(server: FakeServer, storage: Path, start_agent: StartAgent) -> None:
    started = start_agent()
    wait_for(lambda: server.syncs)
    ended = agent(storage, "reset", "--yes", "--force")
    assert ended.returncode == 3
    assert f"process {started.process.pid}" in ended.stderr
    assert (storage / "identity.json").exists()


def test_held_tasks_are_named_and_only_force_ends_them(
    server: FakeServer, storage: Path, start_agent: StartAgent
) -> None:
    server.judge_report = lambda *_: {"status": 503}
    killed = start_agent()
    attempt = running(server, storage, "echo up; sleep 300")
    ended_one = server.submit("shell", {"script": "true"})
    wait_for((storage / "spool" / f"{ended_one.offer['attempt_id']}.json").exists)
    pid = int(directory(storage, attempt).began.read_text())
    killed.kill()
    refused = agent(storage, "reset", "--yes")
    assert refused.returncode == 1
    assert attempt.offer["task_id"] in refused.stderr
    assert f"{ended_one.offer['task_id']} shell has ended, its result is not delivered yet" in refused.stderr
    assert is_running(pid)
    assert agent(storage, "reset", "--yes", "--force").returncode == 0
    assert not is_running(pid)
    assert [path.name for path in (storage / "jobs").iterdir()] == ["agent.lock"]
    assert not list((storage / "spool").iterdir())


@pytest.mark.slow
def test_a_reset_in_a_copy_of_the_storage_leaves_the_original_alone(
    server: FakeServer, storage: Path, start_agent: StartAgent
) -> None:
    start_agent()
    attempt = running(server, storage, "echo up; sleep 300")
    wait_for((storage / "status.json").exists)
    copy = storage.with_name("copy")
    shutil.copytree(storage, copy)
    pid = int(directory(storage, attempt).began.read_text())
    assert agent(copy, "reset", "--yes").returncode == 1, "it holds the task too, as far as it knows"
    assert agent(copy, "reset", "--yes", "--force").returncode == 0
    assert not directory(copy, attempt).path.exists()
    assert is_running(pid)
    assert directory(storage, attempt).journal.exists()
