"""Which of several server processes does the housekeeping: exactly one.

On SQLite a lock on the instance folder keeps a second server out. On PostgreSQL whoever holds an advisory lock leads, for
as long as the connection that took it lives: a process that dies, or loses the database, gives it up by that.
"""

import logging
from dataclasses import dataclass, field

from flask import current_app
from sqlalchemy import Connection, text
from sqlalchemy.exc import SQLAlchemyError

from webapp.extensions import db

log = logging.getLogger(__name__)

KEY = 0x6761726167  # "garag": any number that no other program on this database uses
_TAKE = text("SELECT pg_try_advisory_lock(:key)")
_RELEASE = text("SELECT pg_advisory_unlock(:key)")
_LOOK = text("SELECT 1")


@dataclass
class Leadership:
    """Asked before each round of housekeeping."""

    _connection: Connection | None = field(default=None)

    def is_held(self) -> bool:
        """Whether this process leads now. Takes the lead where nobody has it. Raises SQLAlchemyError without a database."""
        if db.engine.dialect.name == "sqlite":
            return True
        try:
            return self._still_held() or self._take()
        except SQLAlchemyError:
            self._drop()
            raise

    def _still_held(self) -> bool:
        if self._connection is None:
            return False
        self._connection.execute(_LOOK)
        return True

    def _take(self) -> bool:
        connection = db.engine.connect().execution_options(isolation_level="AUTOCOMMIT")
        if connection.execute(_TAKE, {"key": KEY}).scalar():
            self._connection = connection
            log.info("this process does the housekeeping")
            return True
        connection.close()
        return False

    def resign(self) -> None:
        """Give the lead to whoever asks next, who can have it when this returns: a connection that is only closed keeps its
        lock until the database notices. Without a database nothing needs to be given."""
        if self._connection is None:
            return
        try:
            self._connection.execute(_RELEASE, {"key": KEY})
        except SQLAlchemyError:
            log.info("the lead goes with its connection, which is broken")
        self._drop()

    def _drop(self) -> None:
        """The connection isn't used again: with it goes the lock."""
        if self._connection is not None:
            self._connection.invalidate()
            self._connection.close()
            self._connection = None


def of_this_process() -> Leadership:
    leadership: Leadership = current_app.extensions.setdefault("leadership", Leadership())
    return leadership
