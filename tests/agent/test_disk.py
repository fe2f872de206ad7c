"""A disk that is full, or nearly: the task says so, its report still gets out, and leftovers make room."""

from __future__ import annotations

import errno
import os
import shutil
import subprocess
import time
from dataclasses import replace
from pathlib import Path

import pytest

from agent import leftovers, machine
from agent.config import Config
from agent.journal import Place
from tests.agent.conftest import (
    ONCE,
    UNTIL_GO,
    AgentProcess,
    OpenSession,
    StartAgent,
    directory,
    finished,
    running,
    runs,
    wait_for,
)
from tests.agent.fake_server import FakeServer


def test_an_offer_that_comes_although_the_disk_is_low_is_not_started(
    server: FakeServer, storage: Path, start_agent: StartAgent
) -> None:
    server.is_deaf = True
    start_agent(AGENT_DISK_FLOOR_BYTES=str(2**62))
    report = finished(server.submit("shell", {"script": ONCE})).report
    assert (report["status"], report["failure_class"]) == ("failed", "disk_low")
    assert report["error"].startswith("not started: disk low: ")
    assert runs(storage) == 0


@pytest.mark.parametrize("number", [errno.ENOSPC, errno.EDQUOT])
@pytest.mark.parametrize(
    "steps", [["agent.journal.Place.create", "agent.durable.write_json"], ["agent.process.start"]]
)
def test_a_start_that_fails_for_want_of_room_says_so_and_the_report_gets_out(
    server: FakeServer,
    open_session: OpenSession,
    monkeypatch: pytest.MonkeyPatch,
    number: int,
    steps: list[str],
) -> None:
    def fail(*_: object, **__: object) -> None:
        raise OSError(number, os.strerror(number))

    open_session()
    with monkeypatch.context() as patch:
        for step in steps:
            patch.setattr(step, fail)
        report = finished(server.submit("shell", {"script": "true"})).report
    assert (report["status"], report["failure_class"]) == ("failed", "disk_low")
    assert os.strerror(number) in report["error"]
    assert finished(server.submit("shell", {"script": "true"})).report["status"] == "completed"


def test_a_process_that_cant_be_noted_goes_on(
    server: FakeServer, open_session: OpenSession, monkeypatch: pytest.MonkeyPatch
) -> None:
    original = Place.write_journal

    def only_new(place: Place, entry: object, *, is_new: bool) -> None:
        if not is_new:
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
        original(place, entry, is_new=is_new)  # type: ignore[arg-type]

    monkeypatch.setattr(Place, "write_journal", only_new)
    open_session()
    attempt = finished(server.submit("shell", {"script": "echo on; exit 3"}))
    assert (attempt.report["exit_code"], bytes(attempt.log)) == (3, b"on\n")


@pytest.mark.parametrize(
    ("script", "failure_class", "error"),
    [("exit 3", "disk_low", "exit code 3: the disk is full"), ("true", None, None)],
)
def test_a_process_that_fails_on_a_full_disk_says_that_it_is_full(
    server: FakeServer,
    open_session: OpenSession,
    monkeypatch: pytest.MonkeyPatch,
    script: str,
    failure_class: str | None,
    error: str | None,
) -> None:
    monkeypatch.setattr(machine, "NO_ROOM_BYTES", 2**62)
    open_session()
    report = finished(server.submit("shell", {"script": script})).report
    assert (report.get("failure_class"), report.get("error")) == (failure_class, error)


def on_a_small_disk(storage: Path) -> list[str]:
    """What starts an agent whose storage is a disk of its own with 48 MiB; skips where that can't be had."""
    mount = f"mount -t tmpfs -o size=48m small {storage}"
    storage.mkdir(exist_ok=True)
    command = ["unshare", "--user", "--map-root-user", "--mount", "sh", "-c"]
    is_there = shutil.which("unshare") is not None
    if not is_there or subprocess.run([*command, mount], check=False, capture_output=True).returncode:
        pytest.skip("this system gives nobody a mount of their own")
    return [*command, f'{mount} && exec "$@"', "sh"]


def test_a_task_that_fills_the_disk_fails_with_the_reason_and_the_agent_goes_on(
    server: FakeServer, storage: Path
) -> None:
    agent = AgentProcess(server, storage, {}, prefix=on_a_small_disk(storage))
    try:
        script = "echo begin; head -c 100M /dev/zero > big"
        attempt = finished(server.submit("shell", {"script": script}))
        assert attempt.report["failure_class"] == "disk_low"
        assert attempt.report["error"] == "exit code 1: the disk is full"
        assert attempt.report["exit_code"] == 1
        assert attempt.log.startswith(b"begin\n")
        wait_for(lambda: attempt.offer["attempt_id"] not in server.syncs[-1]["held"])
        # Its directory is removed in a moment; until then a start may still find no room.
        wait_for(
            lambda: finished(server.submit("shell", {"script": "echo on"})).report["status"] == "completed"
        )
    finally:
        agent.kill()


