"""Many at once: all who are connected when the server stops, and all who come back when it starts."""

from __future__ import annotations

import os
import signal
import threading
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager

import pytest
from simple_websocket import Client, ConnectionClosed

from tests.browser.people import Session
from tests.faults.conftest import NewGarage
from tests.faults.crowd import at_once, recruit
from tests.faults.garage import Garage
from tests.stack import eventually

pytestmark = [pytest.mark.slow, pytest.mark.timeout(180)]

SOCKETS, PARKED, AGENTS = 100, 20, 200
# What every worker of a test registers within a minute.
OPEN_DOOR = {"registrations_per_minute": 1000}


def on_this_machine(seconds: float) -> float:
    """Longer where others keep the processors busy: a promise about a quiet machine says nothing of a crowded one."""
    return seconds * max(1.0, os.getloadavg()[0] / (os.cpu_count() or 1))


@contextmanager
def pages(garage: Garage, count: int) -> Iterator[list[Client]]:
    session = Session(garage, "admin", garage.password)
    url = garage.url.replace("http:", "ws:") + "/ws/page?view=dashboard"
    session.http.close()
    # The client's Host header has no port, and the two have to agree.
    headers = {"Cookie": f"gsw_session={session.cookie['value']}", "Origin": "http://127.0.0.1"}
    opened: list[Client] = []
    try:
        for _ in range(count):
            opened.append(Client(url, headers=headers))
        yield opened
    finally:
        for one in opened:
            if one.connected:
                one.close()
            one.thread.join(10)
            one.sock.close()


def closing(page: Client, opened: threading.Semaphore) -> tuple[int, float]:
    """Read until the server closes it: with which code, and when."""
    try:
        page.receive(30)
        opened.release()
        while True:
            assert page.receive(60) is not None, "nobody closed it"
    except ConnectionClosed as closed:
        return int(closed.reason), time.monotonic()


def test_a_stopping_server_tells_every_page_and_every_poll_and_ends_in_time(new_garage: NewGarage) -> None:
    garage = new_garage(**OPEN_DOOR, sockets_per_user=SOCKETS)
    garage.start_server()
    members = recruit(garage, PARKED)
    shown = threading.Semaphore(0)
    with pages(garage, SOCKETS) as opened, ThreadPoolExecutor(SOCKETS + PARKED) as pool:
        ends = [pool.submit(closing, page, shown) for page in opened]
        for _ in opened:
            assert shown.acquire(timeout=30), "each page got its first state"
        at_once(members, lambda member: member.sync())
        polls = [pool.submit(member.sync, 25) for member in members]
        eventually(lambda: all_online(garage), 30, "the agents to be there")
        told_at = time.monotonic()
        garage.process.signal(signal.SIGTERM)
        garage.process.process.wait(on_this_machine(10))
        closed = [end.result() for end in ends]
        assert [poll.result()["offers"] for poll in polls] == [[]] * PARKED
    assert {code for code, _ in closed} == {1012}
    assert max(at for _, at in closed) - told_at < on_this_machine(2)
    garage.wait_until_gone()
    garage.start_server()
    with pages(garage, 1) as again:
        assert again[0].receive(30), "a page that comes back gets its state"


def all_online(garage: Garage) -> bool:
    workers = garage.api("GET", "/workers?limit=200").json()["items"]
    return all(worker["shown_status"] == "online" for worker in workers)


def test_two_hundred_agents_that_come_back_at_once_are_all_served(new_garage: NewGarage) -> None:
    """Each holds a task when the server dies; all are back within a minute, and none has lost it."""
    garage = new_garage(**OPEN_DOOR)
    garage.start_server()
    members = recruit(garage, AGENTS)
    for _ in members:
        garage.submit(tool="noop")
    at_once(members, lambda member: member.take(), threads=8)
    garage.process.kill()
    garage.wait_until_gone()
    with ThreadPoolExecutor(1) as starting:
        started = starting.submit(garage.start_server)
        took = at_once(members, lambda member: member.come_back())
        started.result()
    assert max(took) < on_this_machine(60)
    at_once(members, lambda member: member.finish())
    tasks = garage.records.rows("SELECT status, attempts_made FROM tasks")
    assert tasks == [{"status": "completed", "attempts_made": 1}] * AGENTS
