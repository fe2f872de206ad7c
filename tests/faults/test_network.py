"""The network between agent and server: cut, half-open, slow, or with somebody else answering: no task ends of it."""

from __future__ import annotations

import pytest

from tests.faults.conftest import NewGarage, NewProxy
from tests.faults.garage import SHORT, Garage
from tests.faults.proxy import Proxy, is_claim
from tests.stack import eventually

HTML = b"<!doctype html><title>Welcome to the hotel</title>Accept our terms to go on."


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


@pytest.fixture(autouse=True)
def _whole_network(garage: Garage, proxy: Proxy) -> None:
    """Each test begins with an agent that is there."""
    proxy.delay_s = 0.0
    proxy.pass_on()
    eventually(lambda: garage.shown("agent-1") == "online", 30, "the agent to be online")


def page_of(status: bytes) -> bytes:
    head = b"HTTP/1.1 %s\r\nContent-Type: text/html\r\nContent-Length: %d\r\nConnection: close\r\n\r\n"
    return head % (status, len(HTML)) + HTML


def asked(proxy: Proxy, times: int) -> None:
    """Wait until the agent has asked that often from here on."""
    before = len(proxy.requests)
    eventually(lambda: len(proxy.requests) >= before + times, 30, "the agent to ask again")


@pytest.mark.parametrize("status", [b"200 OK", b"502 Bad Gateway"], ids=["200", "502"])
def test_a_proxys_page_is_taken_for_no_answer(garage: Garage, proxy: Proxy, status: bytes) -> None:
    name = f"html-{status[:3].decode()}"
    task_id = garage.counting(name, n=6)
    garage.logged(task_id, b"line 2\n")
    proxy.answer(page_of(status))
    asked(proxy, 3)
    proxy.pass_on()
    garage.assert_counted(task_id, name, n=6)


def test_a_slow_network_costs_time_alone(garage: Garage, proxy: Proxy) -> None:
    proxy.delay_s = 0.2
    task_id = garage.counting("slow", n=4)
    garage.assert_counted(task_id, "slow", n=4)


def test_a_cancel_while_the_agent_is_away_reaches_it_when_it_is_back(garage: Garage, proxy: Proxy) -> None:
    task_id = garage.submit(garage.script("away", "echo up; sleep 300"))
    garage.logged(task_id, b"up\n")
    proxy.refuse()
    assert garage.api("POST", f"/tasks/{task_id}/cancel").json()["cancelling"] is True
    proxy.pass_on()
    task = garage.ended(task_id)
    assert (task["status"], len(task["attempts"]), garage.starts("away")) == ("cancelled", 1, 1)
    assert garage.log(task_id) == b"up\n"
    garage.check()


@pytest.mark.slow
@pytest.mark.timeout(120)
def test_a_cancel_outlives_the_server_that_took_it(garage: Garage, proxy: Proxy) -> None:
    task_id = garage.submit(garage.script("twice-away", "echo up; sleep 300"))
    garage.logged(task_id, b"up\n")
    proxy.refuse()
    assert garage.api("POST", f"/tasks/{task_id}/cancel").json()["cancelling"] is True
    garage.restart_server()
    proxy.pass_on()
    assert garage.ended(task_id)["status"] == "cancelled"
    garage.check()


@pytest.mark.slow
@pytest.mark.timeout(150)
def test_a_connection_that_is_half_open_is_found_out_and_what_was_offered_on_it_runs(
    garage: Garage, proxy: Proxy
) -> None:
    happened = proxy.swallow_from(is_claim)
    task_id = garage.counting("half-open", n=3)
    assert happened.wait(30), "the offer that was to disappear never came"
    assert garage.task(task_id)["status"] != "queued"
    proxy.pass_on()
    garage.assert_counted(task_id, "half-open", n=3, seconds=60)
