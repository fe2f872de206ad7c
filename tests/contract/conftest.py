"""A real agent against a real server, on both databases."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.contract.projects import Garage
from tests.services import PostgresServer
from tests.stack import Stack, running_stack


@pytest.fixture(
    scope="module",
    params=[
        "sqlite",
        pytest.param("sqlite-by-sync-alone", marks=pytest.mark.slow),
        pytest.param("postgresql", marks=pytest.mark.postgres),
    ],
)
def stack(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Stack]:
    """A server and one agent for a file of tests: starting them for each would take longer than the tests."""
    folder: Path = tmp_path_factory.mktemp("stack")
    if request.param.startswith("sqlite"):
        with running_stack(folder) as started:
            started.start_agent(control=int(request.param == "sqlite"))
            yield started
        return
    server: PostgresServer = request.getfixturevalue("postgres")
    url = server.fresh_database()
    with running_stack(folder, url) as started:
        started.start_agent()
        yield started
    server.drop_database(url)


@pytest.fixture(
    scope="session",
    params=[
        "sqlite",
        pytest.param("postgresql", marks=[pytest.mark.postgres, pytest.mark.slow]),
    ],
)
def garage(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Garage]:
    """A server that allows plain http for git, which the tests' own remotes speak, and an agent."""
    folder: Path = tmp_path_factory.mktemp("garage")
    url = ""
    if request.param == "postgresql":
        url = request.getfixturevalue("postgres").fresh_database()
    with running_stack(folder, url, git_schemes="https,ssh,http") as started:
        started.start_agent(disk_floor_bytes=0)
        yield Garage(started)
