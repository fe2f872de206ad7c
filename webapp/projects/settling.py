"""What becomes of a checkout when its task begins and ends, however it ends.

Every statement names the task: one of an older operation changes nothing of a checkout that a newer one has.
"""

from sqlalchemy import select, update

from webapp.api.body import cleaned
from webapp.database import run, table_of
from webapp.extensions import db
from webapp.projects import access, removal
from webapp.projects.models import Checkout
from webapp.projects.operations import project_of, tell
from webapp.tasks.ending import Ending, end_queued
from webapp.tasks.models import Task
from webapp.workers.models import Worker

_checkouts = table_of(Checkout)
ERROR_LONGEST = 1000


def begun(task_id: str) -> None:
    """Its worker has begun. (The event of the beginning wakes whoever looks.)"""
    waits = (_checkouts.c.task_id == task_id, _checkouts.c.status == "pending")
    run(update(_checkouts).where(*waits).values(status="syncing"))


def ended(task_id: str) -> None:
    """Its task has ended for good. What the worker said before stands; without a word the checkout is what it was."""
    checkout = of_task(task_id)
    if checkout is None or checkout.ends_as is None:
        return
    if checkout.ends_as == "gone":
        removal.remove(checkout)
        return
    if checkout.status == "deleting":
        removal.keep(checkout.project_id)
    checkout.status, checkout.ends_as = checkout.ends_as, None
    checkout.error = cleaned(_words(db.session.get_one(Task, task_id, populate_existing=True)), ERROR_LONGEST)
    db.session.flush()
    tell(project_of(checkout))


def of_task(task_id: str) -> Checkout | None:
    """The checkout that this task works on still, locked. Everywhere in this order: the task's row, the project's, its."""
    its = Checkout.task_id == task_id
    project_id = db.session.scalar(select(Checkout.project_id).where(its))
    if project_id is None or access.find_locked(project_id) is None:
        return None
    query = select(Checkout).where(its).with_for_update()
    return db.session.scalar(query.execution_options(populate_existing=True))


def _words(task: Task) -> str:
    operation = str(task.input.get("operation") or "operation")
    if task.status == "completed":
        return f"The {operation} ended without saying how the checkout is. Its log may tell more."
    how = "was cancelled" if task.status == "cancelled" else "failed"
    return f"The {operation} {how}: {task.summary or 'its log may tell more'}"


def worker_revoked(worker: Worker) -> None:
    """What waits for it alone would wait in vain. What ran there has ended before this."""
    query = select(Task.id).join(Checkout, Checkout.task_id == Task.id)
    query = query.where(Checkout.worker_id == worker.id, Task.status == "queued")
    # The projects in one order everywhere: of two that end many at once, none has what the other waits for.
    for task_id in db.session.scalars(query.order_by(Checkout.project_id)).all():
        end_queued(task_id, Ending("failed", "worker_lost", f"{worker.name} was revoked"))


def worker_removed(worker: Worker) -> None:
    """Its checkouts go with it, and the projects that waited for just that."""
    worker_revoked(worker)
    query = select(Checkout.project_id, Checkout.id).where(Checkout.worker_id == worker.id)
    for project_id, checkout_id in db.session.execute(query.order_by(Checkout.project_id)).all():
        access.locked(project_id)
        removal.remove(db.session.get_one(Checkout, checkout_id, with_for_update=True))
