"""Who was seen when, in memory: a sync that finds nothing writes nothing to the database."""

from collections import deque
from dataclasses import dataclass, field
from datetime import datetime, timedelta

from sqlalchemy import bindparam, update

from webapp import clock
from webapp.database import run_many, table_of, transaction
from webapp.workers.models import Worker
from webapp.workers.schemas import Metrics

SAMPLE_EVERY = timedelta(minutes=1)
SAMPLES = 60

_workers = table_of(Worker)
_SAVE = (
    update(_workers)
    .where(_workers.c.id == bindparam("seen_id"))
    .values(last_seen_at=bindparam("last_seen_at"))
)


@dataclass
class Presence:
    seen_at: datetime
    address: str = ""
    session_id: str = ""
    accepting: bool = True
    metrics: Metrics = field(default_factory=Metrics)
    # Cancels that this session of the agent was told of.
    told: set[str] = field(default_factory=set)
    samples: deque[tuple[datetime, Metrics]] = field(default_factory=lambda: deque(maxlen=SAMPLES))


_presences: dict[str, Presence] = {}
_unsaved: set[str] = set()


def seen(worker_id: str, address: str) -> Presence:
    """Any authenticated call of a worker proves that it lives. Returns what is known of it."""
    presence = _presences.setdefault(worker_id, Presence(clock.now()))
    presence.seen_at = clock.now()
    presence.address = address
    _unsaved.add(worker_id)
    return presence


def begin_session(presence: Presence, session_id: str) -> None:
    """An agent that started anew has forgotten what it was told."""
    if presence.session_id != session_id:
        presence.session_id = session_id
        presence.told.clear()


def told(worker_id: str) -> set[str]:
    """The attempts whose cancel this worker has been told. Changed in place."""
    presence = _presences.get(worker_id)
    return presence.told if presence else set()


def measured(presence: Presence, metrics: Metrics) -> None:
    """Vitals for the page: the newest, and one a minute of the last hour."""
    presence.metrics = metrics
    if not presence.samples or presence.seen_at - presence.samples[-1][0] >= SAMPLE_EVERY:
        presence.samples.append((presence.seen_at, metrics))


def of(worker: Worker) -> Presence | None:
    return _presences.get(worker.id)


def seen_at(worker: Worker) -> datetime | None:
    presence = _presences.get(worker.id)
    return presence.seen_at if presence else worker.last_seen_at


def is_live(worker_id: str, within_s: float) -> bool:
    presence = _presences.get(worker_id)
    return presence is not None and clock.now() - presence.seen_at <= timedelta(seconds=within_s)


def forget(worker_id: str) -> None:
    _presences.pop(worker_id, None)
    _unsaved.discard(worker_id)


def save() -> None:
    """Housekeeping: write down who was seen since the last time, for after a restart."""
    rows = [
        {"seen_id": key, "last_seen_at": _presences[key].seen_at}
        for key in sorted(_unsaved)
        if key in _presences
    ]
    _unsaved.clear()
    if rows:
        with transaction():
            run_many(_SAVE, rows)  # one that was removed meanwhile is passed over
