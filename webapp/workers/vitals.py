"""Vitals over the last day: a sample of each worker now and then, so that its page shows them after a restart, too."""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta

from sqlalchemy import delete, insert, select

from webapp import clock
from webapp.database import run_many, table_of, transaction
from webapp.extensions import db
from webapp.workers import presence
from webapp.workers.models import Vitals, Worker
from webapp.workers.schemas import Metrics

EVERY = timedelta(minutes=5)
KEPT = timedelta(hours=24)
# Beyond this between two samples the worker was away, or the server: a hole, not a line across it.
GAP = 2.5  # times EVERY
BATCH = 5000
NAMES = ("cpu_percent", "memory_percent", "disk_free_bytes", "load_1m")

_vitals = table_of(Vitals)


def sample() -> None:
    """Housekeeping: one row for each worker that has said how it is since the last time."""
    now = clock.now()
    said = presence.heard_since(now - EVERY)
    rows = [{"worker_id": key, "at": now, **metrics.model_dump(include=set(NAMES))} for key, metrics in said]
    if rows:
        with transaction() as session:
            # One may have been removed meanwhile; the others can't be until this is done.
            known = select(Worker.id).where(Worker.id.in_([row["worker_id"] for row in rows]))
            kept = set(session.scalars(known.with_for_update(read=True, key_share=True)))
            run_many(insert(_vitals), [row for row in rows if row["worker_id"] in kept])


def remove_old() -> bool:
    """Housekeeping: what is older than a day. Returns whether there may be more."""
    old = select(Vitals.at).where(Vitals.at < clock.now() - KEPT).order_by(Vitals.at).limit(BATCH)
    with transaction() as session:
        times = session.scalars(old).all()
        if times:
            session.execute(delete(Vitals).where(Vitals.at <= times[-1]))
    return len(times) == BATCH


@dataclass(frozen=True)
class Day:
    """The last 24 hours of one worker, oldest first. `x` counts in steps of EVERY from the beginning of the day."""

    samples: Sequence[tuple[float, Vitals | Metrics]] = ()

    def points(self, name: str) -> list[tuple[float, float]]:
        """(x, value) of one vital, where it was measured."""
        found = [(x, getattr(sample, name)) for x, sample in self.samples]
        return [(x, float(value)) for x, value in found if value is not None]


WIDTH = KEPT / EVERY


def day(worker: Worker) -> Day:
    """What is stored, and after it what this process has heard since: that is newer and closer together."""
    now = clock.now()
    stored = _stored(worker.id, now - KEPT)
    # In whole steps, or every picture would change with every second.
    ends = math.ceil(now.timestamp() / EVERY.total_seconds())
    samples: list[tuple[float, Vitals | Metrics]] = [(round(_x(row.at, ends)), row) for row in stored]
    seen = presence.of(worker)
    since = stored[-1].at if stored else now - KEPT
    for at, metrics in seen.samples if seen else ():
        if at > since:
            samples.append((round(_x(at, ends), 1), metrics))
    return Day([(x, sample) for x, sample in samples if x >= 0])


def _x(at: datetime, ends: int) -> float:
    return at.timestamp() / EVERY.total_seconds() - ends + WIDTH


def _stored(worker_id: str, since: datetime) -> Sequence[Vitals]:
    query = select(Vitals).where(Vitals.worker_id == worker_id, Vitals.at >= since)
    return db.session.scalars(query.order_by(Vitals.at)).all()
