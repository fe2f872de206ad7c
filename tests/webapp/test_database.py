"""Transactions, the database's lock, encryption at rest, and the schema."""

from __future__ import annotations

import sqlite3
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from cryptography.fernet import Fernet
from flask import Flask
from flask_migrate import downgrade, upgrade
from sqlalchemy import insert, inspect, select, text

from tests.world import World, copy_of, later, problem, settings_for
from webapp import clock, create_app, database, security
from webapp.auth.models import Organisation
from webapp.database import after_commit, release, transaction
from webapp.errors import Conflict
from webapp.extensions import db
from webapp.security import KeyMissing, Keyring


def names(world: World) -> set[str]:
    return {str(row["name"]) for row in world.rows("organisations")} - {"Default"}


def add(name: str) -> None:
    with transaction() as session:
        session.execute(insert(Organisation).values(name=name))


# ---- transactions


def test_a_transaction_inside_another_joins_it(world: World) -> None:
    with world.app.app_context():
        with pytest.raises(Conflict), transaction():  # noqa: PT012 - what it raises after is the point
            add("inner")
            raise Conflict
        release()
    assert names(world) == set()
    with world.app.app_context():
        with transaction():
            add("inner")
            assert names(world) == set(), "not before the outer one commits"
        release()
    assert names(world) == {"inner"}


def test_an_error_leaves_nothing_and_the_next_transaction_works(world: World) -> None:
    with world.app.app_context():
        with pytest.raises(KeyError), transaction():  # noqa: PT012
            add("lost")
            raise KeyError
        add("kept")
        release()
    assert names(world) == {"kept"}


def test_what_follows_a_commit_waits_for_it_and_never_follows_a_rollback(world: World) -> None:
    seen: list[set[str]] = []
    with world.app.app_context():
        with transaction():
            with transaction():
                add("one")
                after_commit(lambda: seen.append(names(world)))
            assert seen == []
        with pytest.raises(KeyError), transaction():  # noqa: PT012
            after_commit(lambda: seen.append({"never"}))
            raise KeyError
        add("two")
        release()
    assert seen == [{"one"}]


def test_what_was_read_before_is_read_again_inside(world: World) -> None:
    with world.app.app_context():
        before = db.session.scalar(select(Organisation).where(Organisation.is_default))
        assert before is not None
        with db.engine.connect().execution_options(write=True) as other, other.begin():
            other.execute(text("UPDATE organisations SET name = 'Renamed'"))
        with transaction():
            assert before.name == "Renamed"
        release()


# ---- another process holds the lock


@pytest.fixture
def sqlite_world(tmp_path: Path, sqlite_template: Path) -> World:
    copy_of(sqlite_template, tmp_path / "instance")
    return World(create_app(settings_for(tmp_path / "instance", registrations_per_minute=1000)))


def held_lock(world: World) -> sqlite3.Connection:
    """What another process does that writes to the same file."""
    other = sqlite3.connect(
        Path(world.app.instance_path) / "garageswarm.db", isolation_level=None, check_same_thread=False
    )
    other.execute("BEGIN IMMEDIATE")
    return other


