"""A worker's status as people see it: computed from facts and the time, never stored."""

from collections.abc import Callable

from flask import current_app

from webapp import clock
from webapp.workers import presence
from webapp.workers.models import Worker
from webapp.workers.rules import Facts, ShownStatus, shown_status


# Filled by create_app with the domain that knows of tasks: {worker_id: attempts it holds} of an organisation.
def nobody(organisation_id: str) -> dict[str, int]:
    raise RuntimeError("create_app fills this")


busy_with: Callable[[str], dict[str, int]] = nobody


def status_of(worker: Worker, held: int | None = None) -> ShownStatus:
    """`held` saves the query where a list of workers has counted already."""
    count = busy_with(worker.organisation_id).get(worker.id, 0) if held is None else held
    settings = current_app.config["SETTINGS"]
    facts = Facts(
        worker.status,
        presence.seen_at(worker),
        count,
        worker.is_draining,
        worker.quarantined_until,
        worker.created_at,
    )
    return shown_status(facts, clock.now(), settings.offline_after_s, settings.archive_after_days)
