"""Announcements: a line for the terminal of one agent, or of all."""

from typing import TYPE_CHECKING

from flask import flash, redirect, request, url_for
from pydantic import ValidationError
from werkzeug.wrappers import Response

from webapp import templating
from webapp.auth.guards import me, signed_in
from webapp.errors import Invalid, invalid_from
from webapp.workers import service
from webapp.workers.access import worker_for, workers_of
from webapp.workers.pages import blueprint, list_page, worker_page
from webapp.workers.schemas import Announcement

if TYPE_CHECKING:
    from webapp.workers.models import Worker


@blueprint.post("/workers/<id:worker_id>/announce")
@signed_in("admin")
def announce(worker_id: str) -> Response | tuple[str, int]:
    worker = worker_for(me(), worker_id)
    try:
        flash(_announce([worker]))
    except Invalid as error:
        return worker_page(worker_id, announce=_as_sent(error)), 422
    return redirect(url_for("workers.worker", worker_id=worker_id))


@blueprint.post("/workers/announce")
@signed_in("admin")
def announce_to_all() -> Response | tuple[str, int]:
    """To every approved worker of the organisation."""
    try:
        flash(_announce(list(workers_of(me().organisation_id, "approved"))))
    except Invalid as error:
        return list_page(announce=_as_sent(error)), 422
    return redirect(url_for("workers.workers"))


def _announce(workers: "list[Worker]") -> str:
    """What was done, in words. Raises Invalid for an empty text: only the button beside the old one takes it back."""
    text = request.form.get("text", "").strip()
    is_taken_back = "take_back" in request.form
    if not (text or is_taken_back):
        raise Invalid("Write what they shall show.", "text")
    try:
        wish = Announcement(text="" if is_taken_back else text)
    except ValidationError as error:
        raise invalid_from(error) from error
    service.announce_text(me(), workers, wish.text)
    if is_taken_back:
        return "Taken back."
    names = workers[0].name if len(workers) == 1 else templating.plural(len(workers), "worker")
    return f"Announced to {names}." if workers else "No worker is approved: nobody was told."


def _as_sent(error: Invalid) -> dict[str, str]:
    """The form again, with what is wrong beside its field."""
    rows = error.extra.get("errors") or [{"message": error.detail}]
    return {
        "text": request.form.get("text", "")[:2000],
        "error": templating.sentence(str(rows[0]["message"])),
    }
