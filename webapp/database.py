"""The one way to write, and the column types.

SQLite has one writer. A greenlet that yields inside a write transaction would freeze everybody for the busy timeout, so
every write goes through `transaction()`: a lock that cooperates, `BEGIN IMMEDIATE`, no I/O until the commit.
"""

import logging
import sqlite3
import threading
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from datetime import datetime
from typing import Any, cast

import uuid6
from flask import Flask
from sqlalchemy import BigInteger, Connection, CursorResult, Dialect, Engine, Executable, Table, Text, event
from sqlalchemy.orm import Session
from sqlalchemy.types import TypeDecorator

from webapp import clock, security
from webapp.errors import DatabaseBusy
from webapp.extensions import Base, db

log = logging.getLogger(__name__)

BUSY_SECONDS = 5.0

_write_lock = threading.Lock()


def new_id() -> str:
    """A UUIDv7: sorts by the time it was made."""
    return str(uuid6.uuid7())


class UtcDateTime(TypeDecorator[datetime]):
    """An aware datetime, stored as milliseconds since 1970.

    A number, because lease arithmetic by the database's own clock then reads the same on SQLite and PostgreSQL, and the
    wire's precision is milliseconds anyway.
    """

    impl = BigInteger
    cache_ok = True

    def process_bind_param(self, value: datetime | int | None, dialect: Dialect) -> int | None:
        return clock.to_ms(value) if isinstance(value, datetime) else value

    def process_result_value(self, value: int | None, dialect: Dialect) -> datetime | None:
        return None if value is None else clock.from_ms(value)


class EncryptedText(TypeDecorator[str]):
    """Text that is ciphertext at rest: Fernet, with the id of the key in front."""

    impl = Text
    cache_ok = True

    def process_bind_param(self, value: str | None, dialect: Dialect) -> str | None:
        return None if value is None else security.keyring().encrypt(value)

    def process_result_value(self, value: str | None, dialect: Dialect) -> str | None:
        return None if value is None else security.keyring().decrypt(value)


@contextmanager
def transaction() -> Iterator[Session]:
    """One write transaction; inside another one it joins that. Commits at the end, rolls back on any error.

    What was read before is read again inside, because a read snapshot can't become a write on SQLite.
    """
    session = db.session()
    if session.info.get("writing"):
        yield session
        return
    session.rollback()
    with _one_writer(session):
        session.info["writing"] = True
        session.info["after_commit"] = []
        try:
            session.connection(execution_options={"write": True})
            yield session
            session.commit()
        except BaseException:
            session.rollback()
            raise
        finally:
            session.info["writing"] = False
    for action in session.info["after_commit"]:
        try:
            action()
        except Exception:
            # What was committed stands, and whoever asked for it is told so; the other wake-ups are still owed.
            log.exception("after a commit")


def table_of(model: type[Base]) -> Table:
    """A model's table, for Core statements."""
    return cast(Table, model.__table__)


def run(statement: Executable, **parameters: Any) -> CursorResult[Any]:
    """Execute a Core statement in the session's transaction, past the ORM: for the hot paths.

    Statements there are built once, at import: building one costs ten times what running it does.
    """
    return db.session.connection().execute(statement, parameters)


def run_many(statement: Executable, rows: Sequence[Mapping[str, Any]]) -> None:
    """The same for many rows at once."""
    if rows:
        db.session.connection().execute(statement, rows)


def after_commit(action: Callable[[], None]) -> None:
    """Run when the transaction that is open has committed: a wake-up before that would find nothing new."""
    db.session().info["after_commit"].append(action)


def release() -> None:
    """Give the connection back: nobody who waits may hold one."""
    db.session.remove()


@contextmanager
def _one_writer(session: Session) -> Iterator[None]:
    if session.get_bind().dialect.name != "sqlite":
        yield
    elif not _write_lock.acquire(timeout=BUSY_SECONDS):
        raise DatabaseBusy
    else:
        try:
            yield
        finally:
            _write_lock.release()


def init_app(app: Flask) -> None:
    db.init_app(app)
    with app.app_context():
        if db.engine.dialect.name == "sqlite":
            prepare_sqlite(db.engine)


def prepare_sqlite(engine: Engine) -> None:
    """Pragmas on connect, and our own BEGIN: pysqlite's implicit one comes too late to be IMMEDIATE."""
    event.listen(engine, "connect", _on_connect)
    event.listen(engine, "begin", _on_begin)


def _on_connect(connection: sqlite3.Connection, record: Any) -> None:
    connection.isolation_level = None
    # A busy handler inside SQLite would freeze the event loop for as long as another process holds the lock.
    for pragma in ("busy_timeout=0", "journal_mode=WAL", "synchronous=FULL", "foreign_keys=ON"):
        _patiently(lambda statement=f"PRAGMA {pragma}": connection.execute(statement))  # type: ignore[misc]


def _on_begin(connection: Connection) -> None:
    writes = connection.get_execution_options().get("write")
    driver: Any = connection.connection.driver_connection
    _patiently(lambda: driver.execute("BEGIN IMMEDIATE" if writes else "BEGIN"))


def _patiently(action: Callable[[], Any]) -> None:
    """Retry while another process holds SQLite's lock, yielding in between; give up after BUSY_SECONDS."""
    deadline = time.monotonic() + BUSY_SECONDS
    while True:
        try:
            action()
            return
        except sqlite3.OperationalError as error:
            if "locked" not in str(error):
                raise
            if time.monotonic() > deadline:
                raise DatabaseBusy from error
            time.sleep(0.01)
