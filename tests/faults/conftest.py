"""Servers and agents that are killed, cut off and starved; after each test the invariants are checked."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from tests.faults.garage import Garage
from tests.faults.proxy import Proxy
from tests.services import PostgresServer

BOTH = ["sqlite", pytest.param("postgresql", marks=pytest.mark.postgres)]

NewGarage = Callable[..., Garage]
NewProxy = Callable[[Garage], Proxy]


@pytest.fixture(scope="module")
def module_garages(tmp_path_factory: pytest.TempPathFactory) -> Iterator[NewGarage]:
    """Makes garages for a file of tests: starting one takes longer than most faults."""
    made: list[Garage] = []

    def make(database_url: str = "", **settings: object) -> Garage:
        made.append(Garage(tmp_path_factory.mktemp("garage"), database_url, **settings))
        return made[-1]

    yield make
    for garage in made:
        garage.stop()


@pytest.fixture
def new_garage(tmp_path: Path) -> Iterator[NewGarage]:
    """One for this test alone, which breaks it for good. Checked when the test has passed."""
    made: list[Garage] = []

    def make(database_url: str = "", **settings: object) -> Garage:
        made.append(Garage(tmp_path / f"garage-{len(made)}", database_url, **settings))
        return made[-1]

    try:
        yield make
        for garage in made:
            garage.check()
    finally:
        for garage in made:
            garage.stop()


@contextmanager
def _proxies() -> Iterator[NewProxy]:
    made: list[Proxy] = []

    def make(garage: Garage) -> Proxy:
        made.append(Proxy(garage.port))
        made[-1].pass_on()
        return made[-1]

    try:
        yield make
    finally:
        for proxy in made:
            proxy.close()


@pytest.fixture(scope="module")
def module_proxies() -> Iterator[NewProxy]:
    with _proxies() as make:
        yield make


@pytest.fixture
def new_proxy() -> Iterator[NewProxy]:
    with _proxies() as make:
        yield make


@pytest.fixture(scope="module", params=BOTH)
def database_url(request: pytest.FixtureRequest) -> Iterator[str]:
    """Nothing for SQLite in the instance folder."""
    yield from _database(request)


@pytest.fixture(params=BOTH)
def fresh_database_url(request: pytest.FixtureRequest) -> Iterator[str]:
    """The same, for one test alone."""
    yield from _database(request)


def _database(request: pytest.FixtureRequest) -> Iterator[str]:
    if request.param == "sqlite":
        yield ""
        return
    server: PostgresServer = request.getfixturevalue("postgres")
    url = server.fresh_database()
    yield url
    server.drop_database(url)
