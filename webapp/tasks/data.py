"""What an agent gets to run a task."""

import json
from collections.abc import Callable, Mapping
from functools import lru_cache
from typing import Any

from sqlalchemy import Row

from webapp import clock, security
from webapp.api import PREFIX
from webapp.auth.models import Organisation
from webapp.database import run, transaction
from webapp.errors import Conflict
from webapp.extensions import db
from webapp.security import KeyMissing
from webapp.tasks import queue, service, statements
from webapp.tasks.ending import Ending, end_attempt
from webapp.workers.answers import Offer, TaskData
from webapp.workers.caller import Caller

# What fits in an offer; more is fetched from `data_url`.
RIDES_ALONG = 64 * 1024

# Filled by create_app with what higher domains know of a task and never store with it: takes the task as
# `statements.OFFERED`, returns `{"input": {…}, "project": {…}}` or parts of that. Called for tasks of a project, and of
# tools that a domain has for itself. May raise CannotRun.
additions: list[Callable[[Row[Any]], Mapping[str, Any]]] = []


class CannotRun(Conflict):
    """What this task needs isn't there any more: it has failed."""


def current_data(caller: Caller, task_id: str, attempt_id: str | None) -> TaskData:
    """`task_data` of what this worker holds, for offers without it. Raises NotFound, KeyMissing, CannotRun."""
    task = queue.current(caller.worker_id, task_id, attempt_id)
    try:
        return task_data(task)
    except CannotRun as error:
        end_unable(task.attempt_id, error)
        raise


def end_unable(attempt_id: str, why: KeyMissing | CannotRun) -> None:
    """An attempt whose data can't be made, in a transaction of its own. Nobody has begun it, and no machine is to blame.

    A key may be put back, so that trying again helps; what was deleted isn't there the next time either.
    """
    failure_class = "missing" if isinstance(why, CannotRun) else "agent_error"
    with transaction():
        attempt = run(statements.REPORTED_LOCKED, attempt_id=attempt_id).first()
        is_current = attempt is not None and attempt.current_attempt_id == attempt_id
        if attempt is not None and is_current and attempt.ended_at is None:
            end_attempt(attempt, Ending("failed", failure_class, why.detail))


def task_data(task: Row[Any]) -> TaskData:
    """The answer of `GET /agents/tasks/{id}/data`, from `statements.OFFERED`. Secret inputs are here and nowhere else.

    Raises KeyMissing where they can't be decrypted, and CannotRun.
    """
    secret = json.loads(security.keyring().decrypt(task.secret_input)) if task.secret_input else {}
    data: TaskData = {
        "task": {
            "id": task.id,
            "attempt_id": task.attempt_id,
            "attempt": task.attempts_made,
            "tool": task.tool,
            "type": task.tool,
            "action": "run",
            "input": {**task.input, **secret},
            "timeout_s": task.timeout_s,
            "no_output_timeout_s": task.no_output_timeout_s,
            "context": {"name": task.name, "submitted_by": task.submitted_by},
            "created_at": clock.wire(task.created_at),
        }
    }
    if task.project_id or task.tool in service.makers:
        _add(data, task)
    return data


def _add(data: TaskData, task: Row[Any]) -> None:
    for addition in additions:
        more = addition(task)
        data["task"]["input"] |= more.get("input", {})
        if "project" in more:
            data["project"] = more["project"]


def offer(task: Row[Any]) -> Offer:
    """An offer, with the data where it is small."""
    data = task_data(task)
    made: Offer = {
        "task_id": task.id,
        "attempt_id": task.attempt_id,
        "attempt": task.attempts_made,
        "organisation": {"id": task.organisation_id, "name": _organisation_name(task.organisation_id)},
        "tool": task.tool,
        "timeout_s": task.timeout_s,
        "no_output_timeout_s": task.no_output_timeout_s,
        "on_lost": task.on_lost,
        "data_url": f"{PREFIX}/agents/tasks/{task.id}/data",
    }
    if len(json.dumps(data)) <= RIDES_ALONG:
        made["data"] = data
    return made


@lru_cache(maxsize=1000)
def _organisation_name(organisation_id: str) -> str:
    """It never changes, so it is read once a process."""
    return db.session.get_one(Organisation, organisation_id).name
