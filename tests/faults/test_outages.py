"""Outages at any point of the renewal cycle, with timers shortened in proportion: running work never ends because of one.

In earnest a lease is 120 s and outages are 15 s, 60 s and 5 min; here a lease is 4 s, and they are 0.5 s, 2 s and 10 s.
"""

from __future__ import annotations

import time
from collections.abc import Callable

import pytest

from tests.faults.conftest import NewGarage, NewProxy
from tests.faults.garage import SHORT, Garage
from tests.faults.proxy import Proxy
from tests.stack import eventually

pytestmark = [pytest.mark.slow, pytest.mark.timeout(240)]

LEASE_S = SHORT["lease_s"]
# When the outage begins, as parts of the time between two renewals.
PHASES = (0.0, 0.3, 0.6, 0.9)
# Until `stop` is there: it ends when the test says so, and its log says how long it ran.
LONG = "i=0; until [ -e {stop} ]; do i=$((i+1)); echo line $i; sleep 0.5; done"


@pytest.fixture(scope="module")
def garage(module_garages: NewGarage) -> Garage:
    made = module_garages(**SHORT)
    made.start_server()
    return made


@pytest.fixture(scope="module")
def proxy(garage: Garage, module_proxies: NewProxy) -> Proxy:
    made = module_proxies(garage)
    garage.start_agent(server_url=made.url)
    return made


def long_task(garage: Garage, name: str, **wish: object) -> str:
    task_id = garage.submit(
        garage.script(name, LONG.format(stop=garage.folder / f"stop-{name}")), name=name, **wish
    )
    garage.logged(task_id, b"line 2\n")
    return task_id


def end(garage: Garage, task_id: str, name: str) -> None:
    """Let it end; it ran once, and its log is whole."""
    (garage.folder / f"stop-{name}").touch()
    task = garage.ended(task_id, 60)
    lines = garage.log(task_id).splitlines()
    garage.assert_counted(task_id, name, n=len(lines))
    assert task["attempts"][0]["exit_code"] == 0


def lease_end(garage: Garage, task_id: str) -> int:
    return int(garage.records.attempts(task_id)[0]["lease_expires_at"])


def renewed(garage: Garage, task_id: str) -> None:
    """Wait until the agent's next renewal has arrived."""
    before = lease_end(garage, task_id)
    eventually(lambda: lease_end(garage, task_id) > before, 60, "the lease to be renewed")


def still_runs(garage: Garage, task_id: str) -> None:
    task = garage.task(task_id)
    assert (task["status"], len(task["attempts"])) == ("running", 1), task


Fault = Callable[[Proxy], None]
FAULTS: list[Fault] = [Proxy.hold, Proxy.refuse]


@pytest.mark.parametrize("fault", FAULTS, ids=["held back", "refused"])
@pytest.mark.parametrize("seconds", [0.5, 2.0], ids=["15 s", "1 min"])
def test_a_short_cut_at_any_point_of_the_cycle(
    garage: Garage, proxy: Proxy, fault: Fault, seconds: float
) -> None:
    name = f"{fault.__name__}-{seconds}"
    task_id = long_task(garage, name)
    for phase in PHASES:
        renewed(garage, task_id)
        time.sleep(phase * LEASE_S / 4)  # the cycle's length: what is awaited is the clock itself
        fault(proxy)
        time.sleep(seconds)
        proxy.pass_on()
        renewed(garage, task_id)
        still_runs(garage, task_id)
    end(garage, task_id, name)


def test_a_cut_of_five_minutes_shows_the_worker_as_unreachable_and_it_comes_back(
    garage: Garage, proxy: Proxy
) -> None:
    task_id = long_task(garage, "five")
    proxy.hold()
    cut_at = time.monotonic()
    eventually(lambda: garage.shown("agent-1") == "unreachable", 60, "the worker to be shown as unreachable")
    still_runs(garage, task_id)
    time.sleep(max(0.0, cut_at + 10 - time.monotonic()))
    proxy.pass_on()
    eventually(lambda: garage.shown("agent-1") == "busy", 60, "the worker to be back")
    renewed(garage, task_id)
    still_runs(garage, task_id)
    end(garage, task_id, "five")


@pytest.mark.parametrize("seconds", [0.5, 10.0], ids=["15 s", "5 min"])
def test_a_control_plane_that_is_down_ends_nothing_when_it_is_back(
    garage: Garage, proxy: Proxy, seconds: float
) -> None:
    """The lease of this task is over when the server starts: agents get one more before anything is decided."""
    name = f"down-{seconds}"
    task_id = long_task(garage, name)
    garage.process.kill()
    garage.wait_until_gone()
    time.sleep(seconds)
    garage.start_server()
    still_runs(garage, task_id)
    renewed(garage, task_id)
    end(garage, task_id, name)
