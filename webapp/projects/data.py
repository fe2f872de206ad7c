"""What a task in a project gets beside its own input. Secrets are here, and nowhere that is stored or shown."""

from collections.abc import Mapping
from typing import Any

from flask import current_app
from sqlalchemy import Row, select

from webapp.database import run, table_of
from webapp.projects import credentials, host_keys
from webapp.projects.models import Project
from webapp.projects.rules import TOOL
from webapp.tasks.data import CannotRun

_projects = table_of(Project)


def addition(task: Row[Any]) -> Mapping[str, Any]:
    """For a task as `OFFERED`. Raises CannotRun where its project or its credential has gone."""
    more: dict[str, Any] = {}
    if task.project_id:
        more["project"] = _project(task)
    if task.tool == TOOL:
        more["input"] = _input(task)
    return more


def _project(task: Row[Any]) -> dict[str, str]:
    query = select(_projects).where(
        _projects.c.id == task.project_id, _projects.c.organisation_id == task.organisation_id
    )
    found = run(query).first()
    if found is None:
        raise CannotRun("Its project was deleted. Clone it again.")
    branch = found.ref if found.ref_kind == "branch" else ""
    return {"id": found.id, "name": found.name, "path": found.path, "branch": branch}


def _input(task: Row[Any]) -> dict[str, Any]:
    url = task.input["url"]
    more: dict[str, Any] = {
        "schemes": list(current_app.config["SETTINGS"].allowed_schemes),
        "host_keys": host_keys.lines_for(task.organisation_id, url),
    }
    if credential_id := task.input.get("credential_id"):
        given = credentials.given(task.organisation_id, credential_id, url, task.project_id)
        if given is None:
            raise CannotRun(
                "Its credential was deleted, or is for another host. Choose another one for the project."
            )
        more["credential"] = given
    return more
