"""Every test of the control plane that touches a database runs on SQLite and on PostgreSQL."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from functools import cache
from pathlib import Path
from typing import Any

import psycopg
import pytest
from alembic.script import ScriptDirectory
from psycopg import sql

from tests.quick import forget_durability, quick_apps
from tests.services import PostgresServer
from tests.world import World, copy_of, migrate, settings_for
from webapp import clock, create_app, leadership
from webapp.config import Settings
from webapp.extensions import db

ROOT = Path(__file__).resolve().parents[2]


@pytest.fixture(scope="session", autouse=True)
def _quick_apps() -> Iterator[None]:
    with quick_apps():
        yield


@pytest.fixture(scope="session")
def sqlite_template(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("template")
    migrate(settings_for(folder))
    return folder / "garageswarm.db"


class Databases:
    """Migrated, empty PostgreSQL databases. One is emptied and used again: making one costs ten times as much."""

    def __init__(self, server: PostgresServer, template: str) -> None:
        self.server, self.template = server, template
        self.spare: list[str] = []

    def take(self) -> str:
        return self.spare.pop() if self.spare else self.server.fresh_database(self.template)

    def give_back(self, url: str) -> None:
        try:
            self._empty(url)
        except psycopg.Error:  # a test that left it locked, or without its tables
            self.server.drop_database(url)
        else:
            self.spare.append(url)

    def _empty(self, url: str) -> None:
        tables = [sql.Identifier(table.name) for table in reversed(db.metadata.sorted_tables)]
        with psycopg.connect(url, options="-c lock_timeout=2s") as connection:
            connection.execute(
                sql.SQL("; ").join(sql.SQL("DELETE FROM {}").format(table) for table in tables)
            )
            # What a test may have done to it is undone by a new one.
            if connection.execute("SELECT version_num FROM alembic_version").fetchall() != [(_head(),)]:
                raise psycopg.DataError


@cache
def _head() -> str | None:
    return ScriptDirectory(str(ROOT / "webapp" / "migrations")).get_current_head()


@pytest.fixture(scope="session")
def databases(postgres: PostgresServer, tmp_path_factory: pytest.TempPathFactory) -> Databases:
    folder = tmp_path_factory.mktemp("migrate")
    return Databases(
        postgres, postgres.template("gsw_template", lambda url: migrate(settings_for(folder, url)))
    )


@pytest.fixture(params=["sqlite", pytest.param("postgresql", marks=pytest.mark.postgres)])
def new_settings(
    request: pytest.FixtureRequest, tmp_path: Path, sqlite_template: Path
) -> Iterator[Callable[..., Settings]]:
    """`new_settings(lease_s=…)`: settings for an app on a fresh, migrated database of this engine."""
    folder = tmp_path / "instance"
    copy_of(sqlite_template, folder)
    if request.param == "sqlite":
        yield lambda **changes: settings_for(folder, **changes)
        return
    databases: Databases = request.getfixturevalue("databases")
    url = databases.take()
    yield lambda **changes: settings_for(folder, url, **changes)
    databases.give_back(url)


@pytest.fixture
def new_world(new_settings: Callable[..., Settings]) -> Iterator[Callable[..., World]]:
    made: list[World] = []

    def make(**changes: Any) -> World:
        changes = {"registrations_per_minute": 10_000, **changes}
        app = create_app(new_settings(**changes))
        with app.app_context():
            forget_durability(db.engine)
        made.append(World(app))
        return made[-1]

    yield make
    for world in made:
        with world.app.app_context():
            db.session.remove()
            leadership.of_this_process().resign()
            db.engine.dispose()


@pytest.fixture
def world(new_world: Callable[..., World]) -> World:
    return new_world()


@pytest.fixture(autouse=True)
def _right_time() -> Iterator[None]:
    yield
    clock.reset()
