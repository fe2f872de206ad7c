"""The page of one project: where it is, what git does there, and what can be done about it."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

from flask import flash, redirect, request, url_for
from werkzeug.wrappers import Response

from webapp import templating
from webapp.auth.actor import Actor, system
from webapp.auth.guards import me, signed_in
from webapp.errors import Conflict, GarageError
from webapp.live.bus import organisation_topic, project_topic
from webapp.live.views import LiveView, Scope
from webapp.projects import credentials, listing, removal, service, webhooks
from webapp.projects.access import project_for, writable_project_for
from webapp.projects.pages import blueprint
from webapp.security import own_origin
from webapp.workers import listing as workers

if TYPE_CHECKING:
    from webapp.projects.models import Credential, Project

# Workers that don't have it, in the panel that clones onto one of them.
MOST_OTHERS = 8
FAVICONS = {"pending": "running", "syncing": "running", "deleting": "running", "error": "failed"}
WORDS = {"pending": "Waiting", "nowhere": "On no worker"}


@dataclass(frozen=True)
class Part:
    """What else of this domain stands on the page, with forms of its own: `context(actor, project)` makes what it needs."""

    template: str
    context: Callable[[Actor, "Project"], dict[str, Any]]


# Filled by init_app. They aren't live: a form in one may hold the person's token.
parts: list[Part] = []


def _context(scope: Scope) -> dict[str, Any]:
    project = project_for(system(scope.organisation_id), scope.args.get("project", ""))
    row = listing.placed(project)
    # Whoever looks has a role and no name here: what a page says of hindrances is the same for all of that role.
    actor = replace(system(scope.organisation_id), role=scope.role)
    return {
        **templating.frame(scope, "projects", _title(row), FAVICONS.get(row.status or "", "idle")),
        "row": row,
        "hindrances": {place.checkout.id: listing.why_not(actor, place.worker) for place in row.places},
        "others": _others(actor, row),
        "most_others": MOST_OTHERS,
        "pull_all": _why_not_all(actor, row),
        "delete_all": _why_not_gone(row),
        "tasks": listing.tasks_in(project.id),
        "credential": _credential(scope, project),
        **_of_webhooks(scope, project),
    }


def _of_webhooks(scope: Scope, project: "Project") -> dict[str, Any]:
    found, origin = webhooks.listed(project), scope.args.get("origin", "")
    return {
        "webhooks": found,
        "addresses": {hook.id: webhooks.address_of(hook.id, origin) for hook in found},
        "called": webhooks.last_calls(found),
        "deliveries": webhooks.deliveries(project),
    }


def _credential(scope: Scope, project: "Project") -> "Credential | None":
    owner = system(scope.organisation_id)
    return credentials.credential_for(owner, project.credential_id) if project.credential_id else None


def _title(row: listing.Placed) -> str:
    status = row.status or "nowhere"
    percent = f" {row.percent} %" if row.percent is not None else ""
    return f"{WORDS.get(status, status.capitalize())}{percent}: {row.project.name}"


def _others(actor: Actor, row: listing.Placed) -> list[tuple[workers.Shown, str | None]]:
    """Workers without it, each with why it can't take it now. Who can stands first."""
    has = {place.checkout.worker_id for place in row.places}
    found = [
        (other, listing.why_not(actor, other))
        for other in workers.all_shown(actor.organisation_id)
        if other.worker.status == "approved" and other.status != "archived" and other.worker.id not in has
    ]
    return sorted(found, key=lambda pair: pair[1] is not None)


def _why_not_all(actor: Actor, row: listing.Placed) -> str | None:
    """Why nothing can be pulled at all; where one checkout can be, pulling all pulls that."""
    reasons = [listing.why_not_pull(actor, place) for place in row.places]
    return None if None in reasons or not reasons else reasons[0]


def _why_not_gone(row: listing.Placed) -> str | None:
    busy = [place.worker.worker.name for place in row.places if place.task and not place.is_away]
    return f"Git works in it on {', '.join(busy)}: wait until that has ended, or cancel it" if busy else None


