"""Which tools the agent finds to work, and that looking never hangs it."""

from __future__ import annotations

import os
import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, ClassVar

import pytest

from agent import clock, probes
from agent.probes import NoAnswer, Prober, first_line
from agent.tools import Finding, InlineTool, Input, Job, Result, registry
from agent.tools.shell import Shell
from tests.agent.conftest import is_running, wait_for

PATH = os.environ["PATH"]


class Pretended(InlineTool):
    """A tool whose probe is a function of the test."""

    title = description = ""
    schema: ClassVar[dict[str, Any]] = {"type": "object"}

    def __init__(self, name: str, look: Callable[[], Finding]) -> None:
        self.name = name  # type: ignore[misc]
        self._look = look

    def check(self, task_input: Input) -> None: ...

    def run(self, task_input: Input, job: Job) -> Result:
        return Result()

    def probe(self, path: str) -> Finding:
        return self._look()


@pytest.fixture
def gate() -> Iterator[threading.Event]:
    """What a probe that hangs waits for."""
    event = threading.Event()
    yield event
    event.set()


def program(folder: Path, text: str) -> str:
    path = folder / "program"
    path.write_text(f"#!/bin/sh\n{text}\n")
    path.chmod(0o700)
    return str(path)


def test_the_shell_says_which_one_it_is() -> None:
    prober = Prober(registry().values())
    assert prober.look()
    assert prober.found["shell"].works
    assert "bash" in prober.found["shell"].version
    assert prober.found["noop"] == Finding()


def test_without_bash_it_is_sh_and_noticed_again_when_bash_comes(tmp_path: Path) -> None:
    assert Shell().probe(str(tmp_path)) == Finding(version="/bin/sh, no bash")
    program(tmp_path, "echo bash 9")
    (tmp_path / "program").rename(tmp_path / "bash")
    assert Shell().probe(str(tmp_path)).version == "bash 9"


def test_a_bash_that_is_broken_doesnt_work(tmp_path: Path) -> None:
    program(tmp_path, "echo no such library >&2; exit 127")
    (tmp_path / "program").rename(tmp_path / "bash")
    with pytest.raises(NoAnswer, match=r"bash --version failed with status 127: no such library"):
        Shell().probe(str(tmp_path))


def test_a_program_that_says_nothing_is_ended_in_time(tmp_path: Path) -> None:
    silent = program(tmp_path, f"echo $$ > {tmp_path}/pid; exec >&- 2>&-; sleep 300")
    with pytest.raises(NoAnswer, match=r"didn't answer within 1 s"):
        first_line([silent], PATH, timeout_s=1)
    pid = tmp_path / "pid"  # not there where it was ended before it could begin
    wait_for(lambda: not pid.exists() or not pid.read_text() or not is_running(int(pid.read_text())))


def test_a_program_that_talks_without_end_is_ended_in_time(tmp_path: Path) -> None:
    with pytest.raises(NoAnswer, match="didn't answer"):
        first_line([program(tmp_path, "exec yes")], PATH, timeout_s=0.5)


def test_what_a_program_leaves_behind_doesnt_hold_up_its_answer(tmp_path: Path) -> None:
    leaving = program(tmp_path, f"sleep 300 & echo $! > {tmp_path}/pid; echo; echo version 5; echo more")
    began = clock.now()
    try:
        assert first_line([leaving], PATH, timeout_s=60) == "version 5"
        assert clock.now() - began < 50
    finally:
        os.kill(int((tmp_path / "pid").read_text()), 9)


def test_a_program_sees_nothing_of_the_agents_own_environment(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("AGENT_JOIN_TOKEN", "gsj_secret")
    assert first_line([program(tmp_path, "echo got $AGENT_JOIN_TOKEN")], PATH, timeout_s=30) == "got"


def test_a_program_that_isnt_there_is_said(tmp_path: Path) -> None:
    with pytest.raises(NoAnswer, match="No such file"):
        first_line([str(tmp_path / "nowhere")], PATH)


def test_a_look_says_whether_anything_changed() -> None:
    now = [Finding(version="1")]
    prober = Prober([Pretended("one", lambda: now[0])])
    assert prober.look()
    assert not prober.look()
    now[0] = Finding(works=False, problem="gone")
    assert prober.look()
    assert prober.found == {"one": now[0]}


def fails(error: Exception) -> Callable[[], Finding]:
    def look() -> Finding:
        raise error

    return look


def test_a_probe_that_fails_says_why_and_the_others_go_on() -> None:
    tools = [
        Pretended("asked", fails(NoAnswer("it said nothing"))),
        Pretended("odd", fails(ZeroDivisionError("division by zero"))),
        Pretended("well", Finding),
    ]
    prober = Prober(tools)
    prober.look()
    assert prober.found["asked"] == Finding(works=False, problem="it said nothing")
    assert "division by zero" in prober.found["odd"].problem
    assert prober.found["well"].works


def test_a_look_that_finds_no_thread_is_made_again(monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(thread: threading.Thread) -> None:
        raise RuntimeError("can't start new thread")

    prober = Prober([Pretended("well", Finding)])
    with monkeypatch.context() as full:
        full.setattr(threading.Thread, "start", refuse)
        with pytest.raises(RuntimeError):
            prober.look()
    assert prober.look()
    assert prober.found["well"].works


def test_a_probe_that_hangs_counts_as_not_working_and_isnt_started_again(gate: threading.Event) -> None:
    asked: list[int] = []

    def hang() -> Finding:
        asked.append(1)
        gate.wait()
        return Finding(version="late")

    prober = Prober([Pretended("slow", hang), Pretended("well", Finding)], look_s=0.2)
    prober.look()
    assert prober.found["slow"] == Finding(works=False, problem="no answer within 0.2 s")
    assert prober.found["well"].works
    prober.look()
    assert len(asked) == 1
    gate.set()
    wait_for(lambda: prober.look() and prober.found["slow"].version == "late")


def test_what_is_declared_is_short_and_of_one_line() -> None:
    found = Finding(works=False, version="a\x1b[31m\u202eb\nc", problem="x" * 5000).to_dict()
    assert found["version"] == "a [31m b c"
    assert len(found["problem"]) == 200


def test_every_tool_declares_what_it_takes_of_a_worker() -> None:
    prober = Prober(registry().values())
    prober.look()
    for tool in probes.declarations(registry().values(), prober.found):
        assert tool["slot_class"] in {"task", "plan", "exclusive"}
        assert set(tool["found"]) == {"works", "version", "signed_in", "problem"}