# ---- what earlier sessions left


def left(jobs: Path, name: str, age_s: float = 0.0, *, is_set_aside: bool = True) -> Place:
    """A directory of an earlier session, of about 64 KiB."""
    place = Place(jobs / name)
    place.create()
    (place.work / "data").write_bytes(os.urandom(64 * 1024))
    if is_set_aside:
        place.journal.with_name("journal.json.bad").write_text("damaged")
    changed_at = time.time() - age_s
    os.utime(place.path, (changed_at, changed_at))
    return place


def names(jobs: Path) -> set[str]:
    return {path.name for path in jobs.iterdir()}


def test_the_oldest_leftovers_go_until_the_rest_is_within_the_budget(tmp_path: Path) -> None:
    for age, name in enumerate(("youngest", "younger", "older", "oldest")):
        left(tmp_path, name, age_s=100.0 * age)
    assert leftovers.sweep(tmp_path, 160 * 1024, set) == ["oldest", "older"]
    assert names(tmp_path) == {"youngest", "younger"}
    assert leftovers.sweep(tmp_path, 160 * 1024, set) == []


def test_what_is_held_stays_however_old_it_is(tmp_path: Path) -> None:
    left(tmp_path, "held", age_s=leftovers.KEPT_S * 2)
    left(tmp_path, "other")
    assert leftovers.sweep(tmp_path, 1, lambda: {"held"}) == ["other"]
    assert names(tmp_path) == {"held"}


def test_one_without_a_mark_goes_only_after_a_week(tmp_path: Path) -> None:
    left(tmp_path, "fresh", is_set_aside=False)
    left(tmp_path, "stale", age_s=leftovers.KEPT_S + 60, is_set_aside=False)
    assert leftovers.sweep(tmp_path, 1, set) == ["stale"]


def test_without_a_budget_everything_stays(tmp_path: Path) -> None:
    left(tmp_path, "old", age_s=leftovers.KEPT_S * 2)
    assert leftovers.sweep(tmp_path, 0, set) == []
    assert names(tmp_path) == {"old"}


def test_what_isnt_the_agents_stays(tmp_path: Path) -> None:
    jobs, elsewhere = tmp_path / "jobs", tmp_path / "elsewhere"
    jobs.mkdir()
    elsewhere.mkdir()
    left(elsewhere, "kept")
    (jobs / "agent.lock").write_text("x" * 10_000)
    (jobs / "a link").symlink_to(elsewhere)
    (jobs / "link").symlink_to(elsewhere / "kept")
    (jobs / "with a space").mkdir()
    for path in jobs.iterdir():
        os.utime(path, (0, 0), follow_symlinks=False)
    assert leftovers.sweep(jobs, 1, set) == []
    assert names(elsewhere) == {"kept"}


def test_a_folder_that_cant_be_read_is_no_reason_to_end(tmp_path: Path) -> None:
    assert leftovers.sweep(tmp_path / "nowhere", 1, set) == []


def test_folders_that_a_task_made_read_only_go_too(tmp_path: Path) -> None:
    place = left(tmp_path, "cache")
    (place.work / "data").chmod(0o400)
    place.work.chmod(0o500)
    place.remove()
    assert names(tmp_path) == set()


def test_folders_within_each_other_without_end_go_too_and_keep_no_agent_from_starting(
    config: Config, open_session: OpenSession
) -> None:
    """Python's own walks end with an error there."""
    config.jobs.mkdir(parents=True)
    place = left(config.jobs, "deep", is_set_aside=False)
    inner = os.open(place.work, os.O_RDONLY)
    for _ in range(1500):
        os.mkdir("a", dir_fd=inner)
        outer, inner = inner, os.open("a", os.O_RDONLY, dir_fd=inner)
        os.close(outer)
    file = os.open("data", os.O_WRONLY | os.O_CREAT, dir_fd=inner)
    os.write(file, os.urandom(100_000))
    os.close(file)
    os.close(inner)
    assert leftovers.size_of(place.path) >= 164_000
    open_session()
    assert not place.path.exists()


def test_leftovers_go_when_the_agent_starts_and_what_it_holds_stays(
    server: FakeServer, storage: Path, start_agent: StartAgent
) -> None:
    first = start_agent()
    attempt = running(server, storage, f"echo up; {UNTIL_GO}")
    first.kill()
    old = left(storage / "jobs", "old", age_s=3600)
    start_agent(AGENT_JOBS_BYTES="1")
    wait_for(lambda: not old.path.exists())
    (storage / "go").touch()
    assert finished(attempt).report["status"] == "completed"
    wait_for(lambda: not directory(storage, attempt).path.exists())


def test_each_round_looks_for_leftovers(config: Config, storage: Path, open_session: OpenSession) -> None:
    session = open_session(config=replace(config, jobs_bytes=1))
    old = left(config.jobs, "old", age_s=3600)
    session.make_round()
    assert not old.path.exists()
