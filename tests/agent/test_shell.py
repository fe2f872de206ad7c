from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import pytest

from agent.tools import BadInput, registry
from tests.agent.conftest import OpenSession, StartAgent, finished
from tests.agent.fake_server import FakeServer


def test_a_script_that_ends_well_is_completed(server: FakeServer, start_agent: StartAgent) -> None:
    start_agent()
    attempt = finished(server.submit("shell", {"script": "echo hello; echo world >&2\n"}))
    assert attempt.log == b"hello\nworld\n"
    report = attempt.report
    assert (report["status"], report["exit_code"]) == ("completed", 0)
    assert report["result"] == {"output": "hello\nworld"}
    assert "failure_class" not in report
    assert report["execution_time_ms"] >= 0


@pytest.mark.parametrize(
    ("script", "code", "error"),
    [
        ("exit 3", 3, "exit code 3"),
        ("kill -KILL $$", 137, "killed by signal 9 (KILL)"),
        ("false; exit 255", 255, "exit code 255"),
        ("nosuchcommand", 127, "exit code 127"),
    ],
)
def test_another_status_fails_the_task(
    server: FakeServer, open_session: OpenSession, script: str, code: int, error: str
) -> None:
    open_session()
    report = finished(server.submit("shell", {"script": script})).report
    assert (report["status"], report["failure_class"]) == ("failed", "exit_code")
    assert (report["exit_code"], report["error"]) == (code, error)


def test_an_error_in_the_middle_of_a_script_does_not_end_it(
    server: FakeServer, open_session: OpenSession
) -> None:
    open_session()
    assert finished(server.submit("shell", {"script": "false\necho on"})).log == b"on\n"


def test_a_script_is_run_by_bash(server: FakeServer, open_session: OpenSession) -> None:
    open_session()
    attempt = finished(server.submit("shell", {"script": "a=(x y); echo ${a[1]}"}))
    assert attempt.log == b"y\n"


def test_arguments_arrive_as_they_are(server: FakeServer, open_session: OpenSession) -> None:
    open_session()
    argv = ["printf", "[%s]", "a b", "", "$HOME", "*", '"', "-n", "ü\n"]
    assert finished(server.submit("shell", {"argv": argv})).log.decode() == '[a b][][$HOME][*]["][-n][ü\n]'


def test_a_program_is_never_taken_for_a_word_of_the_wrappers_shell(
    server: FakeServer, open_session: OpenSession
) -> None:
    open_session()
    attempt = finished(server.submit("shell", {"argv": ["exit", "5"]}))
    assert attempt.report["exit_code"] == 127


@pytest.mark.parametrize(
    ("program", "code", "error"),
    [
        ("no-such-program", 127, "command not found: no-such-program"),
        ("/no/such/program", 127, "command not found: /no/such/program"),
        ("/etc/passwd", 126, "/etc/passwd can't be executed"),
    ],
)
def test_a_program_that_is_not_there_is_said_clearly(
    server: FakeServer, open_session: OpenSession, program: str, code: int, error: str
) -> None:
    open_session()
    report = finished(server.submit("shell", {"argv": [program]})).report
    assert (report["status"], report["failure_class"]) == ("failed", "exit_code")
    assert (report["exit_code"], report["error"]) == (code, error)


def test_the_environment_is_made_from_nothing(server: FakeServer, start_agent: StartAgent) -> None:
    start_agent(AGENT_JOIN_TOKEN="gsj_secret", AWS_SECRET_ACCESS_KEY="secret", TZ="Europe/Vienna")
    attempt = finished(server.submit("shell", {"argv": ["env"], "env": {"COLOUR": "red", "LANG": "C"}}))
    seen = dict(line.split("=", 1) for line in attempt.log.decode().splitlines())
    assert set(seen) <= {
        *("PATH", "HOME", "USER", "LOGNAME", "LANG", "TZ", "COLOUR", "PWD"),
        *("GARAGESWARM_TASK_ID", "GARAGESWARM_ATTEMPT_ID", "GARAGESWARM_ATTEMPT"),
    }
    assert (seen["COLOUR"], seen["LANG"], seen["TZ"]) == ("red", "C", "Europe/Vienna")
    assert seen["GARAGESWARM_ATTEMPT_ID"] == attempt.offer["attempt_id"]
    assert seen["PATH"] == os.environ["PATH"]


