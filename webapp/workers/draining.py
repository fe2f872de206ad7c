"""Take a machine out of service, and back. A drain with a time limit ends by itself: that is computed, never stored."""

from datetime import timedelta
from typing import Any

from webapp import clock
from webapp.auth import audit
from webapp.auth.actor import Actor
from webapp.database import transaction
from webapp.errors import Conflict
from webapp.workers.access import locked
from webapp.workers.models import Worker
from webapp.workers.schemas import DrainWish
from webapp.workers.service import announce


def drain(actor: Actor, worker: Worker, wish: DrainWish | None = None) -> None:
    """Finish what runs, take no more. While it drains, what the wish leaves out stays: said twice it is one wish."""
    with transaction():
        found = locked(worker)
        _refuse_unapproved(found)
        before = _said(found)
        if not before:
            found.drain_requested_at, found.drain_until, found.drain_note = clock.now(), None, None
        _take(found, wish or DrainWish())
        after = _said(found)
        if after != before:
            audit.record(actor, "worker.drain", found.name, found.id, before, after)
            announce(found)


def _take(worker: Worker, wish: DrainWish) -> None:
    if "note" in wish.model_fields_set:
        worker.drain_note = wish.note or None
    if "for_s" in wish.model_fields_set:
        limit = None if wish.for_s is None else timedelta(seconds=wish.for_s)
        worker.drain_until = clock.now() + limit if limit else None


def _said(worker: Worker) -> dict[str, Any]:
    """The drain that is on, for the audit log; empty where none is."""
    if not worker.is_draining:
        return {}
    return {"note": worker.drain_note, "until": clock.wire(worker.drain_until)}


def resume(actor: Actor, worker: Worker) -> None:
    """Take work again: ends a drain, and a quarantine with its count."""
    with transaction():
        found = locked(worker)
        _refuse_unapproved(found)
        if not found.is_draining and not found.failures_in_row and not found.quarantined_until:
            return
        found.drain_requested_at = found.drain_until = found.drain_note = found.quarantined_until = None
        found.failures_in_row, found.quarantines = [], 0
        audit.record(actor, "worker.resume", found.name, found.id)
        announce(found)


def _refuse_unapproved(worker: Worker) -> None:
    if worker.status != "approved":
        raise Conflict(f"{worker.name} is {worker.status}: it takes no work anyway.")
