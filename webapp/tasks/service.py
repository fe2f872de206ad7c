"""Submit, cancel and retry tasks."""

import json
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from jsonschema import Draft202012Validator
from sqlalchemy import Row, insert, select, update
from sqlalchemy.orm import Session

from garageswarm.events import TaskQueued
from webapp import clock
from webapp.auth import audit
from webapp.auth.actor import Actor
from webapp.database import after_commit, new_id, run, table_of, transaction
from webapp.errors import Conflict, Invalid
from webapp.extensions import db
from webapp.live import events
from webapp.live.bus import bus, organisation_topic, task_topic, worker_topic
from webapp.tasks import known_projects, placements
from webapp.tasks.dispatch import wake_one
from webapp.tasks.ending import Ending, end_queued
from webapp.tasks.models import Task
from webapp.tasks.rules import TERMINAL, ProjectUse, Wanted, default_name, split_secrets
from webapp.tasks.schemas import Submission
from webapp.workers import tools
from webapp.workers.models import Worker

INPUT_BYTES = 512 * 1024
_NEW_TASK = insert(table_of(Task))
# Of a Submission: in its placement, or under other names.
_STORED_OTHERWISE = {"input", "labels", "worker_id", "locks", "name", "project_reads_only"}


@dataclass(frozen=True)
class Maker:
    """A domain that has a tool for itself: only it makes such tasks. `instead`: what else to call, in words.

    `again` runs one of them again, as somebody, and returns the new task's id.
    """

    instead: str
    again: Callable[[Actor, Task], str]


# Filled by create_app, by the name of the tool.
makers: dict[str, Maker] = {}


# Filled by create_app with the domain that knows of projects. Raises Invalid where the actor has no such project.
def no_projects(actor: Actor, project_id: str) -> None:
    raise Invalid("There is no such project here.", "project_id")


check_project: Callable[[Actor, str], None] = no_projects


def submit(actor: Actor, wish: Submission, retry_of: str | None = None) -> str:
    """Store a task (P1: once this has returned, no crash loses it) and wake a worker for it. Returns its id.

    Raises Invalid for an unknown tool, an input that doesn't match the tool's schema, or an unknown worker or project.
    """
    if wish.tool in makers:
        raise Invalid(makers[wish.tool].instead, "tool")
    if not wish.project_id:
        return make(actor, wish, retry_of)
    check_project(actor, wish.project_id)
    with transaction():
        if known_projects.is_gone(wish.project_id):
            raise Invalid("That project was deleted a moment ago.", "project_id")
        return make(actor, wish, retry_of)


def make(
    actor: Actor, wish: Submission, retry_of: str | None = None, project_use: ProjectUse | None = None
) -> str:
    """The same for a domain that has made the wish itself. Joins the transaction that is open.

    `project_use`: other than the wish says, which can't say that a task places its project.
    """
    tool = _tool(actor, wish.tool)
    _check_input(tool, wish.input)
    if wish.worker_id:
        _check_worker(actor, wish.worker_id)
    plain, secret = split_secrets(tool.schema, wish.input)
    wanted = _wanted(actor, wish, tool.slot_class, project_use or wish.project_use)
    values: dict[str, Any] = wish.model_dump(exclude=_STORED_OTHERWISE, mode="json")
    values |= {
        "id": new_id(),
        "organisation_id": actor.organisation_id,
        "name": wish.name or default_name(wish.tool, plain),
        "input": plain,
        "secret_input": json.dumps(secret) if secret else None,
        "retry_of": retry_of,
        "submitted_by": actor.name,
        "submitted_by_id": actor.id,
    }
    with transaction():
        run(_NEW_TASK, placement_id=placements.ensure(wanted), **values)
        queued = TaskQueued(values["id"], values["name"], 1, plain)
        events.record([queued], actor.organisation_id, wish.project_id)
        audit.record(actor, "task.submit", values["name"], values["id"], after={"tool": wish.tool})
        after_commit(lambda: wake_one(wanted))
    return str(values["id"])


def _wanted(actor: Actor, wish: Submission, slot_class: str, project_use: ProjectUse) -> Wanted:
    return Wanted(
        actor.organisation_id,
        wish.tool,
        wish.labels,
        wish.worker_id,
        actor.may("admin"),
        slot_class,
        tuple(wish.locks),
        wish.project_id,
        project_use,
    )