def test_a_task_has_an_empty_directory_no_input_and_its_own_session(
    server: FakeServer, storage: Path, open_session: OpenSession
) -> None:
    open_session()
    script = "pwd; ls -A; wc -c; ps -o sid= -p $$ 2>/dev/null || cut -d' ' -f6 /proc/$$/stat"
    attempt = finished(server.submit("shell", {"script": script}))
    place, size, session = attempt.log.decode().split()
    assert place == str(storage / "jobs" / attempt.offer["attempt_id"] / "work")
    assert size == "0"
    assert int(session) != os.getsid(0)


def test_the_agents_own_descriptors_stay_its_own(server: FakeServer, open_session: OpenSession) -> None:
    open_session()
    attempt = finished(server.submit("shell", {"argv": ["ls", "/proc/self/fd"]}))
    assert attempt.log.split() == [b"0", b"1", b"2", b"3"]


def test_data_that_did_not_ride_along_is_fetched(server: FakeServer, open_session: OpenSession) -> None:
    open_session()
    attempt = finished(server.submit("shell", {"script": "echo fetched"}, fetch=True))
    assert attempt.log == b"fetched\n"
    assert len(server.paths("/data")) == 1


@pytest.mark.parametrize(
    "task_input",
    [
        {},
        {"script": "true", "argv": ["true"]},
        {"script": ""},
        {"script": 5},
        {"script": "a\0b"},
        {"script": "\ud800"},
        {"script": "x" * (256 * 1024 + 1)},
        {"argv": []},
        {"argv": "true"},
        {"argv": [""]},
        {"argv": ["true", 1]},
        {"argv": ["true", "x" * 131072]},
        {"script": "true", "cwd": "/"},
        {"script": "true", "env": []},
        {"script": "true", "env": {"A B": "x"}},
        {"script": "true", "env": {"A": 1}},
        {"script": "true", "env": {"A=B": "x"}},
        {"script": "true", "env": {"GARAGESWARM_ATTEMPT_ID": "x"}},
    ],
)
def test_the_agent_checks_the_input_again(task_input: dict[str, Any]) -> None:
    with pytest.raises(BadInput):
        registry()["shell"].check(task_input)


def test_bad_input_fails_the_task_and_is_not_retried(server: FakeServer, open_session: OpenSession) -> None:
    open_session()
    report = finished(server.submit("shell", {"script": "true", "cwd": "/"})).report
    assert (report["status"], report["error"]) == ("failed", "input: unknown input: cwd")
    assert report["failure_class"] == "exit_code"


def test_an_unknown_tool_is_the_agents_failure(server: FakeServer, open_session: OpenSession) -> None:
    open_session()
    report = finished(server.submit("forge", {})).report
    assert (report["failure_class"], report["error"]) == ("agent_error", "this agent has no tool 'forge'")


def test_too_many_arguments_for_the_system_are_the_tasks_failure(
    server: FakeServer, open_session: OpenSession
) -> None:
    open_session()
    report = finished(server.submit("shell", {"argv": ["true", *["x" * 100_000] * 50]})).report
    assert report["status"] == "failed"
    assert "Argument list too long" in report["error"]


def test_nothing_of_a_task_stays_once_its_report_is_taken(
    server: FakeServer, storage: Path, start_agent: StartAgent
) -> None:
    agent = start_agent()
    for _ in range(3):
        finished(server.submit("shell", {"script": "mkdir -p a/b; touch a/b/c"}))
    agent.signal(15)
    assert agent.wait() == 0
    assert list((storage / "spool").iterdir()) == []
