"""No room on the server's disk, or on the worker's: said clearly, nothing acknowledged is lost, and it goes on by itself."""

from __future__ import annotations

import signal
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path

import pytest

from tests.faults import disk
from tests.faults.conftest import NewGarage
from tests.faults.disk import Disk, NoMoreWrites, SmallDisk
from tests.faults.garage import Garage
from tests.stack import Process, eventually

pytestmark = [pytest.mark.slow, pytest.mark.timeout(150)]

MIB = 1024 * 1024
# A real file system where that can be had, and always the limit, which any system knows.
KINDS = ["mounted", "limit"] if disk.may_mount() else ["limit"]
REFUSALS = {503, 507}


@pytest.fixture(params=KINDS)
def kind(request: pytest.FixtureRequest) -> str:
    return str(request.param)


@pytest.fixture
def mounts() -> Iterator[ExitStack]:
    """Listed by a test before its garage, so that it is taken down after the garage's programs."""
    with ExitStack() as stack:
        yield stack


def small_disk(mounts: ExitStack, path: Path, size: int) -> SmallDisk:
    mounts.enter_context(disk.mounted(path, size))
    return SmallDisk(path)


def refused(garage: Garage, taken: list[str]) -> int:
    """Submit large tasks until one isn't taken: a journal that has room already may take a few more."""

    def submit() -> int:
        script = f": {'x' * 200_000}"
        answer = garage.api("POST", "/tasks", json={"tool": "shell", "input": {"script": script}})
        if answer.status_code == 201:
            taken.append(answer.json()["id"])
            return 0
        assert int(answer.headers["Retry-After"]) > 0
        return answer.status_code

    return eventually(submit, 30, "a task to be refused")


def test_a_full_disk_of_the_server_is_a_503_and_what_runs_goes_on(
    mounts: ExitStack, new_garage: NewGarage, kind: str, tmp_path: Path
) -> None:
    instance = tmp_path / "garage-0" / "instance"
    full: Disk | None = small_disk(mounts, instance, 64 * MIB) if kind == "mounted" else None
    garage = new_garage()
    garage.start_server()
    full = full or NoMoreWrites(instance, garage.worker_process)
    agent = garage.start_agent()
    task_id = garage.counting("counting", n=20)
    garage.logged(task_id, b"line 2\n")
    full.fill()
    taken: list[str] = []
    assert refused(garage, taken) in REFUSALS
    assert garage.is_live()
    assert garage.task(task_id)["status"] == "running", "reading goes on"
    eventually(
        lambda: "the server says 50" in agent.output() or "ended" in agent.output(), 30, "the agent to notice"
    )
    full.free()
    garage.assert_counted(task_id, "counting", n=20)
    for one in taken:
        assert garage.ended(one)["status"] == "completed", "what was acknowledged"
    assert garage.ended(garage.submit("true"))["status"] == "completed"


def started(garage: Garage, mounts: ExitStack, kind: str) -> tuple[Process, Disk]:
    """An agent, and the disk that all its files are on."""
    storage = garage.folder / "agent-1"
    full: Disk | None = small_disk(mounts, storage, 4 * MIB) if kind == "mounted" else None
    agent = garage.start_agent(disk_floor_bytes=0)
    return agent, full or NoMoreWrites(storage, lambda: agent.pid)


def test_a_full_disk_of_the_worker_fails_the_task_with_the_reason_and_the_next_one_runs(
    mounts: ExitStack, new_garage: NewGarage, kind: str
) -> None:
    garage = new_garage()
    garage.start_server()
    agent, full = started(garage, mounts, kind)
    full.fill()
    task = garage.ended(garage.submit("echo never", max_retries=0))
    attempt = task["attempts"][0]
    assert (task["status"], attempt["failure_class"]) in {("failed", "agent_error"), ("failed", "disk_low")}
    reason = "No space left on device" if kind == "mounted" else "File too large"
    assert reason in attempt["error"]
    full.free()
    assert garage.ended(garage.submit("echo again"))["status"] == "completed"
    assert agent.process.poll() is None


def test_a_task_that_fills_the_workers_disk_fails_and_its_report_gets_out(
    mounts: ExitStack, new_garage: NewGarage, kind: str
) -> None:
    garage = new_garage()
    garage.start_server()
    agent, full = started(garage, mounts, kind)
    if isinstance(full, NoMoreWrites):
        full.allow(MIB)
    script = "echo begun; cat /dev/zero > everything; status=$?; echo seen or not; exit $status"
    greedy = garage.submit(script, max_retries=0)
    task = garage.ended(greedy)
    code = 1 if kind == "mounted" else 128 + signal.SIGXFSZ
    assert (task["status"], task["attempts"][0]["exit_code"]) == ("failed", code)
    assert (kind == "limit") == ("the disk is full" not in task["attempts"][0]["error"])
    assert garage.log(greedy).startswith(b"begun\n")
    assert garage.ended(garage.submit("echo again"))["status"] == "completed", "its files are cleared away"
    assert agent.process.poll() is None
