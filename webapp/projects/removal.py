"""Take projects off workers, and forget them."""

from collections.abc import Collection

from sqlalchemy import delete as delete_rows
from sqlalchemy import select, update

from webapp import clock
from webapp.auth import audit
from webapp.auth.actor import Actor, system
from webapp.database import transaction
from webapp.errors import Conflict
from webapp.extensions import db
from webapp.projects import access, credentials, operations
from webapp.projects.models import Checkout, Project
from webapp.projects.operations import begin, checkout_on, locked, project_of, tell, worker_of
from webapp.tasks import service as tasks
from webapp.tasks.ending import Ending, end_queued
from webapp.tasks.models import Task


def delete(actor: Actor, project: Project, *, force: bool = False, forget: Collection[str] = ()) -> list[str]:
    """The whole project: its checkouts by their workers, and the row with the last of them. Returns the tasks' ids.

    `forget`: the workers where it is only forgotten, none of which is online. Raises WorkerOffline, Busy, Conflict: nothing
    has changed.
    """
    gone = [checkout for checkout in project.checkouts if checkout.worker_id in forget]
    for checkout in project.checkouts:
        if checkout in gone:
            _refuse_online(checkout)
        else:
            operations.refuse_worker(actor, checkout.worker)
    known = {checkout.id for checkout in project.checkouts}
    left = known - {checkout.id for checkout in gone}
    cancelled = _cancel(actor, gone)
    with transaction():
        now = access.locked(project.id)
        rows = _rows_of(now)
        deleting = [row for row in rows if row.id in left]
        if any(row.id not in known for row in rows):
            raise Conflict(
                f"{now.path} was cloned onto another worker at this moment. Look at it, then try again."
            )
        _refuse_new(cancelled, [row for row in rows if row.id not in left])
        now.delete_requested_at = clock.now()
        made = [begin(actor, row, "delete", force=force) for row in deleting]
        after = {"force": force, "forgotten": len(gone), "task_ids": made}
        audit.record(actor, "project.delete", now.path, now.id, after=after)
        for row in rows:
            if row.id not in left:
                remove(row)
        if not rows:
            _remove_if_empty(now)
    return made


def delete_on(
    actor: Actor, project: Project, worker_id: str, *, force: bool = False, retry_of: str | None = None
) -> str:
    """One checkout, by its worker. Returns the task's id. The project stays, without one if need be."""
    checkout = checkout_on(project, worker_id)
    operations.refuse_worker(actor, checkout.worker)
    with transaction():
        now, row = access.locked(project.id), locked(checkout)
        task_id = begin(actor, row, "delete", retry_of, force=force)
        after = {"worker": worker_of(row).name, "force": force, "task_id": task_id}
        audit.record(actor, "checkout.delete", now.path, now.id, after=after)
    return task_id


def forget_on(actor: Actor, project: Project, worker_id: str) -> None:
    """One checkout whose worker is gone: its files stay as they are. Raises Conflict while that worker is online."""
    checkout = checkout_on(project, worker_id)
    _refuse_online(checkout)
    cancelled = _cancel(actor, [checkout])
    with transaction():
        now, row = access.locked(project.id), locked(checkout)
        _refuse_new(cancelled, [row])
        audit.record(actor, "checkout.forget", now.path, now.id, before={"worker": worker_of(row).name})
        remove(row)


def away(project: Project) -> frozenset[str]:
    """The workers that can't be told to delete it now."""
    return frozenset(each.worker_id for each in project.checkouts if not operations.is_online(each.worker))


def _refuse_online(checkout: Checkout) -> None:
    if operations.is_online(checkout.worker):
        raise Conflict(f"{checkout.worker.name} is online: delete it there, without forgetting.")


def _cancel(actor: Actor, checkouts: list[Checkout]) -> set[str]:
    """What waits for these. Before any of their rows is locked: whoever ends a task locks that first. Returns the tasks."""
    waiting = [task for checkout in checkouts if (task := operations.active_task(checkout))]
    ids = {task.id for task in waiting}
    for task in waiting:
        tasks.cancel(actor, task)
    return ids


def _refuse_new(cancelled: set[str], checkouts: list[Checkout]) -> None:
    """What began since then (a push, say) would run for a checkout that isn't known any more. Raises Busy."""
    for checkout in checkouts:
        if checkout.task_id not in cancelled:
            operations.refuse_busy(checkout)


# ---- rows


def _rows_of(project: Project) -> list[Checkout]:
    """As they are now: they may have been loaded while somebody else held the project."""
    query = select(Checkout).where(Checkout.project_id == project.id).order_by(Checkout.id).with_for_update()
    return list(db.session.scalars(query.execution_options(populate_existing=True)))


def remove(checkout: Checkout) -> None:
    """Its row, and the project's where that waited for it. In the transaction that is open, which holds both."""
    project = project_of(checkout)
    db.session.execute(delete_rows(Checkout).where(Checkout.id == checkout.id))
    tell(project)
    _remove_if_empty(project)


def _remove_if_empty(project: Project) -> None:
    """The project's row, where that is wished and its last checkout has gone. Its row is locked."""
    rest = select(Checkout.id).where(Checkout.project_id == project.id).limit(1)
    if project.delete_requested_at is None or db.session.scalar(rest):
        return
    actor = system(project.organisation_id)
    credentials.delete_of_project(actor, project.id)
    audit.record(actor, "project.remove", project.path, project.id, before={"url": project.git_url})
    tell(project)
    db.session.execute(delete_rows(Project).where(Project.id == project.id))
    _end_waiting(project)


def _end_waiting(project: Project) -> None:
    """Tasks that wait for a worker that has it would wait in vain."""
    waiting = select(Task.id).where(Task.project_id == project.id, Task.status == "queued")
    for task_id in db.session.scalars(waiting).all():
        end_queued(task_id, Ending("cancelled", error=f"its project {project.path} was deleted"))


def keep(project_id: str) -> None:
    """A delete that failed takes the wish for the whole project back: a person decides anew."""
    db.session.execute(update(Project).where(Project.id == project_id).values(delete_requested_at=None))
