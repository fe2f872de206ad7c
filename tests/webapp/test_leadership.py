"""Housekeeping is done by exactly one process: here each app stands for one."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator

import pytest
from flask import Flask

from tests.world import World, at_once, later
from webapp import create_app, leadership
from webapp.config import Settings
from webapp.extensions import db
from webapp.housekeeping import Housekeeper
from webapp.live.bus import bus

# On SQLite the lock on the instance folder keeps a second server out.
on_postgresql = pytest.mark.parametrize("new_settings", ["postgresql"], indirect=True)


@pytest.fixture
def second(world: World, new_settings: Callable[..., Settings]) -> Iterator[Flask]:
    """Another server process on the same database."""
    app = create_app(new_settings())
    yield app
    resign(app)
    with app.app_context():
        db.engine.dispose()


def leads(app: Flask) -> bool:
    with app.app_context():
        return leadership.of_this_process().is_held()


def resign(app: Flask) -> None:
    with app.app_context():
        leadership.of_this_process().resign()


def test_who_is_alone_leads_and_goes_on_leading(world: World) -> None:
    with world.unchanged():
        assert [leads(world.app) for _ in range(3)] == [True, True, True]


@on_postgresql
def test_the_second_one_waits_until_the_first_has_gone(world: World, second: Flask) -> None:
    assert (leads(world.app), leads(second)) == (True, False)
    resign(world.app)
    assert (leads(second), leads(world.app)) == (True, False)


@on_postgresql
def test_of_two_that_start_together_one_leads(world: World, second: Flask) -> None:
    found = at_once(lambda: leads(world.app), lambda: leads(second))
    assert sorted(found) == [False, True]


@on_postgresql
def test_the_second_one_decides_nothing(world: World, second: Flask) -> None:
    offer = world.running_task(world.worker())
    first, other = Housekeeper(world.app), Housekeeper(second)
    first.step()
    other.step()
    later(3600)
    other.step()
    assert world.task(offer["task_id"])["status"] == "running"


@on_postgresql
def test_a_server_that_stops_hands_the_lead_over(
    world: World, second: Flask, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert leads(world.app)
    stopping = threading.Event()
    stopping.set()
    monkeypatch.setattr(bus, "stopping", stopping)
    Housekeeper(world.app).run()
    assert leads(second)


@on_postgresql
def test_whoever_takes_over_gives_agents_their_chance_first(world: World, second: Flask) -> None:
    offer = world.running_task(world.worker())
    other = Housekeeper(second)
    assert leads(world.app)
    for _ in range(400):  # in steps, or it would look like a machine that slept
        later(9)
        other.step()
    resign(world.app)
    later(9)
    other.step()
    assert world.task(offer["task_id"])["status"] == "running"
    for _ in range(20):
        later(9)
        other.step()
    assert world.task(offer["task_id"])["status"] == "failed"
