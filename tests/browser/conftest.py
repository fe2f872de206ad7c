"""Pages in Chromium, before a real server with a real agent, on SQLite."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from playwright.sync_api import Browser

from tests.browser.people import People, Visits
from tests.browser.showing import Showing, served
from tests.garage import Garage, made_garage
from tests.stack import Stack, eventually, running_stack


@pytest.fixture(scope="session")
def shared_stack(tmp_path_factory: pytest.TempPathFactory, chromium: Browser) -> Iterator[Stack]:
    """One server and one agent for all tests that harm neither: starting them takes longer than most tests."""
    with running_stack(tmp_path_factory.mktemp("stack")) as started:
        started.start_agent()
        yield started


@pytest.fixture(scope="session")
def people(shared_stack: Stack) -> People:
    return People(shared_stack)


@pytest.fixture
def stack(shared_stack: Stack) -> Iterator[Stack]:
    """What a test leaves running is ended, so that the next one finds an idle server."""
    yield shared_stack
    end_all(shared_stack)


@pytest.fixture
def new_visits(chromium: Browser) -> Iterator[Callable[[People], Visits]]:
    made: list[Visits] = []

    def make(people: People) -> Visits:
        made.append(Visits(chromium, people))
        return made[-1]

    yield make
    said = [text for visits in made for text in visits.close()]
    assert said == [], "the console said something"


@pytest.fixture
def visits(stack: Stack, people: People, new_visits: Callable[[People], Visits]) -> Visits:
    return new_visits(people)


@pytest.fixture
def own_stack(tmp_path: Path) -> Iterator[Stack]:
    """A server without an agent, for a test that kills one of them or wants it empty."""
    with running_stack(tmp_path) as started:
        yield started


@pytest.fixture(scope="session")
def garage_url(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[Garage, str]]:
    garage = made_garage(tmp_path_factory.mktemp("garage"))
    with served(garage) as url:
        yield garage, url


@pytest.fixture
def showing(chromium: Browser, garage_url: tuple[Garage, str]) -> Iterator[Showing]:
    """Pages full of made-up machines and tasks, always the same."""
    made = Showing(*garage_url, chromium)
    yield made
    made.close()


def end_all(stack: Stack) -> None:
    for task in active(stack):
        stack.api("POST", f"/tasks/{task}/cancel")
    eventually(lambda: not active(stack), 60, "every task to end")


def active(stack: Stack) -> list[str]:
    found = [
        stack.api("GET", f"/tasks?limit=100&status={status}").json()["items"]
        for status in ("running", "waiting")
    ]
    return [task["id"] for items in found for task in items]
