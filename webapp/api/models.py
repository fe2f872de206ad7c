"""Requests that may come twice."""

from datetime import datetime
from typing import Any

from sqlalchemy import JSON, String
from sqlalchemy.orm import Mapped, mapped_column

from webapp import clock
from webapp.database import UtcDateTime
from webapp.extensions import Base


class RepeatedRequest(Base):
    """The first answer to a request with an `Idempotency-Key`. The status is set before the transaction ends."""

    __tablename__ = "repeated_requests"

    # Whose: the id part of an API token.
    credential: Mapped[str] = mapped_column(String(64), primary_key=True)
    key: Mapped[str] = mapped_column(String(255), primary_key=True)
    # HMAC-SHA-256 of method, path and body: the same key for something else is a mistake.
    request_digest: Mapped[str] = mapped_column(String(64))
    status: Mapped[int | None] = mapped_column()
    body: Mapped[Any | None] = mapped_column(JSON)
    created_at: Mapped[datetime] = mapped_column(UtcDateTime, default=clock.now, index=True)
