"""The page on which a repository is cloned, and the look-up of its branches by the worker that shall have it."""

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from flask import flash, redirect, render_template, request, url_for
from werkzeug.wrappers import Response

from webapp import templating
from webapp.auth.guards import me, signed_in
from webapp.errors import GarageError, NotFound
from webapp.live.bus import organisation_topic
from webapp.live.views import LiveView
from webapp.projects import credentials, forms, listing, service
from webapp.projects.pages import blueprint
from webapp.projects.rules import TOOL, ref_problem
from webapp.tasks.access import task_for
from webapp.workers import listing as workers

if TYPE_CHECKING:
    from webapp.tasks.models import Task


@dataclass(frozen=True)
class LookedUp:
    """What a worker said of a remote, or is about to say."""

    task: "Task"
    url: str
    default: str = ""
    branches: Sequence[str] = field(default=())
    tags: Sequence[str] = field(default=())


CLONE = LiveView(
    "clone",
    ("_counts.html",),
    lambda scope: templating.frame(scope, "projects", "Clone a repository"),
    lambda scope: (organisation_topic(scope.organisation_id),),
)


@blueprint.get("/projects/new")
@signed_in("operator")
def new() -> str:
    """`worker`: the one that is chosen already."""
    known = {"worker": request.args.get("worker", "")[:36]}
    return _page(forms.blank(**known))


@blueprint.post("/projects/new")
@signed_in("operator")
def clone() -> Response | tuple[str, int]:
    form = forms.filled(request.form)
    try:
        made = service.clone(me(), form.clone_wish())
    except GarageError as error:
        form.fail(error)
        return _page(form), error.status
    flash("It is being cloned. This page follows.")
    return redirect(url_for("projects.project", project_id=made.project_id))


@blueprint.post("/projects/branches")
@signed_in("operator")
def branches() -> str | tuple[str, int]:
    """Ask, or look whether the answer has come: a fragment where a script asked, else the form again."""
    form = forms.filled(request.form)
    is_fragment = "HX-Request" in request.headers
    try:
        said = request.form.get("task", "")
        found = _looked_up(said or service.branches(me(), form.branches_wish()))
    except GarageError as error:
        if is_fragment:  # htmx shows no answer that says it failed
            return _fragment(form, None, error.detail)
        form.fail(error)
        return _page(form, is_look_up=True), error.status
    return _fragment(form, found) if is_fragment else _page(form, found, is_look_up=True)


@blueprint.get("/projects/branches/<id:task_id>")
@signed_in("operator")
def looked_up(task_id: str) -> str:
    """How far a look-up is; `branch` is what the field for it holds meanwhile."""
    return _fragment(forms.blank(branch=request.args.get("branch", "")[:255]), _looked_up(task_id))


def _looked_up(task_id: str) -> LookedUp:
    """Raises NotFound for any other task. Names that no clone would be made with are left out."""
    task = task_for(me(), task_id)
    if task.tool != TOOL or task.input.get("operation") != "branches":
        raise NotFound("There is no such look-up.")
    last = task.attempts[-1] if task.attempts else None
    data = ((last.result if last else None) or {}).get("data")
    said = data if isinstance(data, dict) else {}
    return LookedUp(
        task,
        str(task.input.get("url", "")),
        next(iter(_names("branch", [said.get("default")])), ""),
        _names("branch", said.get("branches")),
        _names("tag", said.get("tags")),
    )


def _names(kind: Any, said: Any) -> list[str]:
    """An agent's words: a list of names, or of `{name, commit}`, or anything else."""
    rows = (
        [row.get("name") if isinstance(row, dict) else row for row in said] if isinstance(said, list) else []
    )
    return [name for name in rows if isinstance(name, str) and ref_problem(kind, name) is None]


def _fragment(form: forms.CloneForm, found: LookedUp | None, error: str = "") -> str:
    """What stands under the button, and once the names are known the field for them."""
    values = {"form": form, "looked_up": found, "look_up_error": error}
    html = render_template("projects/_looked_up.html", **values)
    if found and found.task.status == "completed":
        html += render_template("projects/_branch_choice.html", **values)
    return html


def _page(form: forms.CloneForm, found: LookedUp | None = None, is_look_up: bool = False) -> str:
    able = [(row, listing.why_not(me(), row)) for row in _shown()]
    able.sort(key=lambda pair: pair[1] is not None)
    return templating.live_page(
        CLONE,
        "projects/new.html",
        {},
        form=form,
        workers=able,
        hindered=[pair for pair in able if pair[1]],
        credentials=[each for each in credentials.listed(me().organisation_id) if each.project_id is None],
        looked_up=found,
        is_look_up=is_look_up,
    )


def _shown() -> list[workers.Shown]:
    hidden = ("pending", "archived", "revoked")
    return [row for row in workers.all_shown(me().organisation_id) if row.status not in hidden]
