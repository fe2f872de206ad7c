"""Pages about workers. What higher domains know of a worker hangs under its page as panels."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from flask import Blueprint, flash, redirect, request, url_for
from pydantic import ValidationError
from werkzeug.wrappers import Response

from webapp import templating
from webapp.auth import audit
from webapp.auth.actor import system
from webapp.auth.guards import me, signed_in
from webapp.bulk import each_ticked
from webapp.errors import Invalid, invalid_from
from webapp.live import views as live
from webapp.live.bus import organisation_topic, worker_topic
from webapp.live.views import LiveView, Scope
from webapp.workers import draining, listing, service
from webapp.workers.access import worker_for
from webapp.workers.rules import labels_text, parse_labels
from webapp.workers.schemas import WorkerChange

blueprint = Blueprint("workers", __name__)

STATUSES = ("pending", "online", "busy", "draining", "quarantined", "unreachable", "offline", "revoked")
FILTERS = ("q", "status", "label")
AUDIT_ROWS = 10


# ---- the list


def _list_context(scope: Scope) -> dict[str, Any]:
    rows = listing.all_shown(scope.organisation_id)
    known = [row for row in rows if row.status not in ("pending", "revoked")]
    found = listing.matching(rows, scope.args)
    return {
        **templating.frame(scope, "workers", "Workers"),
        "all": rows,
        "pending": [row for row in rows if row.status == "pending"],
        "known_machines": listing.known_machines(rows),
        "rows": [row for row in found if row.status != "pending" or scope.args.get("status")],
        "announced": listing.announced(known),
        "slots_used": sum(row.held for row in known),
        "slots": sum(row.worker.capacity for row in known if row.answers),
    }


WORKERS = LiveView(
    "workers",
    (
        "_counts.html",
        *(f"workers/_{name}.html" for name in ("facts", "pending", "rows", "announced_all")),
    ),
    _list_context,
    lambda scope: (organisation_topic(scope.organisation_id),),
)


@blueprint.get("/workers")
@signed_in("viewer")
def workers() -> str:
    return list_page()


def list_page(**values: Any) -> str:
    args = {name: request.args[name][:255] for name in FILTERS if request.args.get(name)}
    rows = listing.all_shown(me().organisation_id)
    labels = sorted({word for row in rows for word in listing.label_words(row.worker)})
    values = {"labels": labels, "statuses": STATUSES, "announce": {}, **values}
    return templating.live_page(WORKERS, "workers/list.html", args, **values)


@blueprint.post("/workers/approve")
@signed_in("admin")
def approve_many() -> Response:
    return _each(service.approve, "approved")


@blueprint.post("/workers/revoke")
@signed_in("admin")
def revoke_many() -> Response:
    return _each(service.revoke, "revoked")


@blueprint.post("/workers/drain")
@signed_in("admin")
def drain_many() -> Response:
    return _each(draining.drain, "told to drain")


@blueprint.post("/workers/resume")
@signed_in("admin")
def resume_many() -> Response:
    return _each(draining.resume, "resumed")


def _each(act: Callable[..., None], done: str) -> Response:
    count, problems = each_ticked(lambda worker_id: act(me(), worker_for(me(), worker_id)))
    words = [f"{templating.plural(count, 'worker')} {done}."] if count or not problems else []
    flash(" ".join([*words, *problems[:3]]))
    return redirect(url_for("workers.workers"))


# ---- one worker


@dataclass(frozen=True)
class Panel:
    """What a higher domain shows on a worker's page: `context(worker_id)` makes what the fragments need."""

    fragments: tuple[str, ...]
    context: Callable[[str], dict[str, Any]]


# Filled by create_app. Tasks come first, projects and workspaces hang theirs here too: workers name none of them.
panels: list[Panel] = []

_OWN_FRAGMENTS = (
    "_counts.html",
    *(f"workers/_{name}.html" for name in ("head", "gauges", "abilities", "announced")),
)


def add_panel(panel: Panel) -> None:
    if panel not in panels:
        panels.append(panel)
    live.register(worker_view())


def worker_view() -> LiveView:
    fragments = tuple(name for panel in panels for name in panel.fragments)
    return LiveView("worker", _OWN_FRAGMENTS + fragments, _worker_context, _worker_topics)


def _worker_topics(scope: Scope) -> tuple[str, ...]:
    return worker_topic(scope.args["worker"]), organisation_topic(scope.organisation_id)


def _worker_context(scope: Scope) -> dict[str, Any]:
    worker = worker_for(system(scope.organisation_id), scope.args.get("worker", ""))
    row = listing.shown(worker)
    favicon = {"busy": "running", "unreachable": "failed"}.get(row.status, "idle")
    context = {
        **templating.frame(scope, "workers", f"{row.status.capitalize()}: {worker.name}", favicon),
        "row": row,
        "worker": worker,
    }
    for panel in panels:
        context |= panel.context(worker.id)
    return context


