"""The last resort: a task is ended here, whatever its worker does."""

from sqlalchemy import select, update

from webapp.auth import audit
from webapp.auth.actor import Actor
from webapp.database import run, transaction
from webapp.errors import Conflict, NotFound
from webapp.tasks import statements
from webapp.tasks.ending import Ending, end_attempt, end_queued
from webapp.tasks.models import Task
from webapp.tasks.rules import TERMINAL


def force_finish(actor: Actor, task: Task, reason: str = "") -> None:
    """End it as cancelled, now. Its worker isn't asked: it learns with its next call that the attempt isn't its own.

    Raises Conflict when the task has ended: the first end counts.
    """
    words = f"force-finished by {actor.name}" + (f": {reason}" if reason else "")
    ending = Ending("cancelled", error=words)
    now = select(Task.status, Task.attempt_id).where(Task.id == task.id).with_for_update()
    with transaction() as session:
        found = session.execute(now).one_or_none()
        if found is None:
            raise NotFound("There is no such task here.")
        if found.status in TERMINAL:
            raise Conflict(f"This task has ended already: {found.status}.")
        # Whose wish ended it: not whoever may have asked for a cancel before.
        session.execute(update(Task).where(Task.id == task.id).values(cancelled_by=None))
        if found.status == "queued":
            end_queued(task.id, ending)
        else:
            end_attempt(run(statements.REPORTED_LOCKED, attempt_id=found.attempt_id).one(), ending)
        before, after = {"status": found.status}, {"status": "cancelled", "reason": reason}
        audit.record(actor, "task.force-finish", task.name, task.id, before, after)
