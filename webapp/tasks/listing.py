"""Lists of tasks: filters, pages by key, counts."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime

from sqlalchemy import Select, false, func, or_, select
from sqlalchemy.orm import joinedload

from webapp.extensions import db
from webapp.tasks.models import Attempt, Placement, Task
from webapp.tasks.rules import ACTIVE
from webapp.workers.models import Worker
from webapp.workers.rules import label_problem


@dataclass(frozen=True)
class Filter:
    """What a person asked for. `status` may be `waiting` (queued or assigned) or any stored one."""

    status: str = ""
    tool: str = ""
    worker_id: str = ""
    q: str = ""
    since: datetime | None = None
    # What they ask of a worker: a key, or key=value.
    label: str = ""
    project_id: str = ""


def tasks(organisation_id: str, wanted: Filter, after: str | None = None, limit: int = 50) -> Sequence[Task]:
    """Newest first; `after` is the id of the last task of the page before. Ids sort by time, so pages are by key."""
    query = _filtered(select(Task), organisation_id, wanted).options(joinedload(Task.worker))
    if after:
        query = query.where(Task.id < after)
    return db.session.scalars(query.order_by(Task.id.desc()).limit(limit)).all()


@dataclass(frozen=True)
class Page:
    """Tasks, newest first, and where its neighbours begin: `newer` is the next page's `before`, `older` its `after`."""

    rows: Sequence[Task]
    newer: str | None
    older: str | None


def page(
    organisation_id: str, wanted: Filter, size: int, after: str | None = None, before: str | None = None
) -> Page:
    """The page that follows a task, or that comes before one; without either, or where nothing newer is left, the first."""
    if before:
        found = newer(organisation_id, wanted, before, size + 1)
        if len(found) > size:
            return Page(found[1:], found[1].id, found[-1].id)
    found = tasks(organisation_id, wanted, None if before else after, size + 1)
    rows = found[:size]
    is_first = before or not after
    return Page(
        rows,
        None if is_first or not rows else rows[0].id,
        rows[-1].id if len(found) > size else None,
    )


def newer(organisation_id: str, wanted: Filter, before: str, limit: int) -> Sequence[Task]:
    """The page on the other side of a task: those just newer than it, newest first too."""
    query = _filtered(select(Task), organisation_id, wanted).options(joinedload(Task.worker))
    query = query.where(Task.id > before).order_by(Task.id).limit(limit)
    return db.session.scalars(query).all()[::-1]


def _filtered(query: Select[Task], organisation_id: str, wanted: Filter) -> Select[Task]:
    query = query.where(Task.organisation_id == organisation_id)
    if wanted.status == "waiting":
        query = query.where(Task.status.in_(("queued", "assigned")))
    elif wanted.status:
        query = query.where(Task.status == wanted.status)
    if wanted.tool:
        query = query.where(Task.tool == wanted.tool)
    if wanted.worker_id:
        query = query.where(Task.worker_id == wanted.worker_id)
    if wanted.project_id:
        query = query.where(Task.project_id == wanted.project_id)
    if wanted.label:
        query = query.where(Task.placement_id.in_(_asking_for(organisation_id, wanted.label)))
    if wanted.since:
        query = query.where(Task.created_at >= wanted.since)
    if wanted.q:
        query = query.where(
            or_(Task.name.icontains(wanted.q, autoescape=True), Task.id.startswith(wanted.q, autoescape=True))
        )
    return query


def _asking_for(organisation_id: str, label: str) -> Select[str]:
    """The placements that ask for this label. Few: tasks that ask the same share one."""
    key, equals, value = label.partition("=")
    if label_problem({key: value}):
        return select(Placement.id).where(false())  # it would be a path into JSON of another kind
    query = select(Placement.id).where(Placement.organisation_id == organisation_id)
    if equals:
        return query.where(Placement.labels[key].as_string() == value)
    named = func.json_each(Placement.labels).table_valued("key", name="named")
    return query.where(select(named.c.key).where(named.c.key == key).exists())


def active_counts(organisation_id: str) -> dict[str, int]:
    """{status: tasks} of those that haven't ended."""
    query = select(Task.status, func.count()).where(
        Task.organisation_id == organisation_id, Task.status.in_(ACTIVE)
    )
    return {str(status): count for status, count in db.session.execute(query.group_by(Task.status))}


def running_count(organisation_id: str) -> int:
    query = select(func.count()).where(Task.organisation_id == organisation_id, Task.status == "running")
    return db.session.scalar(query) or 0


def newest_id(organisation_id: str) -> str | None:
    query = select(Task.id).where(Task.organisation_id == organisation_id)
    return db.session.scalar(query.order_by(Task.id.desc()).limit(1))


def is_kept(organisation_id: str, task_id: str) -> bool:
    """Whether there still is such a task: retention may have removed it."""
    query = select(Task.id).where(Task.id == task_id, Task.organisation_id == organisation_id)
    return db.session.scalar(query) is not None


def held_by(worker_id: str) -> Sequence[Task]:
    """What a worker is assigned and runs."""
    held = select(Attempt.task_id).where(Attempt.worker_id == worker_id, Attempt.ended_at.is_(None))
    return db.session.scalars(select(Task).where(Task.id.in_(held)).order_by(Task.id)).all()


def held_by_class(worker_id: str) -> dict[str, int]:
    """{slot class: attempts} of what a worker holds."""
    query = (
        select(Placement.slot_class, func.count())
        .join(Task, Task.placement_id == Placement.id)
        .join(Attempt, Attempt.task_id == Task.id)
        .where(Attempt.worker_id == worker_id, Attempt.ended_at.is_(None))
        .group_by(Placement.slot_class)
    )
    return {str(slot_class): count for slot_class, count in db.session.execute(query)}


def ended_on(worker_id: str, limit: int) -> Sequence[Task]:
    """What ended on a worker, newest first."""
    query = select(Task).where(Task.worker_id == worker_id, Task.ended_at.is_not(None))
    return db.session.scalars(query.order_by(Task.ended_at.desc()).limit(limit)).all()


def failed_in_row(worker_id: str) -> Sequence[Task]:
    """Whose attempts failed last on a worker for reasons of the machine's, as far as they are still here."""
    worker = db.session.get(Worker, worker_id)
    if worker is None or not worker.failures_in_row:
        return []
    return db.session.scalars(select(Task).where(Task.id.in_(worker.failures_in_row)).order_by(Task.id)).all()
