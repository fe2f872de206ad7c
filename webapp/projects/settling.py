"""What becomes of a checkout when its task begins and ends, however it ends.

Every statement names the task: one of an older operation changes nothing of a checkout that a newer one has.
"""

from sqlalchemy import select, update

from webapp.database import run, table_of
from webapp.extensions import db
from webapp.projects import removal
from webapp.projects.access import locked
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
    query = select(Checkout).where(Checkout.task_id == task_id, Checkout.ends_as.is_not(None))
    checkout = db.session.scalar(query.with_for_update().execution_options(populate_existing=True))
    if checkout is None:
        return
    if checkout.ends_as == "gone":
        _remove(checkout)
        return
    if checkout.status == "deleting":
        removal.keep(checkout.project_id)
    checkout.status, checkout.ends_as = checkout.ends_as or "error", None
    checkout.error = _words(db.session.get_one(Task, task_id, populate_existing=True))[:ERROR_LONGEST]
    db.session.flush()
    tell(project_of(checkout))


def _words(task: Task) -> str:
    operation = str(task.input.get("operation") or "operation")
    if task.status == "completed":
        return f"The {operation} ended without saying how the checkout is. Its log may tell more."
    how = "was cancelled" if task.status == "cancelled" else "failed"
    return f"The {operation} {how}: {task.summary or 'its log may tell more'}"


def _remove(checkout: Checkout) -> None:
    project = locked(checkout.project_id)
    removal.remove(checkout)
    removal.remove_if_empty(project)


def worker_revoked(worker: Worker) -> None:
    """What waits for it alone would wait in vain. What ran there has ended before this."""
    query = select(Task.id).join(Checkout, Checkout.task_id == Task.id)
    query = query.where(Checkout.worker_id == worker.id, Task.status == "queued")
    for task_id in db.session.scalars(query).all():
        end_queued(task_id, Ending("failed", "worker_lost", f"{worker.name} was revoked"))


def worker_removed(worker: Worker) -> None:
    """Its checkouts go with it, and the projects that waited for just that."""
    worker_revoked(worker)
    query = select(Checkout.project_id, Checkout.id).where(Checkout.worker_id == worker.id)
    for project_id, checkout_id in db.session.execute(query).all():
        project = locked(project_id)
        removal.remove(db.session.get_one(Checkout, checkout_id, with_for_update=True))
        removal.remove_if_empty(project)
