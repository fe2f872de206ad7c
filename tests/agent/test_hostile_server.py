"""The owner's policy against whoever holds the server: nothing that isn’t allowed ever starts."""

from __future__ import annotations

import os
import threading
from pathlib import Path
from typing import Any

import pytest

from agent import clock
from agent.config import Config
from agent.journal import Place
from tests.agent.conftest import (
    UNTIL_GO,
    OpenSession,
    StartAgent,
    finished,
    running,
    wait_for,
)
from tests.agent.fake_control import FakeControl
from tests.agent.fake_server import Answer, FakeAttempt, FakeServer
from tests.agent.test_policy import write


@pytest.fixture(autouse=True)
def hostile(server: FakeServer) -> None:
    """It offers whatever the agent says."""
    server.is_deaf = True


@pytest.fixture
def mark(tmp_path: Path) -> Path:
    """What forbidden tasks would leave behind."""
    return tmp_path / "it ran"


def refused(attempt: FakeAttempt, mark: Path) -> str:
    """Whose rule it was."""
    report = finished(attempt).report
    assert (report["status"], report["failure_class"]) == ("failed", "refused"), report
    assert report["execution_time_ms"] == 0
    assert (report["log_size"], bytes(attempt.log)) == (0, b"")
    assert not mark.exists()
    return str(report["error"])


ATTACKS: dict[str, tuple[str, dict[str, Any], dict[str, Any]]] = {
    "a script": ("tools = shell\ncommands = true", {"script": "touch '{mark}'"}, {}),
    "a tool": ("tools = noop", {"script": "touch '{mark}'"}, {}),
    "another program": ("commands = true", {"argv": ["touch", "{mark}"]}, {}),
    "a program by another way": ("commands = /usr/bin/true\n /bin/true", {"argv": ["touch", "{mark}"]}, {}),
    "other arguments": ("commands = touch /nowhere *", {"argv": ["touch", "{mark}"]}, {}),
    "a way out of the folder": (
        "commands = /usr/share/*",
        {"argv": ["/usr/share/../../bin/touch", "{mark}"]},
        {},
    ),
    "a program of its own in PATH": ("commands = make", {"argv": ["make"], "env": {"PATH": "{evil}"}}, {}),
    "another organisation": (
        "organisations = Lab",
        {"script": "touch '{mark}'"},
        {"organisation": {"id": "o-2", "name": "lab"}},
    ),
    "no organisation": ("organisations = Lab", {"script": "touch '{mark}'"}, {}),
    "an organisation that is none": (
        "organisations = Lab",
        {"script": "touch '{mark}'"},
        {"organisation": {"id": ["Lab"], "name": {"Lab": 1}}},
    ),
    "everything": ("tools =", {"script": "touch '{mark}'"}, {}),
}


@pytest.mark.parametrize("name", list(ATTACKS))
def test_forbidden_work_is_refused_and_what_is_allowed_goes_on(
    server: FakeServer, config: Config, open_session: OpenSession, mark: Path, name: str
) -> None:
    """Whether the offer brings the task along or it is fetched."""
    rules, said, offered = ATTACKS[name]
    evil = mark.parent / "evil"
    evil.mkdir()
    (evil / "make").write_text(f"#!/bin/sh\ntouch '{mark}'\n")
    (evil / "make").chmod(0o755)
    write(config.storage, f"[policy]\n{rules}\n")
    open_session()
    task_input = _filled(said, mark=str(mark), evil=str(evil))
    for fetch in (False, True):
        refused(server.submit("shell", task_input, fetch=fetch, **offered), mark)
    if "tools" not in rules and "organisations" not in rules:
        program = rules.partition("= ")[2].split("\n")[0]
        if program in {"true", "/usr/bin/true"}:
            assert finished(server.submit("shell", {"argv": [program]})).report["status"] == "completed"


def _filled(said: Any, **words: str) -> Any:
    if isinstance(said, str):
        return said.format(**words)
    if isinstance(said, list):
        return [_filled(one, **words) for one in said]
    return {name: _filled(one, **words) for name, one in said.items()}


