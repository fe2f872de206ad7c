"""Secrets stay on the machine: what a real agent sends of a log, an error and a result."""

from __future__ import annotations

import hashlib
import json
from pathlib import Path
from typing import Any

import pytest

from agent.logs import OUTPUT_BYTES
from agent.tools import Result, noop
from tests.agent.conftest import (
    UNTIL_GO,
    OpenSession,
    StartAgent,
    directory,
    finished,
    wait_for,
)
from tests.agent.fake_server import Answer, FakeAttempt, FakeServer

SECRET = "p@ss/word%22"
ENV = {"TOKEN": SECRET}


def is_whole(attempt: FakeAttempt, expected: bytes) -> bool:
    return (
        bytes(attempt.log) == expected
        and attempt.report["log_size"] == len(expected)
        and attempt.report["log_sha256"] == hashlib.sha256(expected).hexdigest()
    )


def everything_sent(server: FakeServer, attempt: FakeAttempt) -> bytes:
    """The log and all reports of all syncs, and what the server knows of the attempt besides."""
    reports = [report for sync in server.syncs for report in sync["reports"]]
    return bytes(attempt.log) + json.dumps([reports, server.registrations]).encode()


@pytest.mark.parametrize(
    "said",
    [
        'printf %s "$TOKEN"',
        'printf %s "$TOKEN" | base64 | tr -d "\\n"',
        'printf "x%s" "$TOKEN" | base64 | cut -c 3- | tr -d "\\n"',
        "printf p%%40ss/word%%2522",
        "printf p%%40ss%%2Fword%%2522",
    ],
)
def test_a_secret_of_the_environment_is_masked_however_it_is_written(
    server: FakeServer, open_session: OpenSession, said: str
) -> None:
    open_session()
    attempt = finished(
        server.submit("shell", {"script": f"echo before; {said}; echo; echo after", "env": ENV})
    )
    assert is_whole(attempt, b"before\n***\nafter\n")
    assert attempt.report["result"]["output"] == "before\n***\nafter"
    assert SECRET.encode() not in everything_sent(server, attempt)


def test_a_secret_written_in_two_halves_is_never_sent_by_half(
    server: FakeServer, storage: Path, open_session: OpenSession
) -> None:
    chunks: list[bytes] = []

    def noted(attempt: FakeAttempt, offset: int, content: bytes) -> Answer | None:
        chunks.append(content)
        return None

    server.judge_chunk = noted
    open_session()
    script = f"printf 'before p@ss'; {UNTIL_GO} echo '/word%22 after'"
    attempt = server.submit("shell", {"script": script, "env": ENV})
    wait_for(lambda: attempt.log == b"before ")
    (storage / "go").touch()
    assert is_whole(finished(attempt), b"before *** after\n")
    assert [chunk for chunk in chunks if b"p@ss" in chunk] == []


def test_what_only_looked_like_a_secret_is_sent_when_the_task_ends(
    server: FakeServer, open_session: OpenSession
) -> None:
    open_session()
    attempt = finished(server.submit("shell", {"script": "printf 'before p@ss'", "env": ENV}))
    assert is_whole(attempt, b"before p@ss")


def test_each_line_of_a_secret_of_several_lines_is_masked(
    server: FakeServer, open_session: OpenSession
) -> None:
    open_session()
    key = "-----BEGIN-----\nfirst-of-the-key\n2nd\nlast-of-the-key\n"
    script = 'echo "$KEY" | sed "s/^/> /"'
    attempt = finished(server.submit("shell", {"script": script, "env": {"KEY": key}}))
    assert is_whole(attempt, b"> ***\n> ***\n> 2nd\n> ***\n> \n")


def test_a_secret_shorter_than_six_characters_is_not_masked(
    server: FakeServer, open_session: OpenSession
) -> None:
    open_session()
    attempt = finished(server.submit("shell", {"script": "echo $PIN", "env": {"PIN": "12345"}}))
    assert is_whole(attempt, b"12345\n")


@pytest.mark.parametrize("fetch", [False, True])
def test_secrets_that_come_with_the_task_are_masked(
    server: FakeServer, open_session: OpenSession, fetch: bool
) -> None:
    open_session()
    secrets = {"vault": "from-the-vault"}
    attempt = server.submit("shell", {"script": "echo from-the-vault"}, fetch=fetch, secrets=secrets)
    assert is_whole(finished(attempt), b"***\n")


def test_the_workers_own_key_is_masked(server: FakeServer, start_agent: StartAgent) -> None:
    start_agent()
    attempt = server.submit("shell", {"script": "cat ../../../identity.json; exit 3"})
    report = finished(attempt).report
    assert b'"api_key": "***"' in attempt.log
    assert '"api_key": "***"' in report["result"]["output"]
    assert b"gsw_key" not in everything_sent(server, attempt)


def test_a_secret_in_an_error_is_masked_in_the_report_and_on_the_terminal(
    server: FakeServer, start_agent: StartAgent
) -> None:
    agent = start_agent()
    attempt = finished(server.submit("shell", {"argv": [f"no {SECRET}"], "env": {"TOKEN": f"no {SECRET}"}}))
    assert attempt.report["error"] == "command not found: ***"
    wait_for(lambda: "command not found: ***" in agent.said)
    assert SECRET not in agent.said


