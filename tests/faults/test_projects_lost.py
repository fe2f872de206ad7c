"""A worker that is gone in the middle of a clone, pull or delete: its checkouts say so, and it can be done again."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.contract.projects import Garage as Desk
from tests.contract.projects import Project
from tests.faults.conftest import NewGarage
from tests.faults.garage import SHORT
from tests.faults.projects import OVER_HTTP, becomes, power_cut, started
from tests.git.gate import Gate
from tests.git.http_remote import HttpRemote
from tests.stack import eventually

pytestmark = [pytest.mark.slow, pytest.mark.timeout(240)]

# A busy machine's worker must not seem offline before it is.
SOON = {**SHORT, **OVER_HTTP, "lease_s": 16, "offline_after_s": 12, "lost_after_s": 20}


def test_a_worker_that_is_lost_in_the_middle_leaves_no_checkout_without_a_word(
    new_garage: NewGarage, tmp_path: Path
) -> None:
    garage, gate = new_garage(**SOON), Gate(tmp_path / "gate")
    with HttpRemote(tmp_path / "forge") as remote:
        served = remote.filled()
        url = remote.url(served)
        desk, agent = started(garage, environment=gate.environment, slots=4)
        pulled, deleted, gone = (desk.cloned(url) for _ in range(3))
        newest = served.commit({"new": "file\n"})
        gate.shut()
        begun = desk.begin(url)
        cloned = Project(desk, begun["project_id"])
        tasks = [
            begun["task_id"],
            *desk.asked("POST", f"{pulled.path}/pull")["task_ids"],
            *desk.asked("DELETE", deleted.path)["task_ids"],
        ]
        for task_id in tasks:
            garage.running(task_id)
        eventually(gate.is_waited_at, what="git to be in the middle of it")
        power_cut(agent)
        gate.open()
        for task_id in tasks:
            assert garage.ended(task_id, 90)["attempts"][-1]["failure_class"] == "worker_lost"

        assert becomes(cloned, "error")["error"]
        for project in (pulled, deleted):
            found = becomes(project, "active")
            assert found["error"], "what came of it is said"
        eventually(lambda: garage.shown("agent-1") == "offline", what="the worker to be offline")
        offline_answers(desk, cloned, url)
        desk.asked("DELETE", gone.path, forget=True)
        assert gone.is_gone

        garage.start_agent(join=False, environment=gate.environment)
        # Three tasks were lost with it, which sets it aside for a while, unless a person says otherwise.
        eventually(lambda: garage.shown("agent-1") in ("online", "quarantined"), what="the worker to be back")
        desk.asked("POST", f"/workers/{desk.worker_id}/resume")
        do_again(desk, cloned, pulled, deleted, newest)


def do_again(desk: Desk, cloned: Project, pulled: Project, deleted: Project, newest: str) -> None:
    """What was cut off is done by asking for it once more."""
    assert cloned.again()["status"] == "completed"
    assert becomes(cloned, "active")["error"] is None
    assert pulled.pull()["status"] == "completed"
    assert (pulled.git("rev-parse", "HEAD"), pulled.checkout["error"]) == (newest, None)
    folder = deleted.folder
    assert deleted.delete()["status"] == "completed"
    eventually(lambda: deleted.is_gone, what="the project to be gone")
    assert not folder.exists()
    desk.leaves_nothing_half_done()


def offline_answers(desk: Desk, project: Project, url: str) -> None:
    """Nothing can be begun on a worker that isn't there, and nothing is stored."""
    before = desk.asked("GET", "/projects")["items"]
    worker_id = desk.worker_id
    for method, path, body in (
        ("POST", f"{project.path}/clone", {"worker_id": worker_id}),
        ("POST", f"{project.path}/pull", {"worker_id": worker_id}),
        ("POST", "/projects/clone", {"name": "late", "git_url": url, "worker_id": worker_id}),
        ("DELETE", project.path, {"worker_id": worker_id}),
    ):
        answer = desk.ask(method, path, **body)
        assert answer.status_code == 503, (method, path, answer.text)
        assert int(answer.headers["Retry-After"]) > 0
    assert desk.asked("GET", "/projects")["items"] == before
