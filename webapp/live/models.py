"""Events as they are stored: once each, numbered without holes in their stream."""

from datetime import datetime
from typing import Any

from sqlalchemy import JSON, BigInteger, ForeignKey, Index, Integer, String
from sqlalchemy.orm import Mapped, mapped_column

from webapp import clock
from webapp.database import UtcDateTime
from webapp.extensions import Base

# SQLite numbers rows by itself only in a column that is exactly INTEGER.
BigId = BigInteger().with_variant(Integer, "sqlite")


class Stream(Base):
    """`task:{id}` and so on. Its row is the lock under which the next `seq` is taken."""

    __tablename__ = "streams"

    name: Mapped[str] = mapped_column(String(64), primary_key=True)
    seq: Mapped[int] = mapped_column(default=1)


class Event(Base):
    __tablename__ = "events"
    __table_args__ = (
        Index("ix_events_stream", "stream", "seq", unique=True),
        Index("ix_events_organisation", "organisation_id", "cursor"),
    )

    cursor: Mapped[int] = mapped_column(BigId, primary_key=True, autoincrement=True)
    stream: Mapped[str] = mapped_column(String(64))
    seq: Mapped[int] = mapped_column()
    organisation_id: Mapped[str] = mapped_column(ForeignKey("organisations.id"))
    project_id: Mapped[str | None] = mapped_column(String(36))
    type: Mapped[str] = mapped_column(String(64))
    at: Mapped[datetime] = mapped_column(UtcDateTime, default=clock.now)
    # The fields of the event's class in garageswarm.events, without those that every event has.
    data: Mapped[dict[str, Any]] = mapped_column(JSON)
