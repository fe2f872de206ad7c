"""Named locks as people see them: who holds which, who waits, and breaking one."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from sqlalchemy import Row, delete, select

from webapp import clock
from webapp.auth import audit
from webapp.auth.actor import Actor
from webapp.database import after_commit, run, transaction
from webapp.errors import NotFound
from webapp.live.bus import bus, organisation_topic, task_topic
from webapp.tasks import dispatch, placements, statements
from webapp.tasks.answers import LockAnswer, LockHolder, LockWaiter
from webapp.tasks.locks import held, is_due, wanted
from webapp.tasks.models import Task

_tasks = statements.tasks
QUEUE_SHOWN = 50


@dataclass(frozen=True)
class Lock:
    """A named lock with its holder (`task_id`, `task`, `worker`, `taken_at`; None: free) and who waits, next first."""

    name: str
    holder: Row[Any] | None
    queue: list[Row[Any]]

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
            "taken_at": clock.wire(clock.from_ms(holder.taken_at)),
        }


def all_of(organisation_id: str) -> list[Lock]:
    """Every lock that is held or waited for, by name."""
    names = select(held.c.name).where(held.c.organisation_id == organisation_id)
    waited = (
        select(wanted.c.name)
        .join(_tasks, _tasks.c.placement_id == wanted.c.placement_id)
        .where(_tasks.c.organisation_id == organisation_id, _tasks.c.status == "queued")
    )
    found = run(names.union(waited)).scalars().all()
    return [named(organisation_id, name) for name in sorted(found)]


def named(organisation_id: str, name: str) -> Lock:
    """One lock; free and with an empty queue where nobody has ever asked for it."""
    return Lock(name, _holder(organisation_id, name), list(_queue(organisation_id, name)))


def _holder(organisation_id: str, name: str) -> Row[Any] | None:
    workers = statements.workers
    query = (
        select(
            held.c.task_id,
            held.c.attempt_id,
            held.c.taken_at,
            _tasks.c.name.label("task"),
            workers.c.name.label("worker"),
        )
        .outerjoin(_tasks, _tasks.c.id == held.c.task_id)
        .outerjoin(workers, workers.c.id == _tasks.c.worker_id)
        .where(held.c.organisation_id == organisation_id, held.c.name == name)
    )
    return run(query).first()


def _queue(organisation_id: str, name: str) -> Sequence[Row[Any]]:
    query = (
        select(_tasks.c.id.label("task_id"), _tasks.c.name.label("task"))
        .join(wanted, wanted.c.placement_id == _tasks.c.placement_id)
        .where(wanted.c.name == name, _tasks.c.organisation_id == organisation_id, is_due(_tasks))
        .order_by(_tasks.c.id)
        .limit(QUEUE_SHOWN)
    )
    return run(query, now_ms=clock.to_ms(clock.now())).all()


def obstacle(task: Task) -> str | None:
    """What keeps a queued task from its locks, in words; None when nothing does."""
    for name in placements.wanted(task.placement_id).locks:
        lock = named(task.organisation_id, name)
        if lock.holder is not None and lock.holder.task_id != task.id:
            return f"lock {name} held by {lock.holder.task or 'a task that is gone'}"
        ahead = [row for row in lock.queue if row.task_id < task.id]
        if ahead:
            return f"next for lock {name} is {ahead[0].task}"
    return None


def break_lock(actor: Actor, name: str) -> None:
    """Free a lock by force. Its holder isn't told and runs on: a person has decided that this does no harm.

    Raises NotFound when nobody holds it.
    """
    with transaction():
        holder = _holder(actor.organisation_id, name)
        if holder is None:
            raise NotFound(f"Nobody holds the lock {name}.")
        run(delete(held).where(held.c.organisation_id == actor.organisation_id, held.c.name == name))
        audit.record(
            actor, "lock.break", name, holder.task_id, before={"task": holder.task, "worker": holder.worker}
        )
        topics = (task_topic(holder.task_id), organisation_topic(actor.organisation_id))
        after_commit(lambda: bus.wake(*topics))
        after_commit(dispatch.wake_for_queue)
