"""What is done about webhooks on a project's page, and the page that shows a new one's secret once."""

from flask import Blueprint, flash, redirect, url_for
from werkzeug.wrappers import Response

from webapp import templating
from webapp.auth.guards import me, signed_in
from webapp.errors import GarageError
from webapp.projects import webhooks
from webapp.projects.access import writable_project_for
from webapp.security import own_origin

blueprint = Blueprint("webhooks", __name__)


@blueprint.post("/projects/<id:project_id>/webhooks")
@signed_in("operator")
def create(project_id: str) -> Response | tuple[str, int]:
    project = writable_project_for(me(), project_id)
    try:
        made, secret = webhooks.create(me(), project)
    except GarageError as error:
        flash(error.detail)
        return redirect(url_for("projects.project", project_id=project_id))
    return templating.page(
        "projects/webhook_made.html",
        "projects",
        f"New webhook: {project.name}",
        project=project,
        address=webhooks.address_of(made.id),
        secret=secret,
        is_plain=own_origin().startswith("http:"),
    )


@blueprint.post("/projects/<id:project_id>/webhooks/<id:webhook_id>/delete")
@signed_in("operator")
def delete(project_id: str, webhook_id: str) -> Response:
    webhooks.delete(me(), writable_project_for(me(), project_id), webhook_id)
    flash("The webhook is deleted. Delete it at the remote, too: what it sends is refused now.")
    return redirect(url_for("projects.project", project_id=project_id, _anchor="webhooks"))