PROJECT = LiveView(
    "project",
    (
        "_counts.html",
        *(
            f"projects/_{name}.html"
            for name in (
                "head",
                "places",
                "commits",
                "tasks",
                "elsewhere",
                "disk",
                "wanted",
                "webhooks",
                "dialogs",
            )
        ),
    ),
    _context,
    lambda scope: (project_topic(scope.args["project"]), organisation_topic(scope.organisation_id)),
)


@blueprint.get("/projects/<id:project_id>")
@signed_in("viewer")
def project(project_id: str) -> str:
    return project_page(project_id)


def project_page(project_id: str, **values: Any) -> str:
    found = project_for(me(), project_id)
    of_parts: dict[str, Any] = {}
    for part in parts:
        of_parts |= part.context(me(), found)
    return templating.live_page(
        PROJECT,
        "projects/project.html",
        # How this person reaches the server, for what they copy: where fragments are made later nobody can tell.
        {"project": project_id, "origin": own_origin()},
        parts=[part.template for part in parts],
        **(of_parts | values),
    )


# ---- what is done about it. `worker`: one checkout; without it all of them.


def _worker() -> str | None:
    return request.form.get("worker", "")[:36] or None


def _done(project_id: str, act: Callable[["Project"], str], then: str = "") -> Response:
    """Back to the page, or on to another, with what came of it: words of the act. Or why it can't be: always on the page."""
    found = writable_project_for(me(), project_id)
    back = url_for("projects.project", project_id=project_id)
    try:
        flash(act(found))
    except GarageError as error:
        flash(error.detail)
        return redirect(back)
    return redirect(then or back)


def _among(tasks: Sequence[str], what: str) -> str:
    return f"{what} on {len(tasks)} workers." if len(tasks) > 1 else f"{what}."


@blueprint.post("/projects/<id:project_id>/pull")
@signed_in("operator")
def pull(project_id: str) -> Response:
    return _done(project_id, lambda found: _among(service.pull(me(), found, _worker()), "Pulling"))


@blueprint.post("/projects/<id:project_id>/refresh")
@signed_in("operator")
def refresh(project_id: str) -> Response:
    return _done(
        project_id, lambda found: _among(service.refresh(me(), found, _worker()), "Looking how it is")
    )


@blueprint.post("/projects/<id:project_id>/place")
@signed_in("operator")
def place(project_id: str) -> Response:
    """Clone it onto another worker, or once more where that failed."""

    def act(found: "Project") -> str:
        service.place(me(), found, _worker() or "")
        return "It is cloned there now."

    return _done(project_id, act)


@blueprint.post("/projects/<id:project_id>/delete")
@signed_in("operator")
def delete(project_id: str) -> Response:
    """What would be lost for good stops it, and is shown."""
    return _delete(project_id)


@blueprint.post("/projects/<id:project_id>/delete-anyway")
@signed_in("operator")
def delete_anyway(project_id: str) -> Response:
    return _delete(project_id, force=True)


def _delete(project_id: str, force: bool = False) -> Response:
    worker_id = _worker()

    def act(found: "Project") -> str:
        if worker_id:
            removal.delete_on(me(), found, worker_id, force=force)
        else:
            removal.delete(me(), found, force=force, forget=_told_to_stay(found))
        return f"{found.name} is being deleted."

    return _done(project_id, act, "" if worker_id else url_for("projects.projects"))


def _told_to_stay(project: "Project") -> set[str]:
    """The workers where the files stay, as whoever pressed the button was told. Raises Conflict where it was of others.

    One of them that has come back since, or another one that has gone, stops the delete: it would do what nobody read.
    """
    going, staying = set(request.form.getlist("going")), set(request.form.getlist("staying"))
    if going | staying != {checkout.worker_id for checkout in project.checkouts}:
        raise Conflict(
            f"{project.name} has come or gone somewhere since you were asked. Look, then try again."
        )
    return staying


@blueprint.post("/projects/<id:project_id>/forget")
@signed_in("operator")
def forget(project_id: str) -> Response:
    """For a checkout whose worker is gone: its files stay there."""

    def act(found: "Project") -> str:
        removal.forget_on(me(), found, _worker() or "")
        return "Forgotten. The files stay on that machine."

    return _done(project_id, act)
