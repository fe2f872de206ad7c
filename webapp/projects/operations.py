"""git’s operations as tasks: each belongs to one worker, and a checkout has one at a time."""

from collections.abc import Mapping
from typing import Any

from sqlalchemy import select
from sqlalchemy.orm import selectinload

from webapp.auth.actor import Actor
from webapp.database import after_commit
from webapp.errors import Conflict, Forbidden, Invalid, NotFound, Unavailable
from webapp.extensions import db
from webapp.live.bus import bus, organisation_topic, project_topic
from webapp.projects.models import Checkout, Project
from webapp.projects.rules import FETCHING, TOOL, USES, WAITS_AS, Operation, ends_as
from webapp.tasks import service as tasks
from webapp.tasks.models import Task
from webapp.tasks.rules import ACTIVE, RetryCause
from webapp.tasks.schemas import HOUR, Submission
from webapp.workers import state
from webapp.workers.models import Worker

# A large first clone over a slow line takes hours; a look doesn't.
TIMEOUT_S: Mapping[Operation, int] = {"clone": 12 * HOUR, "pull": 12 * HOUR, "branches": 300}
USUAL_TIMEOUT_S = HOUR
# Somebody looks at the form while these run.
PRIORITY: Mapping[Operation, int] = {"branches": 100, "status": 50}
# What went wrong before git was asked. What git said is for a person.
RETRY_ON: list[RetryCause] = ["agent_error", "offer_lost"]


class WorkerOffline(Unavailable):
    """The worker is offline. Nothing was stored: try again when it is back."""

    slug, retry_after_s = "worker-offline", 30


class Busy(Conflict):
    """Another git operation works on this checkout."""

    slug = "checkout-busy"


def worker_named(actor: Actor, worker_id: str) -> Worker:
    """A worker that could be sent there: raises Invalid where there is none, Forbidden, WorkerOffline."""
    query = select(Worker).where(Worker.id == worker_id, Worker.organisation_id == actor.organisation_id)
    worker = db.session.scalar(query)
    if worker is None:
        raise Invalid("There is no such worker here.", "worker_id")
    refuse_worker(actor, worker)
    return worker


def refuse_worker(actor: Actor, worker: Worker, *, waits: bool = False) -> None:
    """Raises what keeps this person from sending git to this worker now. `waits`: it may be offline."""
    if worker.status != "approved":
        raise Invalid(f"{worker.name} is {worker.status}, and takes no tasks.", "worker_id")
    if worker.admins_only and not actor.may("admin"):
        raise Forbidden(
            f"{worker.name} serves admins only. Ask an admin to open it, or choose another worker."
        )
    if not waits and not is_online(worker):
        raise WorkerOffline(f"{worker.name} is offline. Nothing was stored: try again when it is back.")
    if TOOL not in worker.tools:
        raise Invalid(
            f"{worker.name} has no working git. Install git there and start its agent again.", "worker_id"
        )


def is_online(worker: Worker) -> bool:
    """Whether it speaks with us now; full or draining it is, too."""
    # Whether it is busy doesn't matter, and would cost a query for each worker.
    return state.status_of(worker, held=0) in ("online", "draining", "quarantined")


def begin(
    actor: Actor,
    checkout: Checkout,
    operation: Operation,
    retry_of: str | None = None,
    *,
    force: bool = False,
) -> str:
    """Make the task, and its checkout wait for it. Returns the task's id. Raises Busy.

    In the transaction that is open, in which the checkout's row is locked.
    """
    refuse_busy(checkout)
    project = project_of(checkout)
    value: dict[str, Any] = {**asked_of(project), "operation": operation, "path": project.path}
    if project.credential_id and operation in FETCHING:
        value["credential_id"] = project.credential_id
    if force:
        value["force"] = True
    wish = submission(operation, value, checkout.worker_id, f"{operation} {project.path}", project.id)
    checkout.task_id = tasks.make(actor, wish, retry_of, USES[operation] or None)
    if operation in WAITS_AS:
        checkout.ends_as = ends_as(operation, checkout.status)
        checkout.status = WAITS_AS[operation]
        checkout.error = None
    db.session.flush()
    tell(project)
    return checkout.task_id


def asked_of(project: Project) -> dict[str, Any]:
    """What of the repository is wanted, in the words of the tool."""
    return {
        "url": project.git_url,
        "ref_kind": project.ref_kind,
        "ref": project.ref,
        "single_branch": project.single_branch,
        "submodules": project.submodules,
        "lfs": project.lfs,
        **({} if project.depth is None else {"depth": project.depth}),
    }


def submission(
    operation: Operation, value: dict[str, Any], worker_id: str, name: str, project_id: str | None = None
) -> Submission:
    return Submission(
        tool=TOOL,
        input=value,
        name=name[:255],
        worker_id=worker_id,
        project_id=project_id,
        priority=PRIORITY.get(operation, 0),
        timeout_s=TIMEOUT_S.get(operation, USUAL_TIMEOUT_S),
        retry_on=RETRY_ON,
    )


def checkout_on(project: Project, worker_id: str) -> Checkout:
    """Of a project as `project_for` loads it. Raises Invalid."""
    for checkout in project.checkouts:
        if checkout.worker_id == worker_id:
            return checkout
    raise Invalid(f"{project.path} isn’t on such a worker.", "worker_id")


def locked(checkout: Checkout) -> Checkout:
    """Its row as it is now, until the transaction that is open ends."""
    loaded = (selectinload(Checkout.project), selectinload(Checkout.worker))
    found = db.session.get(
        Checkout, checkout.id, options=loaded, with_for_update=True, populate_existing=True
    )
    if found is None:
        raise NotFound("There is no such checkout any more.")
    return found


def project_of(checkout: Checkout) -> Project:
    return db.session.get_one(Project, checkout.project_id)


def worker_of(checkout: Checkout) -> Worker:
    return db.session.get_one(Worker, checkout.worker_id)


def refuse_busy(checkout: Checkout) -> None:
    task = active_task(checkout)
    if task is not None:
        raise Busy(
            f"“{task.name}” is {task.status} there (task {task.id}). Wait for its end, or cancel it.",
            task_id=task.id,
        )


def active_task(checkout: Checkout) -> Task | None:
    """The git operation that waits or runs there."""
    query = select(Task).where(Task.id == checkout.task_id, Task.status.in_(ACTIVE))
    return db.session.scalar(query.execution_options(populate_existing=True))


def tell(project: Project) -> None:
    """Whoever looks at it sees the change, when it is one."""
    topics = (project_topic(project.id), organisation_topic(project.organisation_id))
    after_commit(lambda: bus.wake(*topics))
