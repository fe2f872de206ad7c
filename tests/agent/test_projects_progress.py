"""How far a task is, as its process writes it down: told about once a second, and lost without harm."""

from __future__ import annotations

import json
import os
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any, ClassVar

import pytest

from agent import notes, tools
from agent.tools import Command, Input, ProcessTool, Surroundings
from tests.agent.conftest import OpenSession, finished, wait_for
from tests.agent.fake_server import Answer, FakeServer


class Talker(ProcessTool):
    """Runs Python that has `tell(**said)` and the folder `notes`."""

    name = "talker"
    title = "Talker"
    description = "Of these tests."
    schema: ClassVar[dict[str, Any]] = {"properties": {"code": {}, "key": {"x-secret": True}}}
    has_notes = True

    def check(self, task_input: Input) -> None:
        pass

    def command(self, task_input: Input, here: Surroundings) -> Command:
        lines = (
            "import json, os, sys, time, pathlib",
            "notes = pathlib.Path(sys.argv[1])",
            "def put(name, said):",
            "    (notes / 'new').write_text(json.dumps(said)); os.replace(notes / 'new', notes / name)",
            "def tell(**said): put('progress.json', said)",
            "def wait():",
            "    while not (notes.parents[1] / 'go').exists(): time.sleep(0.02)",
            task_input["code"],
        )
        return Command([sys.executable, "-c", "\n".join(lines), str(here.notes)])


