"""What the dashboard shows. A handful of queries, as many for a million tasks as for one."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime

from sqlalchemy import func, literal, select
from sqlalchemy.orm import joinedload

from webapp import clock
from webapp.extensions import db
from webapp.tasks.models import Task
from webapp.tasks.rules import ACTIVE
from webapp.tasks.unplaced import Unplaced, unplaced
from webapp.workers import keys
from webapp.workers.listing import Shown

RUNNING_ROWS = 10
LATEST_ROWS = 8
FAILED_ROWS = 5


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


def failed(organisation_id: str, since: datetime) -> Sequence[Task]:
    """What failed last."""
    is_failed = Task.status == literal("failed", literal_execute=True)  # or its index isn't found
    query = select(Task).where(Task.organisation_id == organisation_id, is_failed, Task.ended_at >= since)
    query = query.order_by(Task.ended_at.desc()).limit(FAILED_ROWS)
    return db.session.scalars(query.options(joinedload(Task.worker))).all()


@dataclass(frozen=True)
class Ask:
    """Something of a higher domain that a person should look at. The words are others' words: a page escapes them."""

    key: str  # tells it from the others on the page
    name: str
    words: str
    endpoint: str
    arguments: Mapping[str, str]


# Filled by create_app: what other domains ask of a person, of an organisation.
others_ask: list[Callable[[str], Sequence[Ask]]] = []


@dataclass(frozen=True)
class Needs:
    """What only a person can put right."""

    pending: Sequence[Shown]
    quarantined: Sequence[Shown]
    # Seen as two machines at once.
    cloned: Sequence[Shown]
    # Its agent takes no more work, or its disk is nearly full.
    troubled: Sequence[Shown]
    unplaced: Unplaced
    # Their keys are due for a fresh one: said quietly, and counted nowhere.
    old_keys: Sequence[Shown]
    others: Sequence[Ask]

    @property
    def count(self) -> int:
        each = (self.pending, self.quarantined, self.cloned, self.troubled, self.others)
        return sum(map(len, each)) + (self.unplaced.count > 0)


def needs(organisation_id: str, rows: Sequence[Shown]) -> Needs:
    at_work = [row for row in rows if row.worker.status == "approved"]
    old = keys.old_ones(organisation_id)
    here = [row.worker for row in rows if row.status not in ("revoked", "archived")]
    return Needs(
        pending=[row for row in rows if row.status == "pending"],
        quarantined=[row for row in rows if row.status == "quarantined"],
        cloned=[row for row in at_work if row.worker.twin_seen_at],
        troubled=[row for row in at_work if row.trouble],
        unplaced=unplaced(organisation_id, here),
        old_keys=[row for row in at_work if row.worker.id in old and row.status != "archived"],
        others=[ask for asked_by in others_ask for ask in asked_by(organisation_id)],
    )
