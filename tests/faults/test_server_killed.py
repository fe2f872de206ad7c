"""The server dies at the worst moment, and comes back: nothing is doubled, nothing that was acknowledged is lost."""

from __future__ import annotations

import pytest

from tests.faults.conftest import NewGarage
from tests.faults.garage import Garage, freeze, thaw
from webapp import failpoints

pytestmark = [pytest.mark.slow, pytest.mark.timeout(180)]


@pytest.fixture(scope="module")
def garage(module_garages: NewGarage, database_url: str) -> Garage:
    made = module_garages(database_url)
    made.restart_server()
    made.start_agent()
    return made


@pytest.mark.parametrize("point", failpoints.KNOWN)
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
