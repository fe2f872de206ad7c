"""What can be done with projects: the verbs that the API, the pages and webhooks call."""

from typing import Any, cast

from webapp.auth import audit
from webapp.auth.actor import Actor
from webapp.database import transaction
from webapp.errors import Conflict, Forbidden, GarageError, Invalid, NotFound
from webapp.projects import access, asking, credentials, operations, removal
from webapp.projects.asking import branches
from webapp.projects.cloning import clone, place
from webapp.projects.models import Checkout, Project
from webapp.projects.operations import WorkerOffline, begin, checkout_on, locked, worker_of
from webapp.projects.rules import Operation
from webapp.projects.schemas import ProjectChange
from webapp.tasks import placements
from webapp.tasks import service as tasks
from webapp.tasks.models import Task

__all__ = ["again", "branches", "change", "clone", "delete", "place", "pull", "refresh"]


def pull(actor: Actor, project: Project, worker_id: str | None = None) -> list[str]:
    """Bring checkouts up to date: one worker's, or all that aren't busy, on workers that are online. Returns the tasks' ids.

    Raises Busy, WorkerOffline, Conflict.
    """
    return _each(actor, project, "pull", worker_id)


def refresh(actor: Actor, project: Project, worker_id: str | None = None) -> list[str]:
    """Have workers look how their checkouts are. As `pull`."""
    return _each(actor, project, "status", worker_id)


def _each(
    actor: Actor,
    project: Project,
    operation: Operation,
    worker_id: str | None,
    *,
    retry_of: str | None = None,
) -> list[str]:
    if worker_id:
        chosen = [checkout_on(project, worker_id)]
        operations.refuse_worker(actor, chosen[0].worker)
    else:
        chosen = _able(actor, project)
    with transaction():
        now = access.locked(project.id)
        rows = [locked(checkout) for checkout in chosen]
        # One that is busy stops a pull of it, not of all the others.
        idle = [row for row in rows if operations.active_task(row) is None] or rows[:1]
        for row in idle:
            _refuse_without_files(row)
        made = [begin(actor, row, operation, retry_of) for row in idle]
        audit.record(actor, _AUDITED[operation], now.path, now.id, after={"task_ids": made})
    return made


_AUDITED: dict[Operation, str] = {"pull": "project.pull", "status": "project.refresh"}


def _refuse_without_files(checkout: Checkout) -> None:
    if checkout.synced_at is None:
        operations.refuse_busy(checkout)
        raise Conflict(f"It was never cloned whole onto {worker_of(checkout).name}. Clone it there again.")


def _able(actor: Actor, project: Project) -> list[Checkout]:
    """Those that were cloned, on workers that can be sent there. Raises why there is none."""
    able: list[Checkout] = []
    why: GarageError = Conflict(f"{project.path} isn’t on any worker yet. Clone it first.")
    for checkout in project.checkouts:
        if checkout.synced_at is not None:
            try:
                operations.refuse_worker(actor, checkout.worker)
                able.append(checkout)
            except (WorkerOffline, Forbidden, Invalid) as error:
                why = error
    if not able:
        raise why
    return able


def change(actor: Actor, project: Project, wish: ProjectChange) -> None:
    """Description, credential, ref: what the wish leaves out stays. Checkouts follow with their next pull."""
    said = wish.model_dump(include=wish.model_fields_set & {"description", "credential_id"})
    said |= {"ref_kind": wish.ref_kind, "ref": wish.ref} if wish.changes_ref else {}
    if said.get("description", "") is None:
        said["description"] = ""
    with transaction():
        now = access.locked(project.id)
        if wish.credential_id:
            credentials.checked(actor, wish.credential_id, now.git_url, now.id)
        before = {name: getattr(now, name) for name, value in said.items() if getattr(now, name) != value}
        if before:
            for name in before:
                setattr(now, name, said[name])
            audit.record(
                actor, "project.change", now.path, now.id, before, {name: said[name] for name in before}
            )
            operations.tell(now)


def delete(
    actor: Actor, project: Project, worker_id: str | None = None, *, force: bool = False, forget: bool = False
) -> list[str]:
    """One checkout, or the whole project with all of them. Returns the tasks' ids: what is only forgotten has none.

    `force`: even what isn't committed or pushed. `forget`: where the worker isn't online.
    """
    if worker_id is None:
        return removal.delete(actor, project, force=force, forget=removal.away(project) if forget else ())
    if forget:
        removal.forget_on(actor, project, worker_id)
        return []
    return [removal.delete_on(actor, project, worker_id, force=force)]


def again(actor: Actor, task: Task) -> str:
    """What a git task was for, once more, as it is wanted now. Returns the new task's id."""
    operation = cast(Operation, task.input.get("operation"))
    worker_id = placements.wanted(task.placement_id).worker_id or ""
    if task.project_id is None:
        return _ask_again(actor, task, worker_id)
    try:
        project = access.project_for(actor, task.project_id)
    except NotFound as error:
        raise Conflict("Its project was deleted. Clone it again.") from error
    if operation == "clone":
        return str(place(actor, project, worker_id, task.id).task_id)
    if operation == "delete":
        return removal.delete_on(
            actor, project, worker_id, force=bool(task.input.get("force")), retry_of=task.id
        )
    return _each(actor, project, operation, worker_id, retry_of=task.id)[0]


def _ask_again(actor: Actor, task: Task, worker_id: str) -> str:
    operations.worker_named(actor, worker_id)
    value: dict[str, Any] = {**task.input, **tasks.secrets_of(task)}
    return asking.ask(
        actor, value["url"], worker_id, value.get("credential_id"), value.get("credential"), task.id
    )