@pytest.fixture(autouse=True)
def talker(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    known = {**tools.registry(), "talker": Talker()}
    monkeypatch.setattr(tools, "registry", lambda: known)
    return


def test_it_is_told_masked_and_cleaned(server: FakeServer, storage: Path, open_session: OpenSession) -> None:
    said = "tell(stage='fetching', step='Receiving\\x1b[31m objects', step_id='receiving', progress=41.5, "
    said += "message='of canary-1\\n2', other='x'); print('up', flush=True); wait()"
    open_session()
    attempt = server.submit("talker", {"code": said, "key": "canary-1"})
    wait_for(lambda: attempt.told)
    (storage / "jobs" / "go").touch()
    finished(attempt)
    assert attempt.told[0] == {
        "attempt_id": attempt.offer["attempt_id"],
        "stage": "fetching",
        "step": "Receiving [31m objects",
        "step_id": "receiving",
        "progress": 41.5,
        "message": "of *** 2",
    }
    assert len(attempt.told) == 1, "what hasn't changed isn't said again"


def test_steps_that_were_over_before_anybody_looked_are_told_too(
    server: FakeServer, open_session: OpenSession
) -> None:
    open_session()
    before = "[{'step_id': 'a', 'progress': 100}, {'step_id': 'b', 'progress': 7}]"
    attempt = finished(server.submit("talker", {"code": f"tell(step_id='c', progress=100, before={before})"}))
    assert [(step["step_id"], step["progress"]) for step in attempt.told] == [
        ("a", 100),
        ("b", 7),
        ("c", 100),
    ]


def test_a_process_that_writes_all_the_time_is_told_of_once_a_second(
    server: FakeServer, storage: Path, open_session: OpenSession
) -> None:
    open_session()
    code = "for n in range(10**9):\n  tell(progress=n % 100, message=str(n)); time.sleep(0.01)"
    attempt = server.submit("talker", {"code": code})
    wait_for(lambda: len(attempt.told) == 3)
    server.cancel(attempt)
    finished(attempt)
    first, _, third = attempt.told_times[:3]
    assert third - first >= 1.9


def test_the_answer_cancels(server: FakeServer, storage: Path, open_session: OpenSession) -> None:
    """Also where the answers to sync say nothing of it."""
    open_session()
    attempt = server.submit("talker", {"code": "time.sleep(0.5); tell(progress=1); time.sleep(300)"})
    wait_for(lambda: attempt.is_held)
    with server.lock:
        attempt.cancel_reason = "asked for"  # without waking the parked sync
    assert finished(attempt).report["status"] == "cancelled"
    assert attempt.told


def test_a_server_that_is_away_costs_no_more_than_the_progress(
    server: FakeServer, storage: Path, open_session: OpenSession
) -> None:
    asked: list[float] = []

    def away(method: str, path: str) -> Answer | None:
        if method != "PUT":
            return None
        asked.append(time.monotonic())
        return Answer(502, "<html>Bad Gateway</html>", "text/html")

    server.misbehave = away
    open_session()
    code = "for n in range(10):\n  tell(progress=n); time.sleep(0.1)\nput('facts.json', {'message': 'done', 'n': 9})"
    attempt = finished(server.submit("talker", {"code": code}))
    assert attempt.report["status"] == "completed"
    assert attempt.report["result"] == {"output": "done", "data": {"message": "done", "n": 9}}
    assert asked
    assert not attempt.told


@pytest.mark.parametrize(("status", "is_asked_again"), [(409, False), (404, False), (403, True), (422, True)])
def test_a_server_that_says_that_it_is_over_is_left_alone(
    server: FakeServer, open_session: OpenSession, status: int, is_asked_again: bool
) -> None:
    refused: list[str] = []

    def refuse(method: str, path: str) -> Answer | None:
        if method != "PUT":
            return None
        refused.append(path)
        return Answer(status, {"type": "x", "title": "no", "status": status}, "application/problem+json")

    server.misbehave = refuse
    open_session()
    code = "for n in range(20):\n  tell(progress=n); time.sleep(0.1)"
    assert finished(server.submit("talker", {"code": code})).report["status"] == "completed"
    assert (len(refused) > 1) == is_asked_again


def test_facts_are_masked_and_say_why_it_failed(
    server: FakeServer, storage: Path, open_session: OpenSession
) -> None:
    open_session()
    facts = "{'message': 'no\\nroom for canary-1', 'failure_class': 'disk_low', 'list': [{'a': 'canary-1'}]}"
    attempt = finished(
        server.submit("talker", {"code": f"put('facts.json', {facts}); sys.exit(3)", "key": "canary-1"})
    )
    report = attempt.report
    assert (report["exit_code"], report["error"]) == (3, "no room for ***")
    assert report["failure_class"] == "disk_low"
    assert report["result"]["data"]["list"] == [{"a": "***"}]


def test_facts_of_a_task_that_was_cancelled_are_not_its_result(
    server: FakeServer, storage: Path, open_session: OpenSession
) -> None:
    open_session()
    code = "put('facts.json', {'message': 'half'}); print('up', flush=True); time.sleep(300)"
    attempt = server.submit("talker", {"code": code})
    wait_for(lambda: b"up" in attempt.log)
    server.cancel(attempt)
    report = finished(attempt).report
    assert (report["status"], "data" in report["result"]) == ("cancelled", False)


# ---- what a stranger may have put there


def linked(path: Path) -> None:
    path.with_name("elsewhere").write_text('{"progress": 1}')
    path.symlink_to(path.with_name("elsewhere"))


def hard_linked(path: Path) -> None:
    path.with_name("elsewhere").write_text('{"progress": 1}')
    os.link(path.with_name("elsewhere"), path)


@pytest.mark.parametrize("make", [linked, hard_linked, os.mkfifo, Path.mkdir, Path.touch])
def test_only_a_plain_file_is_read(tmp_path: Path, make: Any) -> None:
    make(tmp_path / notes.PROGRESS)
    assert notes.progress(tmp_path) == []


@pytest.mark.parametrize(
    "content",
    [
        b"",
        b"[]",
        b"{",
        b"\xff",
        b"[" * 20_000,
        b'{"progress": "1", "message": 7, "step": null, "other": "x"}',
        b'{"progress": NaN}',
        b'{"before": [1, null, [], {"step": 7}, {}]}',
        b'{"before": {"step": "x"}}',
        b'{"progress": true}',
        b'{"progress": 1, "message": "' + b"x" * notes.MAX_PROGRESS_BYTES + b'"}',
    ],
)
def test_what_makes_no_sense_is_nothing(tmp_path: Path, content: bytes) -> None:
    (tmp_path / notes.PROGRESS).write_bytes(content)
    assert notes.progress(tmp_path) == []


def test_what_is_too_much_is_cut(tmp_path: Path) -> None:
    said = {"progress": 1e300, "stage": "x" * 100, "step": "y" * 1000, "message": "z" * 2000}
    (tmp_path / notes.PROGRESS).write_text(json.dumps(said))
    [told] = notes.progress(tmp_path)
    assert told["progress"] == 100
    assert [len(told[name]) for name in ("stage", "step", "message")] == [64, 255, 1000]
