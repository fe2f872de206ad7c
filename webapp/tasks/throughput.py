"""How many tasks ended, how, and how long they took: hour by hour, for an organisation or for one worker.

An hour that is over never changes, so it is counted once a process. What a page costs then is the hour that goes on.
"""

import time
from collections import Counter, OrderedDict
from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import datetime
from typing import Literal

from flask import current_app
from sqlalchemy import BigInteger, ColumnElement, case, func, select, type_coerce

from webapp import clock
from webapp.extensions import db
from webapp.tasks.models import Task

DAY, WEEK = 24, 168  # hours
HOUR_MS = 3_600_000
# What ended in an hour may be committed a little after it.
SETTLED_MS = 120_000
# Whose hours are remembered.
MOST = 500


@dataclass(frozen=True)
class Whose:
    kind: Literal["organisation", "worker"]
    id: str

    @property
    def is_theirs(self) -> ColumnElement[bool]:
        return (Task.organisation_id if self.kind == "organisation" else Task.worker_id) == self.id


@dataclass
class Ended:
    """What ended in some time. `took`: {milliseconds, to two digits: tasks}, of those that ran at all."""

    completed: int = 0
    failed: int = 0
    took: Counter[int] = field(default_factory=Counter)

    def __iadd__(self, other: "Ended") -> "Ended":
        self.completed += other.completed
        self.failed += other.failed
        self.took += other.took
        return self

    @property
    def count(self) -> int:
        return self.completed + self.failed

    @property
    def success_percent(self) -> float | None:
        """Rounded down, so that 100 means all of them."""
        return self.completed * 1000 // self.count / 10 if self.count else None

    def took_s(self, share: float) -> float | None:
        """What this share of them stayed within: 0.5 is the median. Right to two digits."""
        left = share * self.took.total()
        for took_ms in sorted(self.took):
            left -= self.took[took_ms]
            if left <= 0:
                return took_ms / 1000
        return None


@dataclass
class Column:
    """Some hours, as one column of a chart."""

    begins: datetime
    ended: Ended


def columns(whose: Whose, hours: int, each: int = 1) -> list[Column]:
    """The last so many hours, `each` of them a column; the last one goes on."""
    known = _hours(whose, hours)
    last = _this_hour()
    found = []
    for begins in range(last - hours + 1, last + 1, each):
        ended = Ended()
        for hour in range(begins, begins + each):
            ended += known.get(hour, Ended())
        found.append(Column(clock.from_ms(begins * HOUR_MS), ended))
    return found


def whole(parts: Sequence[Column]) -> Ended:
    ended = Ended()
    for part in parts:
        ended += part.ended
    return ended


def _this_hour() -> int:
    return clock.to_ms(clock.now()) // HOUR_MS


Hours = dict[int, Ended]


def _hours(whose: Whose, count: int) -> Hours:
    """{number of the hour since 1970: what ended}; hours that are known and over aren't asked for again."""
    last = _this_hour()
    first = last - count + 1
    known = _remembered(whose)
    settled = (clock.to_ms(clock.now()) - SETTLED_MS) // HOUR_MS  # hours before this one
    missing = next((hour for hour in range(first, settled) if hour not in known), settled)
    fresh: Hours = {}
    for begins in range(missing, last + 1, DAY):
        fresh |= _count(whose, begins, min(begins + DAY, last + 1))
        time.sleep(0)  # others go on meanwhile: a busy day takes some ten milliseconds
    for hour in range(missing, settled):
        known[hour] = fresh.get(hour, Ended())
    for hour in [hour for hour in known if hour <= last - WEEK]:
        del known[hour]
    return {**known, **fresh}


def _remembered(whose: Whose) -> Hours:
    """Of this app: another one has another database."""
    memory: OrderedDict[Whose, Hours] = current_app.extensions.setdefault("throughput", OrderedDict())
    hours = memory.setdefault(whose, {})
    memory.move_to_end(whose)
    if len(memory) > MOST:
        memory.popitem(last=False)
    return hours


def _count(whose: Whose, first: int, end: int) -> Hours:
    """One grouped query over the index of ended tasks."""
    ended, started = (type_coerce(column, BigInteger) for column in (Task.ended_at, Task.started_at))
    hour, took = ended // HOUR_MS, _two_digits(ended - started)
    query = (
        select(hour, Task.status, took, func.count())
        .where(whose.is_theirs, ended >= first * HOUR_MS, ended < end * HOUR_MS)
        .where(Task.status.in_(("completed", "failed")))
        .group_by(hour, Task.status, took)
    )
    found: Hours = {}
    for number, status, took_ms, count in db.session.execute(query):
        part = found.setdefault(int(number), Ended())
        if status == "completed":
            part.completed += count
        else:
            part.failed += count
        if took_ms is not None:
            part.took[int(took_ms)] += count
    return found


def _two_digits(took: ColumnElement[int]) -> ColumnElement[int]:
    """Rounded down to its first two digits: few enough to count, exact enough for people."""
    step = case(*((took < 10**digits, 10 ** (digits - 2)) for digits in range(2, 10)), else_=10**8)
    return (took // step) * step
