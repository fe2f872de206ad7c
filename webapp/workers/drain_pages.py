"""Drain and resume: one worker on its page, or those that are ticked in the list."""

from typing import Any

from flask import request
from pydantic import ValidationError
from werkzeug.wrappers import Response

from webapp import templating
from webapp.auth.guards import me, signed_in
from webapp.errors import invalid_from
from webapp.workers import draining, listing
from webapp.workers.access import worker_for
from webapp.workers.bulk_pages import each
from webapp.workers.pages import MOST_DIGITS, blueprint, done
from webapp.workers.schemas import DrainWish


@blueprint.post("/workers/<id:worker_id>/drain")
@signed_in("admin")
def drain(worker_id: str) -> Response:
    found = worker_for(me(), worker_id)
    draining.drain(me(), found, _wish())
    held = listing.shown(found).held
    rest = (
        f"it finishes {templating.plural(held, 'task')} and takes no more"
        if held
        else "it takes no more work"
    )
    return done(f"{found.name} drains: {rest}.", worker_id)


@blueprint.post("/workers/<id:worker_id>/resume")
@signed_in("admin")
def resume(worker_id: str) -> Response:
    found = worker_for(me(), worker_id)
    was_set_aside = listing.shown(found).back_at is not None
    draining.resume(me(), found)
    end = " Its quarantine is over." if was_set_aside else ""
    return done(f"{found.name} takes work again.{end}", worker_id)


@blueprint.post("/workers/drain")
@signed_in("admin")
def drain_many() -> Response:
    wish = _wish()
    return each(lambda actor, worker: draining.drain(actor, worker, wish), "told to drain")


@blueprint.post("/workers/resume")
@signed_in("admin")
def resume_many() -> Response:
    return each(draining.resume, "resumed")


def _wish() -> DrainWish:
    """What the form says of why and how long. A button without these fields changes neither."""
    said: dict[str, Any] = {}
    if "note" in request.form:
        said["note"] = request.form["note"].strip()
    if "for_s" in request.form:
        chosen = request.form["for_s"]
        is_number = chosen.isdecimal() and len(chosen) <= MOST_DIGITS
        said["for_s"] = int(chosen) if is_number else chosen or None
    try:
        return DrainWish.model_validate(said)
    except ValidationError as error:
        raise invalid_from(error) from error
