"""The server did what was asked, and its answer never arrives: asking again gets the same, and a task runs once."""

from __future__ import annotations

import pytest

from tests.faults.conftest import NewGarage, NewProxy
from tests.faults.garage import Garage
from tests.faults.proxy import Lost, Proxy, is_claim


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


def is_chunk(request: bytes, reply: bytes) -> bool:
    return b"/logs/chunk " in request and b'"status":"ok"' in reply


def is_result(request: bytes, reply: bytes) -> bool:
    return b"/sync " in request and b'"new_status":"completed"' in reply


@pytest.mark.parametrize(
    "lost", [pytest.param(is_claim, marks=pytest.mark.slow), is_chunk], ids=["claim", "chunk"]
)
def test_a_lost_reply_to_what_comes_before_the_end(garage: Garage, proxy: Proxy, lost: Lost) -> None:
    happened = proxy.lose_reply(lost)
    task_id = garage.counting_and_waiting(lost.__name__)
    assert happened.wait(30), "the reply that was to be lost never came"
    garage.let_go(lost.__name__)
    garage.assert_counted(task_id, lost.__name__)


def test_a_lost_reply_to_a_result(garage: Garage, proxy: Proxy) -> None:
    happened = proxy.lose_reply(is_result)
    task_id = garage.counting("result", pause=0)
    assert happened.wait(30), "the reply that was to be lost never came"
    garage.assert_counted(task_id, "result")


@pytest.mark.slow
def test_every_reply_that_is_lost_once_costs_nothing(garage: Garage, proxy: Proxy) -> None:
    """All three of one task, one after the other."""
    happened = proxy.lose_reply(is_claim)
    task_id = garage.counting_and_waiting("all")
    for lost in (is_chunk, is_result):
        assert happened.wait(30)
        happened = proxy.lose_reply(lost)
    garage.let_go("all")
    assert happened.wait(30)
    garage.assert_counted(task_id, "all")
