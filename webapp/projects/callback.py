"""What a worker says of a checkout when git has ended: before its report, and only about its own."""

from typing import Any

from sqlalchemy import Row, select

from webapp import clock
from webapp.auth import audit
from webapp.database import transaction
from webapp.errors import LeaseLost, NotFound
from webapp.extensions import db
from webapp.projects import host_keys, removal
from webapp.projects.models import Checkout
from webapp.projects.operations import project_of, tell, worker_of
from webapp.projects.rules import TOOL, CheckoutStatus, Operation
from webapp.projects.schemas import CheckoutReport, CommitSeen
from webapp.projects.settling import ERROR_LONGEST, of_task
from webapp.tasks.models import Attempt, Task
from webapp.workers.caller import Caller

_FACTS = {"local_path", "branch", "commit", "subject", "author", "committed_at", "ahead", "behind"}
_FACTS |= {"dirty", "dirty_count", "unpushed", "unpushed_count", "branches", "mirror_bytes"}


def settle(caller: Caller, project_id: str, said: CheckoutReport) -> CheckoutStatus:
    """Store what it found. Returns the checkout's status, the same when it is said twice.

    Raises NotFound for what isn't this worker's, LeaseLost for what was its own and has ended.
    """
    with transaction():
        task = _task(caller, project_id, said.attempt_id)
        checkout = _checkout(task) if task is not None else None
        if task is not None and checkout is not None:
            _store(checkout, task.input["operation"], said)
            _learn(checkout, task.input["url"], said.host_keys)
            db.session.flush()
            tell(project_of(checkout))
            return checkout.status
        if task is None:
            audit.record(caller.as_actor(), "project.foreign-status", project_id, project_id)
    raise NotFound("This worker does nothing in such a project.") if task is None else LeaseLost


def _task(caller: Caller, project_id: str, attempt_id: str) -> Row[Any] | None:
    """The worker's git task there, with its current attempt. Locked: whoever ends it comes before this, or after."""
    mine = (Attempt.id == attempt_id, Attempt.worker_id == caller.worker_id)
    # Of the task's row alone: who waited for it sees the attempt's as it was before.
    query = select(Task.id, Task.input, Task.ended_at, (Task.attempt_id == attempt_id).label("is_current"))
    query = query.join(Attempt, Attempt.task_id == Task.id).where(
        *mine,
        Task.organisation_id == caller.organisation_id,
        Task.project_id == project_id,
        Task.tool == TOOL,
    )
    return db.session.execute(query.with_for_update(of=Task)).first()


def _checkout(task: Row[Any]) -> Checkout | None:
    """The one that this task has still; None where the attempt, or its right to speak of it, has ended."""
    if task.ended_at is not None or not task.is_current:
        return None
    return of_task(task.id)


def _store(checkout: Checkout, operation: Operation, said: CheckoutReport) -> None:
    for name in _FACTS & said.model_fields_set:
        setattr(checkout, name, getattr(said, name))
    if "size" in said.model_fields_set:
        checkout.size_bytes = said.size
    if "commits" in said.model_fields_set:
        checkout.commits = [_as_stored(commit) for commit in said.commits]
    if _FACTS & said.model_fields_set:
        checkout.looked_at = clock.now()
    if said.success:
        _succeed(checkout, operation)
    elif checkout.ends_as != "gone":  # it has said that the files are gone, and can't take that back
        _fail(checkout, operation, said)


def _as_stored(commit: CommitSeen) -> dict[str, Any]:
    return {**commit.model_dump(), "committed_at": clock.wire(commit.committed_at)}


def _succeed(checkout: Checkout, operation: Operation) -> None:
    if operation == "delete":
        checkout.status, checkout.ends_as = "deleting", "gone"
        return
    if operation != "status":
        checkout.synced_at = clock.now()
    if operation != "status" or checkout.status != "active":
        checkout.error = None
    checkout.status, checkout.ends_as = "active", None


def _fail(checkout: Checkout, operation: Operation, said: CheckoutReport) -> None:
    """A clone that failed left nothing; others left what was there, unless its worker says otherwise."""
    if operation == "delete":
        removal.keep(checkout.project_id)
    if operation == "clone" or said.is_unreadable:
        checkout.ends_as = "error"
    if operation != "status" or said.usable is False:
        checkout.error = said.message or f"The {operation} failed. Its log says why."
    checkout.status, checkout.ends_as = checkout.ends_as or checkout.status, None  # type: ignore[assignment]


def _learn(checkout: Checkout, url: str, lines: list[str]) -> None:
    if not lines:
        return
    strange = host_keys.learn(checkout.organisation_id, url, lines, worker_of(checkout))
    if strange:
        words = f"The host showed another key than the one that is known: {', '.join(strange)}."
        checkout.error = f"{words} {checkout.error or ''}".strip()[:ERROR_LONGEST]