@pytest.mark.parametrize("error", [None, f"failed with {SECRET}"])
def test_a_tool_inside_the_agent_shows_no_secret(
    server: FakeServer, open_session: OpenSession, monkeypatch: pytest.MonkeyPatch, error: str | None
) -> None:
    def run(_: object, task_input: object, job: Any) -> Result:
        job.log(f"{SECRET} in the log")
        return Result(f"{SECRET} in the output", {"deep": [{"er": f"in the data: {SECRET}"}]}, error)

    monkeypatch.setattr(noop.Noop, "run", run)
    open_session()
    attempt = finished(server.submit("noop", {}, secrets=ENV))
    assert is_whole(attempt, b"*** in the log\n")
    data = {"deep": [{"er": "in the data: ***"}]}
    assert attempt.report["result"] == {"output": "*** in the output", "data": data}
    assert attempt.report.get("error") == (error and "failed with ***")


def test_an_error_of_the_agent_itself_shows_no_secret(
    server: FakeServer,
    open_session: OpenSession,
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
) -> None:
    def fail(*_: object) -> Result:
        raise RuntimeError(f"broken by {SECRET}")

    monkeypatch.setattr(noop.Noop, "run", fail)
    open_session()
    attempt = finished(server.submit("noop", {}, secrets=ENV))
    assert attempt.report["error"] == "the agent failed: RuntimeError: broken by ***"
    assert "RuntimeError: broken by ***" in caplog.text
    assert "in _work" in caplog.text, "it still says where"
    assert SECRET not in caplog.text


def test_a_result_is_the_end_of_the_masked_log(server: FakeServer, open_session: OpenSession) -> None:
    """Cut from the raw one it could begin with half a secret."""
    open_session()
    script = f'printf "%s" "$TOKEN"; head -c {OUTPUT_BYTES - 5} /dev/zero | tr "\\0" x'
    attempt = finished(server.submit("shell", {"script": script, "env": ENV}))
    assert attempt.report["result"]["output"] == "***" + (OUTPUT_BYTES - 5) * "x"


# Five megabytes with a secret on each tenth line.
LONG = 'for i in $(seq 1 70000); do echo "$i nothing to hide on this line of the log, or on the next"; '
LONG += 'case $i in *0) echo "$TOKEN";; esac; done; '


def long_log(*, end: bytes = b"") -> bytes:
    line = b"%d nothing to hide on this line of the log, or on the next\n"
    return b"".join(line % n + (b"***\n" if n % 10 == 0 else b"") for n in range(1, 70_001)) + end


def test_a_long_log_with_many_secrets_arrives_whole(server: FakeServer, open_session: OpenSession) -> None:
    open_session()
    assert is_whole(finished(server.submit("shell", {"script": LONG, "env": ENV})), long_log())


def test_a_killed_agents_log_goes_on_where_it_was(
    server: FakeServer, storage: Path, start_agent: StartAgent
) -> None:
    first = start_agent()
    # Half a secret is in the file when the agent is killed, the other half comes when the next one is there.
    script = f"{LONG} echo up; printf p@ss; {UNTIL_GO} echo '/word%22'"
    attempt = server.submit("shell", {"script": script, "env": ENV})
    wait_for(lambda: len(attempt.log) > 100_000)
    first.kill()
    before = bytes(attempt.log)
    start_agent()
    wait_for(lambda: attempt.log.endswith(b"up\n"))
    (storage / "go").touch()
    assert is_whole(finished(attempt), long_log(end=b"up\n***\n"))
    assert attempt.log.startswith(before)


def test_a_report_of_a_killed_agent_brings_a_masked_log(
    server: FakeServer, storage: Path, start_agent: StartAgent
) -> None:
    server.judge_report = lambda attempt, report: {"status": 500}
    server.judge_chunk = lambda *_: Answer(503, {})
    first = start_agent()
    attempt = server.submit(
        "shell", {"script": 'echo "$TOKEN"; exit 2', "env": ENV}, secrets={"x": "vaulted"}
    )
    wait_for((storage / "spool" / f"{attempt.offer['attempt_id']}.json").exists)
    first.kill()
    assert attempt.log == b""
    server.judge_report = lambda attempt, report: None
    server.judge_chunk = lambda *_: None
    start_agent()
    assert finished(attempt).report["exit_code"] == 2
    assert is_whole(attempt, b"***\n")
    assert SECRET.encode() not in everything_sent(server, attempt)


def test_a_log_whose_secrets_nobody_knows_any_more_is_not_sent(
    server: FakeServer, storage: Path, start_agent: StartAgent
) -> None:
    server.judge_report = lambda attempt, report: {"status": 500}
    server.judge_chunk = lambda *_: Answer(503, {})
    first = start_agent()
    attempt = server.submit("shell", {"script": 'echo "$TOKEN"', "env": ENV})
    wait_for((storage / "spool" / f"{attempt.offer['attempt_id']}.json").exists)
    first.kill()
    directory(storage, attempt).journal.write_text("{")
    server.judge_report = lambda attempt, report: None
    server.judge_chunk = lambda *_: None
    start_agent()
    assert finished(attempt).report["failure_class"] == "log_incomplete"
    assert SECRET.encode() not in everything_sent(server, attempt)


def test_a_task_that_empties_its_own_log_shows_no_secret_by_it(
    server: FakeServer, storage: Path, open_session: OpenSession
) -> None:
    open_session()
    script = f'echo up and about; {UNTIL_GO} echo "now $TOKEN" > /dev/stdout; echo "$TOKEN"'
    attempt = server.submit("shell", {"script": script, "env": ENV})
    wait_for(lambda: b"up" in attempt.log)
    (storage / "go").touch()
    finished(attempt)
    assert SECRET.encode() not in everything_sent(server, attempt)
