"""Tasks of every kind, from submission to result, through a real agent."""

from __future__ import annotations

import hashlib
import time

import pytest

from tests.stack import Stack, eventually


def test_a_shell_task_runs_and_its_output_is_kept(stack: Stack) -> None:
    task = stack.ended(stack.submit("echo hello; echo oops >&2; exit 3", max_retries=0))
    assert (task["status"], task["summary"]) == ("failed", "exit code 3")
    attempt = task["attempts"][0]
    assert (attempt["exit_code"], attempt["failure_class"], attempt["worker"]) == (3, "exit_code", "agent-1")
    assert stack.log(task["id"]) == b"hello\noops\n"


def test_argv_runs_without_a_shell(stack: Stack) -> None:
    answer = stack.api("POST", "/tasks", json={"tool": "shell", "input": {"argv": ["printf", "%s", "$HOME"]}})
    task = stack.ended(answer.json()["id"])
    assert task["status"] == "completed"
    assert stack.log(task["id"]) == b"$HOME"


def test_a_secret_variable_reaches_the_process_and_nothing_else(stack: Stack) -> None:
    value = {"script": 'printf %s "$KEY" | sha256sum', "env": {"KEY": "canary-83c1"}}
    answer = stack.api("POST", "/tasks", json={"tool": "shell", "input": value})
    task = stack.ended(answer.json()["id"])
    assert stack.log(task["id"]).decode().split()[0] == hashlib.sha256(b"canary-83c1").hexdigest()
    assert "canary" not in str(task)
    assert "canary" not in stack.api("GET", f"/tasks/{task['id']}/events").text


def test_a_noop_task_runs_inside_the_agent(stack: Stack) -> None:
    task = stack.ended(stack.submit(tool="noop", input={"message": "done"}))
    assert (task["status"], task["summary"]) == ("completed", "done")


def test_many_small_tasks_all_end_once(stack: Stack) -> None:
    ids = [stack.submit(f"echo {number}") for number in range(40)]
    for number, task_id in enumerate(ids):
        task = stack.ended(task_id)
        assert (task["status"], len(task["attempts"])) == ("completed", 1)
        assert stack.log(task_id) == f"{number}\n".encode()


def test_the_log_is_there_while_the_task_runs(stack: Stack) -> None:
    task_id = stack.submit("echo first; sleep 300")
    eventually(lambda: stack.log(task_id) == b"first\n", what="the first line")
    assert stack.task(task_id)["status"] == "running"
    stack.api("POST", f"/tasks/{task_id}/cancel")
    assert stack.ended(task_id)["status"] == "cancelled"


@pytest.mark.slow
def test_a_running_task_is_cancelled_with_its_children(stack: Stack) -> None:
    marker = f"gsw-cancel-{time.monotonic_ns()}"
    script = f"trap '' TERM; (exec -a {marker} sleep 300) & echo started; wait; sleep 300"
    task_id = stack.submit(script)
    eventually(lambda: b"started" in stack.log(task_id), what="the task to start")
    assert stack.api("POST", f"/tasks/{task_id}/cancel").json()["cancelling"] is True
    assert stack.ended(task_id)["status"] == "cancelled"
    found = stack.ended(stack.submit(f"pgrep -f '[g]sw-cancel-{marker[11:]}' || echo none"))
    assert stack.log(found["id"]) == b"none\n"


def test_a_queued_task_is_cancelled_at_once(stack: Stack) -> None:
    task_id = stack.submit(labels={"gpu": "none-has-this"})
    assert stack.api("POST", f"/tasks/{task_id}/cancel").json()["status"] == "cancelled"


def test_a_task_that_runs_too_long_is_ended(stack: Stack) -> None:
    task = stack.ended(stack.submit("echo waiting; sleep 300", timeout_s=1, max_retries=0))
    assert (task["status"], task["attempts"][0]["failure_class"]) == ("failed", "timeout")


def test_what_a_worker_lacks_is_said_while_the_task_waits(stack: Stack) -> None:
    task_id = stack.submit(labels={"gpu": "a100"})
    waiting = stack.task(task_id)["waiting"]
    assert [row["reason"] for row in waiting] == ["Has no label gpu"]
    stack.api("POST", f"/tasks/{task_id}/cancel")


def test_bytes_that_are_no_text_are_kept_as_they_are(stack: Stack) -> None:
    task = stack.ended(stack.submit(r"printf '\377\376\000\001ok\n\303('"))
    assert stack.log(task["id"]) == b"\xff\xfe\x00\x01ok\n\xc3("
    assert task["status"] == "completed"


@pytest.mark.slow
def test_fifty_megabytes_arrive_byte_for_byte(stack: Stack) -> None:
    script = 'for i in $(seq 1 800000); do echo "line $i of a log that is long enough to hurt somebody"; done'
    task = stack.ended(stack.submit(script), 120)
    log = stack.log(task["id"])
    assert task["attempts"][0]["log_size"] == len(log) > 46_000_000
    assert log.startswith(b"line 1 of")
    assert log.endswith(b"line 800000 of a log that is long enough to hurt somebody\n")
    assert log.count(b"\n") == 800_000


@pytest.mark.slow
def test_a_line_of_ten_megabytes_is_kept(stack: Stack) -> None:
    task = stack.ended(stack.submit("head -c 10000000 /dev/zero | tr '\\0' x"), 60)
    assert task["status"] == "completed"
    assert hashlib.sha256(stack.log(task["id"])).hexdigest() == hashlib.sha256(b"x" * 10_000_000).hexdigest()
