"""A task that prints more than is kept of a log: what the server has, shows and gives is its beginning and its end."""

from __future__ import annotations

import pytest

from tests.stack import Stack, eventually

# The server is started for it, and once more by the last test.
pytestmark = pytest.mark.timeout(180)

CAP = 1024 * 1024
HEAD, TAIL = CAP // 10, CAP - CAP // 10
LINES = 500_000
LOG = b"".join(b"line %d\n" % number for number in range(1, LINES + 1))
PRINT = f"seq 1 {LINES} | sed 's/^/line /'"


@pytest.fixture
def capped(stack: Stack) -> dict[str, str]:
    """The labels of an agent that keeps a mebibyte of a log."""
    if not stack.worker("capped"):
        stack.start_agent("capped", log_cap_bytes=CAP, labels="log=capped")
    return {"log": "capped"}


def hole_of(stack: Stack, task_id: str) -> tuple[int, int]:
    answer = stack.api("GET", f"/tasks/{task_id}/log")
    start, end = (int(part) for part in answer.headers["X-Log-Dropped"].split("-"))
    assert answer.headers["X-Log-Size"] == str(len(LOG))
    assert answer.headers["X-Log-Missing"] == str(end - start)
    assert answer.content == LOG[:start] + LOG[end:]
    return start, end


def test_the_beginning_and_the_end_of_a_long_log_are_kept_and_the_hole_is_known(
    stack: Stack, capped: dict[str, str]
) -> None:
    task_id = stack.submit(PRINT, labels=capped)
    task = stack.ended(task_id, 60)
    [attempt] = task["attempts"]
    assert (task["status"], attempt["log_size"]) == ("completed", len(LOG))
    start, end = hole_of(stack, task_id)
    # The hole lies between chunks; it begins behind what is kept at least, and ends before.
    assert HEAD <= start < end <= len(LOG) - TAIL
    assert attempt["log_missing"] == end - start > len(LOG) - 2 * CAP
    part = stack.api("GET", f"/tasks/{task_id}/log", headers={"Range": f"bytes={start - 5}-"})
    assert (part.status_code, part.content) == (206, LOG[start - 5 : start])
    part = stack.api("GET", f"/tasks/{task_id}/log", headers={"Range": f"bytes={start}-"})
    assert (part.status_code, part.content) == (206, LOG[end:])
    assert part.headers["Content-Range"] == f"bytes {end}-{len(LOG) - 1}/{len(LOG)}"


def test_a_log_is_live_beyond_its_cap(stack: Stack, capped: dict[str, str]) -> None:
    task_id = stack.submit(f"{PRINT}; sleep 600", labels=capped)
    eventually(lambda: stack.log(task_id).endswith(b"line %d\n" % LINES), 60, "the last line")
    assert stack.task(task_id)["status"] == "running"
    hole_of(stack, task_id)
    stack.api("POST", f"/tasks/{task_id}/cancel")
    [attempt] = stack.ended(task_id)["attempts"]
    assert attempt["log_size"] == len(LOG)


def test_a_server_that_is_killed_while_a_log_gets_its_hole_has_all_that_is_kept(
    stack: Stack, capped: dict[str, str]
) -> None:
    task_id = stack.submit(f"{PRINT}; sleep 2", labels=capped)
    eventually(lambda: len(stack.log(task_id)) > CAP // 2, 60, "some of the log")
    assert stack.server is not None
    stack.server.kill()
    stack.start_server()
    assert stack.ended(task_id, 60)["status"] == "completed"
    start, end = hole_of(stack, task_id)
    assert HEAD <= start < end <= len(LOG) - TAIL