def test_a_tool_that_is_not_allowed_is_declared_as_not_working(
    server: FakeServer, config: Config, open_session: OpenSession
) -> None:
    write(config.storage, "[policy]\ntools = noop\n")
    open_session()
    wait_for(lambda: server.syncs)
    found = {tool["name"]: tool["found"] for tool in server.syncs[0]["tools"]}
    assert found["noop"]["works"]
    assert not found["shell"]["works"]
    assert found["shell"]["problem"] == "the owner of this machine doesn’t allow it"
    assert server.syncs[0]["policy"]["tools"] == ["noop"]


def test_an_offer_that_says_one_tool_and_brings_another_runs_neither(
    server: FakeServer, config: Config, open_session: OpenSession, mark: Path
) -> None:
    write(config.storage, "[policy]\ntools = noop\n")
    open_session()
    attempt = server.known("noop", {"script": f"touch '{mark}'"})
    attempt.data["task"]["tool"] = "shell"
    server.offer_again(attempt)
    assert finished(attempt).report["failure_class"] == "exit_code"
    assert not mark.exists()


def test_an_offer_that_is_repeated_after_its_refusal_never_starts(
    server: FakeServer, config: Config, open_session: OpenSession, mark: Path
) -> None:
    write(config.storage, "[policy]\ncommands = true\n")
    open_session()
    attempt = server.submit("shell", {"argv": ["touch", str(mark)]})
    refused(attempt, mark)
    for _ in range(3):
        server.offer_again(attempt)
    same = server.known("shell", {"argv": ["touch", str(mark)]})
    same.offer["task_id"] = attempt.offer["task_id"]
    server.offer_again(same)
    refused(same, mark)
    assert len(attempt.reports) == 1


def test_what_comes_down_the_control_socket_is_judged_alike(
    server: FakeServer, config: Config, open_session: OpenSession, mark: Path
) -> None:
    server.control = FakeControl()
    write(config.storage, "[policy]\ncommands = true\n")
    open_session()
    attempt = server.known("shell", {"script": f"touch '{mark}'"})
    attempt.is_offered = True
    server.control.line().say("run_task", **attempt.offer)
    assert "script" in refused(attempt, mark)


def test_it_is_judged_again_right_before_it_starts(
    server: FakeServer, config: Config, open_session: OpenSession, mark: Path
) -> None:
    """What was allowed when it was offered may not be, by the time that its data has come."""
    write(config.storage, "[policy]\ntools = shell\n")
    asked, go_on = threading.Event(), threading.Event()

    def slow(_method: str, path: str) -> Answer | None:
        if "/data" in path:
            asked.set()
            go_on.wait(30)
        return None

    server.misbehave = slow
    open_session()
    attempt = server.submit("shell", {"script": f"touch '{mark}'"}, fetch=True)
    assert asked.wait(30)
    write(config.storage, "[policy]\ntools = noop\n")
    go_on.set()
    assert refused(attempt, mark) == "the tool shell isn’t allowed"


def test_a_file_that_breaks_meanwhile_allows_nothing_and_says_so(
    server: FakeServer, config: Config, open_session: OpenSession, mark: Path
) -> None:
    write(config.storage, "[policy]\ntools = shell\n")
    open_session()
    assert finished(server.submit("shell", {"script": "true"})).report["status"] == "completed"
    write(config.storage, "[policy]\ntoolz = shell\n")
    assert "its file can’t be used" in refused(server.submit("shell", {"script": f"touch '{mark}'"}), mark)
    wait_for(lambda: "the owner’s policy: " in server.syncs[-1].get("not_accepting", ""))


def test_a_change_is_declared(server: FakeServer, config: Config, open_session: OpenSession) -> None:
    path = write(config.storage, "[policy]\ntools = shell\n")
    open_session()
    wait_for(lambda: server.syncs)
    write(config.storage, "[policy]\ntools = noop\n")
    assert path.exists()
    finished(server.submit("noop", {}))
    wait_for(lambda: any(sync.get("policy", {}).get("tools") == ["noop"] for sync in server.syncs))