def test_a_write_while_another_process_holds_the_lock_is_a_503_and_nothing_is_stored(
    sqlite_world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(database, "BUSY_SECONDS", 0.2)
    sqlite_world.worker()
    sqlite_world.api_token("operator")
    other = held_lock(sqlite_world)
    began = time.monotonic()
    answer = sqlite_world.submit()
    problem(answer, 503, "database-busy")
    assert 0.2 <= time.monotonic() - began < 4.9, "what it was told, and not the 5 s that it takes by itself"
    assert int(answer.headers["Retry-After"]) > 0
    assert sqlite_world.api("operator", "GET", "/tasks").json["items"] == [], (
        "reading goes on, and nothing is stored"
    )
    other.execute("ROLLBACK")
    other.close()
    assert sqlite_world.submit().status_code == 201


def test_a_write_waits_for_a_lock_that_is_given_back_in_time(
    sqlite_world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(database, "BUSY_SECONDS", 30.0)
    sqlite_world.worker()
    sqlite_world.api_token("operator")
    other = held_lock(sqlite_world)
    timer = threading.Timer(0.3, other.execute, ("COMMIT",))
    timer.start()
    answer = sqlite_world.submit()
    timer.join()
    other.close()
    assert answer.status_code == 201


def test_a_database_that_is_gone_is_a_503_that_may_be_repeated(
    sqlite_world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    token = sqlite_world.api_token("viewer")
    with sqlite_world.app.app_context():
        db.engine.dispose()
    (Path(sqlite_world.app.instance_path) / "garageswarm.db").unlink()
    headers = {"Authorization": f"Bearer {token}"}
    answer = sqlite_world.app.test_client().get("/api/v1/tasks", headers=headers)
    assert problem(answer, 503, "unavailable")["detail"]
    assert answer.headers["Retry-After"]


# ---- the schema


def schema() -> dict[str, Any]:
    """The tables and indexes that this database really has."""
    with db.engine.connect() as connection:
        found = inspect(connection)
        tables = {
            name: {
                "columns": {c["name"]: (str(c["type"]), c["nullable"]) for c in found.get_columns(name)},
                "key": found.get_pk_constraint(name)["constrained_columns"],
                "foreign": sorted(map(repr, found.get_foreign_keys(name))),
                "unique": sorted(repr(c["column_names"]) for c in found.get_unique_constraints(name)),
            }
            for name in found.get_table_names()
            if name != "alembic_version"
        }
        is_sqlite = db.engine.dialect.name == "sqlite"
        query = (
            "SELECT name, sql FROM sqlite_master WHERE type = 'index'"
            if is_sqlite
            else (
                "SELECT indexname, indexdef FROM pg_indexes WHERE schemaname = 'public' AND tablename <> 'alembic_version'"
            )
        )
        indexes = {name: " ".join((sql or "").split()) for name, sql in connection.exec_driver_sql(query)}
    return {
        **tables,
        "indexes": {n: sql for n, sql in indexes.items() if not n.startswith("sqlite_autoindex_alembic")},
    }


@pytest.fixture
def app(new_world: Callable[..., World]) -> Iterator[Flask]:
    app = new_world().app
    with app.app_context():
        yield app
        release()


def test_the_migrations_make_exactly_the_models_tables(app: Flask) -> None:
    migrated = schema()
    db.drop_all()
    db.create_all()
    assert schema() == migrated
    assert len(migrated) > 10


def test_the_migrations_can_be_taken_back_and_made_again(app: Flask) -> None:
    before = schema()
    downgrade(revision="base")
    assert set(inspect(db.engine).get_table_names()) <= {"alembic_version"}
    upgrade()
    assert schema() == before


def test_migrating_twice_changes_nothing(world: World) -> None:
    with world.unchanged(), world.app.app_context():
        upgrade()
        release()


# ---- the clock


def test_the_databases_clock_is_the_real_one_and_moves_with_the_tests(world: World) -> None:
    def assert_same() -> None:
        before = clock.to_ms(clock.now())
        with world.app.app_context():
            there = db.session.scalar(select(clock.sql_now()))
            release()
        assert there is not None
        assert before - 1000 <= there <= clock.to_ms(clock.now()) + 1000

    assert_same()
    later(3600)
    assert_same()


# ---- encryption at rest


def test_the_newest_key_encrypts_and_every_key_decrypts(tmp_path: Path) -> None:
    (tmp_path / "k1.key").write_bytes(Fernet.generate_key())
    old = Keyring(tmp_path).encrypt("secret")
    assert old.startswith("k1:")
    for number in (2, 9, 10, 11):
        (tmp_path / f"k{number}.key").write_bytes(Fernet.generate_key())
        ring = Keyring(tmp_path)
        assert ring.encrypt("secret").startswith(f"k{number}:")
        assert ring.decrypt(old) == "secret"


def test_a_missing_or_another_key_is_said_by_name(tmp_path: Path) -> None:
    (tmp_path / "k1.key").write_bytes(Fernet.generate_key())
    stored = Keyring(tmp_path).encrypt("secret")
    (tmp_path / "k1.key").write_bytes(Fernet.generate_key())
    with pytest.raises(KeyMissing, match="k1"):
        Keyring(tmp_path).decrypt(stored)
    (tmp_path / "k1.key").unlink()
    with pytest.raises(KeyMissing, match="k1"):
        Keyring(tmp_path).decrypt(stored)
    with pytest.raises(KeyMissing):
        Keyring(tmp_path).encrypt("secret")
    with pytest.raises(KeyMissing):
        Keyring(tmp_path).decrypt("nonsense")


def test_a_missing_key_fails_what_needs_the_secret_and_nothing_else(world: World) -> None:
    worker = world.worker()
    secret = world.queued_task(
        input={"script": "true", "env": {"TOKEN": "canary"}}, worker_id=worker.id, max_retries=0
    )
    plain = world.queued_task()
    world.app.extensions["keyring"] = Keyring(Path(world.app.instance_path) / "nowhere")
    assert [task["id"] for task in world.api("viewer", "GET", "/tasks").json["items"]] == [plain, secret]
    offers = worker.sync().json["offers"]
    assert [offer["task_id"] for offer in offers] == [plain], "the others are served"
    failed = world.task(secret)
    assert failed["status"] == "failed"
    assert "k1" in failed["attempts"][0]["error"], "which key is missing"
    assert "canary" not in str(failed)


def test_a_key_that_goes_missing_before_an_offer_is_repeated_fails_that_task_alone(world: World) -> None:
    worker = world.worker()
    secret = world.queued_task(input={"script": "true", "env": {"TOKEN": "canary"}}, max_retries=0)
    worker.take()
    plain = world.queued_task()
    later(3)  # the answer with the offer got lost
    world.app.extensions["keyring"] = Keyring(Path(world.app.instance_path) / "nowhere")
    assert worker.take()["task_id"] == plain
    assert world.task(secret)["status"] == "failed"


# ---- tokens and passwords


def test_tokens_of_every_kind_read_back_and_nothing_else_does() -> None:
    for prefix in ("gsw", "gst", "gsj", "gsh"):
        token = security.new_token(prefix)
        parts = security.read_token(token.text, prefix)
        assert parts is not None
        assert (parts.key_id, parts.digest) == (token.key_id, token.digest)
        assert len(token.text) == 62
        for place in range(len(token.text)):
            wrong = token.text[:place] + ("a" if token.text[place] != "a" else "b") + token.text[place + 1 :]
            assert security.read_token(wrong, prefix) is None
        for other in {"gsw", "gst", "gsj", "gsh"} - {prefix}:
            assert security.read_token(token.text, other) is None
    for text_ in ("", "gsw_", "g" * 63, "gsw_" + "é" * 59):
        assert security.read_token(text_, "gsw") is None


def test_a_password_matches_itself_alone_and_nobodys_matches_nothing() -> None:
    stored = security.hash_password("correct horse")
    assert stored.startswith("$argon2id$")
    assert security.password_matches(stored, "correct horse")
    assert not security.password_matches(stored, "correct horse ")
    assert not security.password_matches(None, "correct horse")
    assert not security.password_matches("not a hash", "correct horse")
