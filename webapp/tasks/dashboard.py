"""What the dashboard shows. A handful of queries, as many for a million tasks as for one."""

from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import datetime, timedelta

from sqlalchemy import BigInteger, func, select, type_coerce
from sqlalchemy.orm import joinedload

from webapp import clock
from webapp.extensions import db
from webapp.tasks.models import Task
from webapp.tasks.rules import ACTIVE

HOURS = 24
HOUR_MS = 3_600_000
RUNNING_ROWS = 10
LATEST_ROWS = 10


@dataclass(frozen=True)
class Active:
    """How many tasks there are in a status, and since when the oldest of them waits to end."""

    count: int = 0
    oldest: datetime | None = None


def active(organisation_id: str) -> dict[str, Active]:
    """By status, of those that haven't ended. Read from the index alone: an id tells when it was made."""
    query = (
        select(Task.status, func.count(), func.min(Task.id))
        .where(Task.organisation_id == organisation_id, Task.status.in_(ACTIVE))
        .group_by(Task.status)
    )
    return {status: Active(count, made_at(oldest)) for status, count, oldest in db.session.execute(query)}


def made_at(task_id: str) -> datetime:
    """The time in a UUIDv7."""
    return clock.from_ms(int(task_id[:8] + task_id[9:13], 16))


def running(organisation_id: str) -> Sequence[Task]:
    """Those that run longest first."""
    query = select(Task).where(Task.organisation_id == organisation_id, Task.status == "running")
    return db.session.scalars(
        query.order_by(Task.id).limit(RUNNING_ROWS).options(joinedload(Task.worker))
    ).all()


def latest(organisation_id: str) -> Sequence[Task]:
    query = select(Task).where(Task.organisation_id == organisation_id).order_by(Task.id.desc())
    return db.session.scalars(query.limit(LATEST_ROWS).options(joinedload(Task.worker))).all()


@dataclass
class Hour:
    """What ended in one hour. Durations in seconds, of the tasks that ran at all."""

    begins: datetime
    completed: int = 0
    failed: int = 0
    ran: int = 0
    ran_s: float = 0.0
    longest_s: float = 0.0

    @property
    def mean_s(self) -> float | None:
        return self.ran_s / self.ran if self.ran else None


@dataclass
class Day:
    """The last 24 hours, by the hour; the last one goes on."""

    hours: list[Hour] = field(default_factory=list)
    last_failed_at: datetime | None = None

    @property
    def completed(self) -> int:
        return sum(hour.completed for hour in self.hours)

    @property
    def failed(self) -> int:
        return sum(hour.failed for hour in self.hours)

    @property
    def ended(self) -> int:
        return self.completed + self.failed

    @property
    def mean_s(self) -> float | None:
        ran = sum(hour.ran for hour in self.hours)
        return sum(hour.ran_s for hour in self.hours) / ran if ran else None

    @property
    def longest_s(self) -> float:
        return max((hour.longest_s for hour in self.hours), default=0.0)


def day(organisation_id: str) -> Day:
    """One grouped query over the index of ended tasks."""
    this_hour = clock.now().replace(minute=0, second=0, microsecond=0)
    begins = this_hour - timedelta(hours=HOURS - 1)
    found = Day([Hour(begins + timedelta(hours=number)) for number in range(HOURS)])
    ended, started = (type_coerce(column, BigInteger) for column in (Task.ended_at, Task.started_at))
    bucket = (ended - clock.to_ms(begins)) // HOUR_MS
    took = ended - started
    query = (
        select(
            bucket,
            Task.status,
            func.count(),
            func.count(took),
            func.sum(took),
            func.max(took),
            func.max(ended),
        )
        .where(Task.organisation_id == organisation_id, Task.ended_at >= begins)
        .group_by(bucket, Task.status)
    )
    for number, status, count, ran, ran_ms, longest_ms, last_ms in db.session.execute(query):
        hour = found.hours[min(int(number), HOURS - 1)]
        hour.ran += ran
        hour.ran_s += float(ran_ms or 0) / 1000
        hour.longest_s = max(hour.longest_s, float(longest_ms or 0) / 1000)
        if status == "completed":
            hour.completed += count
        elif status == "failed":
            hour.failed += count
            last = clock.from_ms(int(last_ms))
            found.last_failed_at = max(last, found.last_failed_at or last)
    return found
