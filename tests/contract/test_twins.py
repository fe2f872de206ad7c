"""Two real agents on copies of one folder, as after a disk was cloned: no attempt runs twice, and people are told."""

from __future__ import annotations

import shutil
from collections import Counter
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.stack import Stack, eventually, running_stack

pytestmark = pytest.mark.slow
TASKS = 40


@pytest.fixture
def stack(tmp_path: Path) -> Iterator[Stack]:
    with running_stack(tmp_path) as started:
        yield started


@pytest.fixture
def twins(stack: Stack) -> Stack:
    """`original` and `copy` work with one key. They don't know of each other."""
    first = stack.start_agent("original")
    first.stop()
    shutil.copytree(stack.folder / "original", stack.folder / "copy")
    stack.start_agent("original", join=False)
    copy = stack.start_agent("copy", join=False)
    eventually(lambda: "connected" in copy.output(), what="the copy to be connected")
    return stack


def test_no_attempt_is_started_by_both_and_all_end(twins: Stack) -> None:
    started = twins.folder / "started"
    script = f'echo "$GARAGESWARM_ATTEMPT_ID" >> {started}; sleep 0.$((RANDOM % 9))'
    tasks = [twins.submit(script) for _ in range(TASKS)]
    for task_id in tasks:
        assert twins.ended(task_id, 240)["status"] == "completed"
    counts = Counter(started.read_text().split())
    assert (len(counts), set(counts.values())) == (TASKS, {1})
    seen = eventually(lambda: twins.worker("original")["twin_seen_at"], 120, "the server to notice")
    assert seen
    entries = twins.api("GET", "/workers").json()["items"]
    assert [entry["name"] for entry in entries] == ["original"]


def test_one_that_runs_a_task_keeps_it_though_the_other_comes_later_and_has_its_journal(stack: Stack) -> None:
    stack.start_agent("original")
    gate = stack.folder / "gate"
    task_id = stack.submit(f"echo begun; until [ -e {gate} ]; do sleep 0.1; done; echo ended")
    stack.running(task_id)
    stack.logged(task_id, b"begun")
    copied = stack.folder / "copy"
    shutil.copytree(stack.folder / "original", copied, ignore=shutil.ignore_patterns("jobs"))
    for job in (stack.folder / "original" / "jobs").iterdir():
        if job.is_dir():  # as a clone has it: the journal of a process that isn't there
            shutil.copytree(job, copied / "jobs" / job.name)
            journal = copied / "jobs" / job.name / "journal.json"
            journal.write_text(journal.read_text().replace('"boot_id": "', '"boot_id": "other-'))
    copy = stack.start_agent("copy", join=False)
    eventually(lambda: "connected" in copy.output(), what="the copy to be connected")
    eventually(lambda: stack.worker("original")["twin_seen_at"], 120, "the server to notice")
    assert stack.task(task_id)["status"] == "running"
    gate.touch()
    task = stack.ended(task_id, 120)
    assert (task["status"], len(task["attempts"])) == ("completed", 1)
    assert stack.log(task_id) == b"begun\nended\n"
