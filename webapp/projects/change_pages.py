"""What is said of a project can be changed: its description, what is checked out, its credential."""

from typing import TYPE_CHECKING, Any

from flask import flash, redirect, request, url_for
from pydantic import ValidationError
from werkzeug.wrappers import Response

from webapp.auth.actor import Actor
from webapp.auth.guards import me, signed_in
from webapp.errors import Invalid, invalid_from
from webapp.projects import credentials, service
from webapp.projects.access import writable_project_for
from webapp.projects.pages import blueprint
from webapp.projects.project_pages import Part, project_page
from webapp.projects.rules import ref_problem
from webapp.projects.schemas import ProjectChange

if TYPE_CHECKING:
    from webapp.projects.models import Project

REF_KINDS = {
    "default": "the remote’s default branch",
    "branch": "a branch",
    "tag": "a tag",
    "commit": "a commit",
}
LONGEST = 1000


def _context(actor: Actor, project: "Project") -> dict[str, Any]:
    shown = {
        "description": project.description,
        "ref_kind": project.ref_kind,
        "ref": project.ref,
        "credential_id": project.credential_id or "",
    }
    return {
        "change": shown,
        "change_errors": {},
        "ref_kinds": REF_KINDS,
        "choices": credentials.usable_for(actor, project.git_url, project.id),
        "known_branches": sorted({name for each in project.checkouts for name in each.branches}),
    }


PART = Part("projects/_change.html", _context)


@blueprint.post("/projects/<id:project_id>/change")
@signed_in("operator")
def change(project_id: str) -> Response | tuple[str, int]:
    found = writable_project_for(me(), project_id)
    form = {name: request.form.get(name, "").strip()[:LONGEST] for name in _context(me(), found)["change"]}
    try:
        service.change(me(), found, _wish(form))
    except Invalid as error:
        rows = error.extra.get("errors") or [{"field": "ref", "message": error.detail}]
        errors = {row["field"] if row["field"] in form else "ref": row["message"] for row in rows}
        return project_page(project_id, change=form, change_errors=errors), 422
    flash("Changed. Checkouts follow with their next pull.")
    return redirect(url_for("projects.project", project_id=project_id))


def _wish(form: dict[str, str]) -> ProjectChange:
    """Raises Invalid."""
    kind, ref = form["ref_kind"], form["ref"]
    if kind not in REF_KINDS:
        raise Invalid("Choose one of these.", "ref")
    if kind != "default" and (problem := ref_problem(kind, ref)):  # type: ignore[arg-type]
        raise Invalid(problem, "ref")
    said: dict[str, Any] = {
        "description": form["description"],
        "credential_id": form["credential_id"] or None,
        **({"branch": None} if kind == "default" else {kind: ref}),
    }
    try:
        return ProjectChange.model_validate(said)
    except ValidationError as error:
        raise invalid_from(error) from error
