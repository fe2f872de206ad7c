"""The database is locked by somebody else, dies, or was being migrated when the power went: nothing acknowledged is lost."""

from __future__ import annotations

import sqlite3
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import closing, contextmanager
from dataclasses import dataclass, field
from pathlib import Path

import pytest
import requests

from tests.faults.conftest import NewGarage
from tests.faults.garage import Garage
from tests.services import PostgresServer, need
from tests.stack import ROOT, clean_environment, eventually, free_port


@dataclass
class Asker:
    """Asks the same over and over, as a proxy's health check or a page does."""

    url: str
    token: str
    slowest_s: float = 0.0
    statuses: list[int] = field(default_factory=list)

    @contextmanager
    def asking(self) -> Iterator[None]:
        stop = threading.Event()
        thread = threading.Thread(target=self._ask, args=(stop,))
        thread.start()
        try:
            yield
        finally:
            stop.set()
            thread.join()

    def _ask(self, stop: threading.Event) -> None:
        with requests.Session() as http:
            http.headers["Authorization"] = f"Bearer {self.token}"
            while not stop.wait(0.02):
                began = time.monotonic()
                self.statuses.append(http.get(self.url, timeout=30).status_code)
                self.slowest_s = max(self.slowest_s, time.monotonic() - began)


@pytest.mark.slow
@pytest.mark.timeout(120)
def test_while_another_process_locks_sqlite_writes_wait_then_get_a_503_and_nobody_else_waits(
    new_garage: NewGarage,
) -> None:
    garage = new_garage()
    garage.start_server()
    garage.start_agent()
    task_id = garage.counting("locked", n=12)
    garage.logged(task_id, b"line 2\n")
    live, reading = (
        Asker(garage.url + path, garage.token) for path in ("/health/live", "/api/v1/tasks?limit=1")
    )
    other = sqlite3.connect(garage.instance / "garageswarm.db", isolation_level=None)
    with closing(other), live.asking(), reading.asking():
        other.execute("BEGIN IMMEDIATE")
        began = time.monotonic()
        answer = garage.api("POST", "/tasks", json={"tool": "noop", "name": "refused"})
        waited_s = time.monotonic() - began
        other.execute("ROLLBACK")
    assert (answer.status_code, answer.json()["type"]) == (503, "urn:garageswarm:error:database-busy")
    assert int(answer.headers["Retry-After"]) > 0
    assert 5 <= waited_s < 15
    for asker in (live, reading):
        assert set(asker.statuses) == {200}
        assert len(asker.statuses) > 20
        assert asker.slowest_s < 2, "a loop that waits with the writer would have taken 5 s"
    garage.assert_counted(task_id, "locked", n=12)
    assert garage.api("GET", "/tasks?q=refused").json()["items"] == []
    assert garage.ended(garage.submit(tool="noop"))["status"] == "completed"


@pytest.fixture
def mortal_postgres() -> Iterator[PostgresServer]:
    need("PostgreSQL")
    server = PostgresServer(is_durable=True)
    server.start()
    yield server
    server.stop()


@pytest.mark.slow
@pytest.mark.postgres
@pytest.mark.timeout(180)
def test_postgresql_that_dies_and_comes_back_loses_nothing_that_was_acknowledged(
    mortal_postgres: PostgresServer, new_garage: NewGarage
) -> None:
    garage = new_garage(mortal_postgres.fresh_database())
    garage.start_server()
    garage.start_agent()
    task_id = garage.counting("counting", n=20, pause=0.5)
    live = Asker(f"{garage.url}/health/live", garage.token)
    acknowledged: list[str] = []
    with live.asking(), submitting(garage, acknowledged) as refused:
        eventually(lambda: len(acknowledged) > 5, 30, "some tasks to be taken")
        mortal_postgres.crash()
        eventually(lambda: 503 in refused, 30, "a task to be refused")
        assert requests.get(f"{garage.url}/health/ready", timeout=20).status_code == 503
        mortal_postgres.start_again()
        before = len(acknowledged)
        eventually(lambda: len(acknowledged) > before + 5, 30, "tasks to be taken again, by itself")
    assert set(refused) == {503}
    assert set(live.statuses) == {200}
    garage.assert_counted(task_id, "counting", n=20, seconds=90)
    for one in acknowledged:
        assert garage.ended(one, 60)["status"] == "completed"


@contextmanager
def submitting(garage: Garage, acknowledged: list[str]) -> Iterator[list[int]]:
    """Somebody who goes on submitting, and remembers what was promised. Gives the statuses of what was refused."""
    stop = threading.Event()
    refused: list[int] = []

    def submit() -> None:
        headers = {"Authorization": f"Bearer {garage.token}"}
        while not stop.wait(0.05):
            body = {"tool": "noop", "name": "promised"}
            answer = requests.post(f"{garage.url}/api/v1/tasks", json=body, headers=headers, timeout=30)
            if answer.status_code == 201:
                acknowledged.append(answer.json()["id"])
            else:
                refused.append(answer.status_code)

    thread = threading.Thread(target=submit)
    thread.start()
    try:
        yield refused
    finally:
        stop.set()
        thread.join()


# Runs `webapp.prepare`, which dies in front of the n-th statement that changes the schema.
DIES_HALF_WAY = """
import os, re, signal, sys
from sqlalchemy import Engine, event
left = int(sys.argv[1])
@event.listens_for(Engine, "before_cursor_execute")
def _count(connection, cursor, statement, *_):
    global left
    if re.match(r"\\s*(CREATE|ALTER|DROP|INSERT|UPDATE)", statement):
        left -= 1
        if left == 0:
            os.kill(os.getpid(), signal.SIGKILL)
from webapp import prepare
sys.exit(prepare.main())
"""


@pytest.mark.slow
@pytest.mark.timeout(120)
@pytest.mark.parametrize("statement", [7, 40])
def test_a_migration_that_is_killed_half_way_starts_again(
    tmp_path: Path, fresh_database_url: str, statement: int
) -> None:
    environment = {
        **clean_environment(),
        "GSW_INSTANCE_PATH": str(tmp_path / "instance"),
        "PORT": str(free_port()),
        **({"DATABASE_URL": fresh_database_url} if fresh_database_url else {}),
    }

    def prepared(*arguments: str) -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            [sys.executable, *arguments],
            cwd=ROOT,
            env=environment,
            capture_output=True,
            text=True,
            check=False,
            timeout=50,
        )

    killed = prepared("-c", DIES_HALF_WAY, str(statement))
    assert killed.returncode == -9, killed.stderr
    again = prepared("-m", "webapp.prepare")
    assert (again.returncode, "password" in again.stdout) == (0, True), again.stderr
    current = prepared("-m", "flask", "--app", "wsgi", "db", "current")
    assert "(head)" in current.stdout, current.stderr
