"""One action for all workers that are ticked in the list."""

from collections.abc import Callable
from typing import TYPE_CHECKING

from flask import flash, request
from werkzeug.wrappers import Response

from webapp import templating
from webapp.auth.actor import Actor
from webapp.auth.guards import me, signed_in
from webapp.bulk import each_ticked
from webapp.errors import Invalid
from webapp.workers import labelling, service
from webapp.workers.access import worker_for
from webapp.workers.pages import back_to_list, blueprint

if TYPE_CHECKING:
    from webapp.workers.models import Worker


@blueprint.post("/workers/approve")
@signed_in("admin")
def approve_many() -> Response:
    return each(service.approve, "approved")


@blueprint.post("/workers/revoke")
@signed_in("admin")
def revoke_many() -> Response:
    return each(service.revoke, "revoked")


@blueprint.post("/workers/label")
@signed_in("admin")
def label_many() -> Response:
    """`site=attic -old`: gives the one, takes the other away."""
    try:
        wish = labelling.read(request.form.get("labels", ""))
    except Invalid as error:
        flash(f"Nothing was changed: {error.detail}")
        return back_to_list()
    return each(lambda actor, worker: labelling.label(actor, worker, wish), "labelled")


def each(act: "Callable[[Actor, Worker], None]", done: str) -> Response:
    """Back to the list as it was, with what was done, and why not where it wasn't."""
    count, problems = each_ticked(lambda worker_id: act(me(), worker_for(me(), worker_id)))
    words = [f"{templating.plural(count, 'worker')} {done}."] if count or not problems else []
    flash(" ".join([*words, *problems[:3]]))
    return back_to_list()
