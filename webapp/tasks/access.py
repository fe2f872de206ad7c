"""The only way to load a task for a person or a worker: a stranger gets 404."""

from sqlalchemy import select
from sqlalchemy.orm import joinedload, selectinload

from webapp.auth.actor import Actor
from webapp.errors import Forbidden, NotFound
from webapp.extensions import db
from webapp.tasks.models import Attempt, Task


def task_for(actor: Actor, task_id: str) -> Task:
    query = select(Task).where(Task.id == task_id, Task.organisation_id == actor.organisation_id)
    task = db.session.scalar(query.options(joinedload(Task.worker), selectinload(Task.attempts)))
    if task is None:
        raise NotFound("There is no such task here.")
    return task


def writable_task_for(actor: Actor, task_id: str) -> Task:
    task = task_for(actor, task_id)
    if not actor.may("operator"):
        raise Forbidden(f"This needs the role operator; yours is {actor.role}. Ask an admin.")
    return task


def attempt_of(task: Task, attempt: str | None) -> Attempt | None:
    """An attempt by its id or its number; without either the newest, which may not exist yet."""
    if not attempt:
        return task.attempts[-1] if task.attempts else None
    for known in task.attempts:
        if attempt in (known.id, str(known.number)):
            return known
    raise NotFound("This task has no such attempt.")