@blueprint.get("/workers/<id:worker_id>")
@signed_in("viewer")
def worker(worker_id: str) -> str:
    return worker_page(worker_id)


def worker_page(worker_id: str, **values: Any) -> str:
    found = worker_for(me(), worker_id)
    form = {"name": found.name, "labels": labels_text(found.labels), "slots": found.capacity}
    return templating.live_page(
        worker_view(),
        "workers/worker.html",
        {"worker": worker_id},
        panels=[name for panel in panels for name in panel.fragments],
        keys=service.keys(found.id),
        entries=audit.entries(found.organisation_id, limit=AUDIT_ROWS, target_id=found.id)
        if me().may("admin")
        else (),
        **{"form": form, "errors": {}, "announce": {}, **values},
    )


@blueprint.post("/workers/<id:worker_id>/approve")
@signed_in("admin")
def approve(worker_id: str) -> Response:
    found = worker_for(me(), worker_id)
    service.approve(me(), found)
    return _done(f"{found.name} is approved. It starts working by itself.", worker_id)


@blueprint.post("/workers/<id:worker_id>/revoke")
@signed_in("admin")
def revoke(worker_id: str) -> Response:
    found = worker_for(me(), worker_id)
    service.revoke(me(), found)
    return _done(f"{found.name} is revoked: its key is refused from now on.", worker_id)


@blueprint.post("/workers/<id:worker_id>/remove")
@signed_in("admin")
def remove(worker_id: str) -> Response:
    found = worker_for(me(), worker_id)
    name = found.name
    service.remove(me(), found)
    flash(f"{name} is removed. Its tasks keep their history.")
    return redirect(url_for("workers.workers"))


@blueprint.post("/workers/<id:worker_id>/drain")
@signed_in("admin")
def drain(worker_id: str) -> Response:
    found = worker_for(me(), worker_id)
    draining.drain(me(), found)
    held = listing.shown(found).held
    rest = (
        f"it finishes {templating.plural(held, 'task')} and takes no more"
        if held
        else "it takes no more work"
    )
    return _done(f"{found.name} drains: {rest}.", worker_id)


@blueprint.post("/workers/<id:worker_id>/resume")
@signed_in("admin")
def resume(worker_id: str) -> Response:
    found = worker_for(me(), worker_id)
    was_set_aside = listing.shown(found).back_at is not None
    draining.resume(me(), found)
    end = " Its quarantine is over." if was_set_aside else ""
    return _done(f"{found.name} takes work again.{end}", worker_id)


@blueprint.post("/workers/<id:worker_id>/open")
@signed_in("admin")
def open_up(worker_id: str) -> Response:
    found = worker_for(me(), worker_id)
    service.change(me(), found, WorkerChange(admins_only=False))
    return _done(f"{found.name} takes operators’ tasks now.", worker_id)


@blueprint.post("/workers/<id:worker_id>/close")
@signed_in("admin")
def close(worker_id: str) -> Response:
    found = worker_for(me(), worker_id)
    service.change(me(), found, WorkerChange(admins_only=True))
    return _done(f"{found.name} takes only admins’ tasks from now on.", worker_id)


@blueprint.post("/workers/<id:worker_id>/change")
@signed_in("admin")
def change(worker_id: str) -> Response | tuple[str, int]:
    found = worker_for(me(), worker_id)
    form = {name: request.form.get(name, "").strip() for name in ("name", "labels", "slots")}
    try:
        service.change(me(), found, _wish(form, found.capacity))
    except Invalid as error:
        errors = {str(row["field"]).split(".")[0]: row["message"] for row in error.extra["errors"]}
        return worker_page(worker_id, form=form, errors=errors), 422
    return _done("Changed.", worker_id)


def _wish(form: dict[str, str], capacity: int) -> WorkerChange:
    labels = {key: value or "" for key, value in parse_labels(form["labels"]).items()}
    said: dict[str, Any] = {"name": form["name"], "labels": labels}
    if form["slots"] != str(capacity):  # left alone, it stays what the agent says
        said["slots"] = int(form["slots"]) if form["slots"].isdecimal() else form["slots"]
    try:
        return WorkerChange.model_validate(said)
    except ValidationError as error:
        raise invalid_from(error) from error


def _done(words: str, worker_id: str) -> Response:
    """Back to where the button was: the list, or the worker's page."""
    flash(words)
    if request.form.get("back") == "list":
        return redirect(url_for("workers.workers"))
    return redirect(url_for("workers.worker", worker_id=worker_id))
