"""The page on which a task is made."""

import re
from typing import TYPE_CHECKING

from flask import flash, redirect, request, url_for
from werkzeug.wrappers import Response

from webapp import templating
from webapp.auth.guards import me, signed_in
from webapp.errors import Invalid
from webapp.routing import IdConverter
from webapp.tasks import forms, known_projects, placements, service
from webapp.tasks.access import writable_task_for
from webapp.tasks.known_projects import COMING, KnownProject, Places
from webapp.tasks.pages import blueprint
from webapp.tasks.rules import Offered, Wanted, mismatches
from webapp.workers import listing as workers
from webapp.workers import tools
from webapp.workers.rules import label_problem, parse_labels

if TYPE_CHECKING:
    from webapp.tasks.models import Task
    from webapp.workers.models import Tool

# What most people come for stands first.
FIRST_TOOL = "shell"
# What proves that a new worker works: it harms nothing, and its log says which machine it was.
FIRST_SCRIPT = "uname -a"


@blueprint.get("/tasks/new")
@signed_in("operator")
def new() -> Response | tuple[str, int]:
    same = _same()
    if same and same.tool in service.makers:
        flash(service.makers[same.tool].instead)
        return redirect(url_for("tasks.task", task_id=same.id))
    known = {tool.name: tool for tool in _tools()}
    tool = known.get(request.args.get("tool") or (same.tool if same else next(iter(known), "")))
    if tool is None:
        return _page(None, None)
    is_same_tool = same is not None and same.tool == tool.name
    form = forms.from_task(tool, same) if same and is_same_tool else forms.blank(tool)
    if not is_same_tool and request.args.get("project"):
        form.values["project"] = request.args["project"]
    if not is_same_tool and request.args.get("worker"):
        form.values |= {"where": "worker", "worker": request.args["worker"]}
        if "first" in request.args and f"{forms.PREFIX}script" in form.values:
            form.values[f"{forms.PREFIX}script"] = FIRST_SCRIPT
    return _page(form, same)


@blueprint.post("/tasks/new")
@signed_in("operator")
def submit() -> Response | tuple[str, int]:
    same = _same()
    tool = tools.find(me().organisation_id, request.form.get("tool", ""))
    if tool is None or tool.name in service.makers:
        flash(
            service.makers[tool.name].instead
            if tool
            else "That tool isn’t here any more. Choose another one."
        )
        return redirect(url_for("tasks.new"))
    form = forms.filled(tool, request.form)
    again = same if same and same.tool == tool.name else None
    kept = service.own_secrets_of(me(), again) if again else {}
    try:
        made = service.submit(me(), forms.submission(form, kept), retry_of=again.id if again else None)
    except Invalid as error:
        form.fail(error)
        return _page(form, same, 422)
    return redirect(url_for("tasks.task", task_id=made))


def _tools() -> "list[Tool]":
    """Without those that a domain has for itself: it has a form of its own."""
    offered = [tool for tool in tools.catalogue(me().organisation_id) if tool.name not in service.makers]
    return sorted(offered, key=lambda tool: (tool.name != FIRST_TOOL, tool.name))


def _same() -> "Task | None":
    """The task that this one shall be like."""
    task_id = request.values.get("from")
    return writable_task_for(me(), task_id) if task_id else None


def _page(form: forms.TaskForm | None, same: "Task | None", status: int = 200) -> tuple[str, int]:
    rows = [
        row
        for row in workers.all_shown(me().organisation_id)
        if row.status not in ("pending", "archived", "revoked")
    ]
    projects = _projects(form) if form else []
    return templating.page(
        "tasks/new.html",
        "tasks",
        "New task",
        status,
        form=form,
        same=same,
        known_tools=_tools(),
        workers=rows,
        projects=projects,
        fits=_fits(form, rows, projects) if form else [],
    )


def _projects(form: forms.TaskForm) -> list[KnownProject]:
    """With the one that the form names, so that a task isn't made without it by mistake when it was deleted."""
    known = list(known_projects.known_to(me().organisation_id))
    named = form.values.get("project", "")
    if re.fullmatch(IdConverter.regex, named) and named not in {project.id for project in known}:
        known.append(KnownProject(named, "a deleted project"))
    return known


def _fits(
    form: forms.TaskForm, rows: list[workers.Shown], projects: list[KnownProject]
) -> list[tuple[workers.Shown, list[str]]]:
    """Each worker, with why it could never take what the form asks for now."""
    values, labels = form.values, parse_labels(form.values.get("labels", ""))
    project = next((each for each in projects if each.id == values.get("project")), None)
    is_named = values.get("where") == "worker"
    wanted = Wanted(
        me().organisation_id,
        form.tool.name,
        {} if is_named or label_problem(labels) else labels,
        values.get("worker") or None if is_named else None,
        me().may("admin"),
        project_id=project.id if project else None,
        project_use="writes" if project else "",
        project_name=project.name if project else "",
    )
    places = known_projects.places_of([project.id]) if project else {}
    found = [(row, mismatches(wanted, _offered(row, places))) for row in rows]
    return sorted(found, key=lambda fit: (bool(fit[1]), not fit[0].is_up, fit[0].worker.name))


def _offered(row: workers.Shown, places: Places) -> Offered:
    return placements.offered_by(row.worker, known_projects.ready_on(row.worker.id, places, COMING))