@pytest.mark.parametrize("timeout_s", [10**9, None, -1, float(10**300)])
def test_a_time_limit_beyond_the_owners_is_the_owners(
    server: FakeServer,
    config: Config,
    open_session: OpenSession,
    monkeypatch: pytest.MonkeyPatch,
    timeout_s: float | None,
) -> None:
    monkeypatch.setattr("agent.limits.MINUTE_S", 0.2)
    write(config.storage, "[policy]\nmax_minutes = 1\n")
    open_session()
    attempt = server.submit("shell", {"script": "exec sleep 600"}, timeout_s=timeout_s)
    report = finished(attempt).report
    assert (report["status"], report["failure_class"]) == ("failed", "timeout")
    assert report["error"] == "time limit of 1 min reached, by the owner’s policy of this machine"


def test_the_tasks_own_limit_counts_where_it_is_shorter(
    server: FakeServer, config: Config, open_session: OpenSession
) -> None:
    write(config.storage, "[policy]\nmax_minutes = 60\n")
    open_session()
    report = finished(server.submit("shell", {"script": "exec sleep 600"}, timeout_s=0.2)).report
    assert report["error"] == "time limit of 0.2 s reached"


def test_a_task_that_takes_more_room_than_it_is_given_is_ended(
    server: FakeServer, config: Config, open_session: OpenSession, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("agent.limits.LOOK_S", 0.05)
    write(config.storage, "[policy]\nmax_disk = 1 MB\n")
    open_session()
    inside = server.submit("noop", {"sleep_ms": 300})
    small = server.submit("shell", {"script": "head -c 100000 /dev/zero > small; sleep 0.3"})
    large = server.submit("shell", {"script": "head -c 3000000 /dev/zero > large; exec sleep 600"})
    assert finished(small).report["status"] == "completed"
    assert finished(inside).report["status"] == "completed"
    report = finished(large).report
    assert (report["status"], report["failure_class"]) == ("failed", "disk_low")
    assert report["error"] == "its files take 3 MB, more than 1 MB, by the owner’s policy of this machine"


def test_what_an_earlier_agent_began_goes_on(
    server: FakeServer, storage: Path, start_agent: StartAgent
) -> None:
    first = start_agent()
    attempt = running(server, storage, "echo up; " + UNTIL_GO + "echo done")
    first.kill()
    write(storage, "[policy]\ntools =\ncommands =\norganisations =\n")
    start_agent()
    (storage / "go").touch()
    assert finished(attempt).report["status"] == "completed"
    assert bytes(attempt.log) == b"up\ndone\n"


def test_what_it_left_unbegun_does_not_begin(
    server: FakeServer, storage: Path, config: Config, open_session: OpenSession, mark: Path
) -> None:
    """A journal that says it was never started, as an agent leaves it that was killed in between."""
    from agent import machine
    from agent.journal import Entry
    from agent.offer import Offer

    attempt = server.known("shell", {"script": f"touch '{mark}'"})
    attempt.is_offered = True
    place = Place(config.jobs / attempt.offer["attempt_id"])
    config.jobs.mkdir(parents=True)
    place.create()
    entry = Entry(
        Offer.parse(attempt.offer).to_dict(), attempt.data["task"], machine.boot_id(), clock.now(), 0.0
    )
    place.write_journal(entry, is_new=True)
    write(config.storage, "[policy]\ntools = noop\n")
    open_session()
    assert finished(attempt).report["failure_class"] == "offer_lost"
    assert not mark.exists()
    assert not os.path.lexists(place.path) or not place.exit.exists()


def test_what_it_says_of_a_broken_file_is_short_enough_for_any_server(
    server: FakeServer, config: Config, open_session: OpenSession
) -> None:
    write(config.storage, "[policy]\n")
    open_session()
    write(config.storage, f"[policy]\nmax_disk = {'x' * 2000}\n")
    wait_for(lambda: server.syncs)
    wait_for(
        lambda: "not_accepting" in server.syncs[-1] and server.syncs[-1].get("policy", {}).get("problem")
    )
    said = server.syncs[-1]
    assert all(len(words) <= 255 for words in (said["not_accepting"], said["policy"]["problem"]))
