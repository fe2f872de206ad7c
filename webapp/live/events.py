"""Record a fact in the transaction that makes it true; wake whoever watches after the commit."""

from collections.abc import Sequence
from typing import cast

from sqlalchemy import insert, select, text

from garageswarm.events import TaskEvent
from webapp import clock
from webapp.database import after_commit, run, run_many, table_of
from webapp.extensions import db
from webapp.live.answers import EventAnswer
from webapp.live.bus import bus, organisation_topic, project_topic
from webapp.live.models import Event

# The stream's row is the lock under which its numbers are taken, so they have no holes.
_TAKE_NUMBERS = text(
    "INSERT INTO streams (name, seq) VALUES (:name, :count) "
    "ON CONFLICT (name) DO UPDATE SET seq = streams.seq + :count RETURNING seq"
)
_NEW_EVENT = insert(table_of(Event))


def record(events: Sequence[TaskEvent], organisation_id: str, project_id: str | None = None) -> None:
    """Store events of one stream under its next numbers, in the transaction that is open."""
    stream = events[0].stream
    last = run(_TAKE_NUMBERS, name=stream, count=len(events)).scalar_one()
    rows = [
        {
            "stream": stream,
            "seq": last - len(events) + number,
            "organisation_id": organisation_id,
            "project_id": project_id,
            "type": event.type,
            "at": clock.now(),
            "data": event.data(),
        }
        for number, event in enumerate(events, 1)
    ]
    run_many(_NEW_EVENT, rows)
    topics = [
        stream,
        organisation_topic(organisation_id),
        *([project_topic(project_id)] if project_id else []),
    ]
    after_commit(lambda: bus.wake(*topics))


# `seq` is a 32-bit integer: PostgreSQL refuses to compare it with more.
LAST_SEQ = 2**31 - 1


def of_stream(stream: str, after: int = 0, limit: int = 200) -> Sequence[Event]:
    query = select(Event).where(Event.stream == stream, Event.seq > min(after, LAST_SEQ))
    return db.session.scalars(query.order_by(Event.seq).limit(limit)).all()


def newest(stream: str, limit: int = 100) -> Sequence[Event]:
    """The last ones, newest first."""
    query = select(Event).where(Event.stream == stream)
    return db.session.scalars(query.order_by(Event.seq.desc()).limit(limit)).all()


def as_wire(event: Event) -> EventAnswer:
    common: EventAnswer = {
        "type": event.type,
        "timestamp": clock.wire(event.at),
        "project_id": event.project_id,
        "stream": event.stream,
        "seq": event.seq,
        "epoch": 1,
        "cursor": event.cursor,
    }
    return cast(EventAnswer, {**common, **event.data})
