"""The only clock. Tests move it with `shift`; leases use the database's own time through `sql_now()`."""

import time
from datetime import UTC, datetime, timedelta
from typing import overload

from sqlalchemy import BigInteger, ColumnElement, literal
from sqlalchemy.ext.compiler import compiles
from sqlalchemy.sql.compiler import SQLCompiler
from sqlalchemy.sql.functions import FunctionElement

_shift = timedelta(0)


def shift(by: timedelta) -> None:
    """Move the clock of this process, SQL included. For tests."""
    global _shift  # noqa: PLW0603
    _shift += by


def reset() -> None:
    global _shift  # noqa: PLW0603
    _shift = timedelta(0)


def now() -> datetime:
    """The time here, aware, UTC."""
    return datetime.now(UTC) + _shift


def monotonic() -> float:
    """Seconds that only grow: for waits inside this process, never stored."""
    return time.monotonic() + _shift.total_seconds()


def to_ms(moment: datetime) -> int:
    return round(moment.timestamp() * 1000)


def from_ms(value: int) -> datetime:
    return datetime.fromtimestamp(value / 1000, UTC)


@overload
def wire(moment: datetime) -> str: ...
@overload
def wire(moment: None) -> None: ...
@overload
def wire(moment: datetime | None) -> str | None: ...
def wire(moment: datetime | None) -> str | None:
    """RFC 3339, UTC, milliseconds: as every time goes over the network."""
    if moment is None:
        return None
    return moment.astimezone(UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")


class DatabaseNow(FunctionElement[int]):
    """Milliseconds since 1970 by the database's clock."""

    type = BigInteger()  # what is added to it, too: a month in milliseconds is more than 32 bits
    inherit_cache = True


@compiles(DatabaseNow, "sqlite")
def _sqlite_now(element: DatabaseNow, compiler: SQLCompiler, **kw: object) -> str:
    return "CAST(ROUND((julianday('now') - 2440587.5) * 86400000.0) AS INTEGER)"


@compiles(DatabaseNow, "postgresql")
def _postgresql_now(element: DatabaseNow, compiler: SQLCompiler, **kw: object) -> str:
    return "CAST(EXTRACT(EPOCH FROM clock_timestamp()) * 1000 AS BIGINT)"


def sql_now(plus_s: float = 0) -> ColumnElement[int]:
    """Now, in milliseconds, as the database sees it, plus some seconds: what `UtcDateTime` columns compare with."""
    return DatabaseNow() + literal(lease_ms(plus_s), BigInteger())


def lease_ms(seconds: float) -> int:
    """What a prepared statement adds to the database's now."""
    return round((_shift.total_seconds() + seconds) * 1000)
