"""The server dies at the worst moment, and comes back: nothing is doubled, nothing that was acknowledged is lost."""

from __future__ import annotations

from typing import Any

import pytest

from tests.faults.conftest import NewGarage
from tests.faults.garage import Garage, freeze, thaw
from tests.stack import eventually
from webapp import failpoints

pytestmark = [pytest.mark.slow, pytest.mark.timeout(180)]


@pytest.fixture(scope="module")
def garage(module_garages: NewGarage, database_url: str) -> Garage:
    made = module_garages(database_url)
    made.restart_server()
    made.start_agent()
    return made


@pytest.mark.parametrize("point", [point for point in failpoints.KNOWN if not point.startswith("key")])
def test_killed_before_or_after_a_commit_a_task_runs_once_and_ends_once(garage: Garage, point: str) -> None:
    name = point.replace(".", "-")
    freeze(garage.agents[0])  # or the server might die before it has answered the one who submits
    garage.restart_server(point)
    task_id = garage.counting_and_waiting(name)
    if point.startswith("result"):
        garage.let_go(name)
    thaw(garage.agents[0])
    garage.wait_until_gone()
    assert garage.process.process.returncode == -9
    garage.restart_server()
    garage.let_go(name)
    garage.assert_counted(task_id, name)


def test_killed_after_it_made_a_fresh_key_the_agent_gets_another_one(garage: Garage) -> None:
    garage.restart_server("key.after-commit")
    worker = garage.api("GET", "/workers").json()["items"][0]
    garage.api("POST", f"/workers/{worker['id']}/rotate-key")
    garage.wait_until_gone()
    garage.restart_server()
    agent = garage.agents[0]
    eventually(lambda: "from now on with a fresh key" in agent.output(), what="the agent to have a fresh key")

    def shown() -> dict[str, Any]:
        return dict(garage.api("GET", f"/workers/{worker['id']}").json())

    eventually(lambda: shown()["rotate_requested_at"] is None, what="the fresh key to be used")
    assert garage.ended(garage.submit("true"))["status"] == "completed"