def _tool(actor: Actor, name: str) -> Row[Any]:
    tool = tools.schema_of(actor.organisation_id, name)
    if tool is None:
        known = ", ".join(tool.name for tool in tools.catalogue(actor.organisation_id))
        has = (
            f"These are known: {known}."
            if known
            else "No worker has brought any yet: add one and approve it."
        )
        raise Invalid(f"There is no tool {name[:64]}. {has}", "tool")
    return tool


def _check_input(tool: Row[Any], value: dict[str, Any]) -> None:
    if len(json.dumps(value)) > INPUT_BYTES:
        raise Invalid(
            f"The input is larger than {INPUT_BYTES // 1024} KiB. Put it in a file or a project.", "input"
        )
    found = sorted(
        Draft202012Validator(tool.schema).iter_errors(value), key=lambda error: list(map(str, error.path))
    )
    if found:
        rows = [
            {"field": ".".join(["input", *map(str, error.path)]), "message": _said(error, tool)}
            for error in found[:20]
        ]
        raise Invalid(f"{rows[0]['field']}: {rows[0]['message']}", errors=rows)


def _said(error: Any, tool: Row[Any]) -> str:
    """jsonschema's message, except where it would repeat the whole input."""
    if error.validator == "oneOf":
        ways = [" and ".join(choice.get("required", [])) for choice in tool.schema.get("oneOf", [])]
        return f"give exactly one of: {', '.join(ways)}"
    return str(error.message)[:300]


def _check_worker(actor: Actor, worker_id: str) -> None:
    query = select(Worker.status).where(
        Worker.id == worker_id, Worker.organisation_id == actor.organisation_id
    )
    status = db.session.scalar(query)
    if status is None:
        raise Invalid("There is no such worker here.", "worker_id")
    if status == "revoked":
        raise Invalid("That worker is revoked and takes no tasks.", "worker_id")


def cancel(actor: Actor, task: Task) -> None:
    """End a queued task now; ask the agent to end a running one. Said twice it is still one wish.

    Raises Conflict when the task has ended.
    """
    with transaction() as session:
        if task.status in TERMINAL:
            raise Conflict(f"This task has ended already: {task.status}.")
        wished = session.execute(
            update(Task)
            .where(Task.id == task.id, Task.cancel_requested_at.is_(None), Task.ended_at.is_(None))
            .values(cancel_requested_at=clock.now(), cancelled_by=actor.name)
        )
        if wished.rowcount:  # type: ignore[attr-defined]
            audit.record(actor, "task.cancel", task.name, task.id)
        if not end_queued(task.id, Ending("cancelled", error=f"cancelled by {actor.name}")):
            _tell_agent(session, task)


def _tell_agent(session: Session, task: Task) -> None:
    worker_id = session.scalar(select(Task.worker_id).where(Task.id == task.id))
    topics = [task_topic(task.id), organisation_topic(task.organisation_id)]
    if worker_id:
        topics.append(worker_topic(worker_id))
    after_commit(lambda: bus.wake(*topics))


def retry(actor: Actor, task: Task, changed_input: dict[str, Any] | None = None) -> str:
    """A new task like this one. Returns its id. Raises Conflict while the old one hasn't ended."""
    if task.status not in TERMINAL:
        raise Conflict("This task hasn't ended yet. Cancel it first, or wait.")
    if maker := makers.get(task.tool):
        if changed_input is not None:
            raise Invalid(maker.instead, "input")
        return maker.again(actor, task)
    wish = submission_of(task, {**task.input, **secrets_of(task)} if changed_input is None else changed_input)
    return submit(actor, wish, retry_of=task.id)


def secrets_of(task: Task) -> dict[str, Any]:
    """The secret parts of its input, for making it again as it was; never for showing."""
    found: dict[str, Any] = json.loads(task.secret_input) if task.secret_input else {}
    return found


def own_secrets_of(actor: Actor, task: Task) -> dict[str, Any]:
    """The same for a task that may be changed: only its submitter may put other words around these secrets."""
    return secrets_of(task) if actor.id and task.submitted_by_id == actor.id else {}


def submission_of(task: Task, value: dict[str, Any]) -> Submission:
    """The wish that would make this task again, with this input."""
    wanted = placements.wanted(task.placement_id)
    same = {name: getattr(task, name) for name in Submission.model_fields if hasattr(task, name)}
    same |= {"input": value, "labels": dict(wanted.labels), "worker_id": wanted.worker_id}
    same |= {"locks": list(wanted.locks), "project_reads_only": wanted.project_use == "reads"}
    return Submission.model_validate(same)
