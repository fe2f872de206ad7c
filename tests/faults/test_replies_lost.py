"""The server did what was asked, and its answer never arrives: asking again gets the same, and a task runs once."""

from __future__ import annotations

import pytest

from tests.faults.conftest import NewGarage, NewProxy
from tests.faults.garage import Garage
from tests.faults.proxy import Lost, Proxy


@pytest.fixture(scope="module")
def garage(module_garages: NewGarage, database_url: str) -> Garage:
    made = module_garages(database_url)
    made.start_server()
    return made


@pytest.fixture(scope="module")
def proxy(garage: Garage, module_proxies: NewProxy) -> Proxy:
    made = module_proxies(garage)
    garage.start_agent(server_url=made.url)
    return made


def is_claim(request: bytes, reply: bytes) -> bool:
    return b"/sync " in request and b'"offers":[{' in reply


def is_chunk(request: bytes, reply: bytes) -> bool:
    return b"/logs/chunk " in request and b'"status":"ok"' in reply


def is_result(request: bytes, reply: bytes) -> bool:
    return b"/sync " in request and b'"new_status":"completed"' in reply


@pytest.mark.parametrize("lost", [is_claim, is_chunk, is_result], ids=lambda lost: lost.__name__[3:])
def test_a_lost_reply_to_a(garage: Garage, proxy: Proxy, lost: Lost) -> None:
    happened = proxy.lose_reply(lost)
    task_id = garage.counting(lost.__name__, n=5)
    assert happened.wait(30), "the reply that was to be lost never came"
    garage.assert_counted(task_id, lost.__name__, n=5)


def test_every_reply_that_is_lost_once_costs_nothing(garage: Garage, proxy: Proxy) -> None:
    """All three of one task, one after the other."""
    happened = proxy.lose_reply(is_claim)
    task_id = garage.counting("all", n=8)
    for lost in (is_chunk, is_result):
        assert happened.wait(30)
        happened = proxy.lose_reply(lost)
    assert happened.wait(30)
    garage.assert_counted(task_id, "all", n=8)
