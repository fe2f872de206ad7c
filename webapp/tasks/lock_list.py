"""Named locks as people see them: who holds which, who waits, and breaking one."""

from collections.abc import Collection
from dataclasses import dataclass
from typing import Any

from sqlalchemy import Row, delete, func, select

from webapp import clock
from webapp.auth import audit
from webapp.auth.actor import Actor
from webapp.database import after_commit, run, transaction
from webapp.errors import Conflict, NotFound
from webapp.live.bus import bus, organisation_topic, task_topic
from webapp.tasks import dispatch, placements, statements
from webapp.tasks.answers import LockAnswer, LockHolder, LockWaiter
from webapp.tasks.locks import held, is_due, wanted
from webapp.tasks.models import Task

_tasks = statements.tasks
QUEUE_SHOWN = 50


@dataclass(frozen=True)
class Lock:
    """A named lock with who waits, next first; `waiting` counts also those that `queue` leaves out.

    The holder has `attempt_id`, `task_id`, `task`, `worker_id`, `worker`, `taken_at`; None: free. A removed task or
    worker has no name.
    """

    name: str
    holder: Row[Any] | None
    queue: list[Row[Any]]

    @property
    def waiting(self) -> int:
        return self.queue[0].length if self.queue else 0

    def as_wire(self) -> LockAnswer:
        queue: list[LockWaiter] = [{"task_id": row.task_id, "task": row.task} for row in self.queue]
        return {"name": self.name, "holder": self._holder_as_wire(), "queue": queue}

    def _holder_as_wire(self) -> LockHolder | None:
        holder = self.holder
        if holder is None:
            return None
        return {
            "task_id": holder.task_id,
            "task": holder.task,
            "worker": holder.worker,
            "taken_at": clock.wire(holder.taken_at),
        }


@dataclass(frozen=True)
class Obstacle:
    """Why a task can't have one of its locks now: another task has it, or is before it in line."""

    lock: str
    task_id: str
    task: str | None
    is_held: bool
    ahead: int

    @property
    def words(self) -> str:
        if self.is_held:
            return f"lock {self.lock} held by {self.task or 'a task that is gone'}"
        return f"next for lock {self.lock} is {self.task}"


def all_of(organisation_id: str) -> list[Lock]:
    """Every lock that is held or waited for, by name. Two queries, however many there are."""
    holders, lines = _holders(organisation_id), _lines(organisation_id, QUEUE_SHOWN)
    return [Lock(name, holders.get(name), lines.get(name, [])) for name in sorted({*holders, *lines})]


def named(organisation_id: str, name: str) -> Lock:
    """One lock; free and with an empty queue where nobody has ever asked for it."""
    holders = _holders(organisation_id, [name])
    return Lock(name, holders.get(name), _lines(organisation_id, QUEUE_SHOWN, [name]).get(name, []))


def _holders(organisation_id: str, names: Collection[str] | None = None) -> dict[str, Row[Any]]:
    """{lock: who holds it}, of these names or of all."""
    workers = statements.workers
    query = (
        select(
            held.c.name.label("lock"),
            held.c.task_id,
            held.c.attempt_id,
            held.c.taken_at,
            _tasks.c.name.label("task"),
            workers.c.id.label("worker_id"),
            workers.c.name.label("worker"),
        )
        .outerjoin(_tasks, _tasks.c.id == held.c.task_id)
        .outerjoin(workers, workers.c.id == _tasks.c.worker_id)
        .where(held.c.organisation_id == organisation_id)
    )
    if names is not None:
        query = query.where(held.c.name.in_(names))
    return {row.lock: row for row in run(query)}


def _lines(
    organisation_id: str, most: int, names: Collection[str] | None = None, before: str | None = None
) -> dict[str, list[Row[Any]]]:
    """{lock: the first of those that wait for it, with `place` from 1 and the whole line's `length`}."""
    query = (
        select(
            wanted.c.name.label("lock"),
            _tasks.c.id.label("task_id"),
            _tasks.c.name.label("task"),
            func.row_number().over(partition_by=wanted.c.name, order_by=_tasks.c.id).label("place"),
            func.count().over(partition_by=wanted.c.name).label("length"),
        )
        .join(wanted, wanted.c.placement_id == _tasks.c.placement_id)
        .where(_tasks.c.organisation_id == organisation_id, is_due(_tasks))
    )
    if names is not None:
        query = query.where(wanted.c.name.in_(names))
    if before is not None:
        query = query.where(_tasks.c.id < before)
    line = query.subquery()
    first = select(line).where(line.c.place <= most).order_by(line.c.lock, line.c.place)
    found: dict[str, list[Row[Any]]] = {}
    for row in run(first, now_ms=clock.to_ms(clock.now())):
        found.setdefault(row.lock, []).append(row)
    return found


def obstacle(task: Task) -> Obstacle | None:
    """What keeps a queued task from its locks; None when nothing does."""
    names = placements.wanted(task.placement_id).locks
    if not names:
        return None
    holders = _holders(task.organisation_id, names)
    ahead = _lines(task.organisation_id, 1, names, before=task.id)
    for name in names:
        count = ahead[name][0].length if name in ahead else 0
        if name in holders:
            holder = holders[name]
            return Obstacle(name, holder.task_id, holder.task, True, count)
        if name in ahead:
            first = ahead[name][0]
            return Obstacle(name, first.task_id, first.task, False, count)
    return None


def held_by(attempt_id: str | None) -> list[str]:
    """The locks that an attempt holds. Of those its task wants one is missing where somebody broke it."""
    query = select(held.c.name).where(held.c.attempt_id == attempt_id).order_by(held.c.name)
    return list(run(query).scalars()) if attempt_id else []


def break_lock(actor: Actor, name: str, attempt_id: str | None = None) -> None:
    """Free a lock by force. Its holder isn't told and runs on: a person has decided that this does no harm.

    `attempt_id`: the holder that the person saw. Raises NotFound when nobody holds it, Conflict when another one does.
    """
    with transaction():
        holder = _holders(actor.organisation_id, [name]).get(name)
        if holder is None:
            raise NotFound(f"Nobody holds the lock {name}.")
        if attempt_id not in (None, holder.attempt_id):
            raise Conflict(
                f"The lock {name} has changed hands: {holder.task or 'another task'} holds it now."
            )
        mine = (held.c.organisation_id == actor.organisation_id, held.c.name == name)
        freed = run(delete(held).where(*mine, held.c.attempt_id == holder.attempt_id))
        if not freed.rowcount:
            raise NotFound(f"Nobody holds the lock {name}.")  # it was given back a moment ago
        audit.record(
            actor, "lock.break", name, holder.task_id, before={"task": holder.task, "worker": holder.worker}
        )
        topics = (task_topic(holder.task_id), organisation_topic(actor.organisation_id))
        after_commit(lambda: bus.wake(*topics))
        after_commit(dispatch.wake_for_queue)
