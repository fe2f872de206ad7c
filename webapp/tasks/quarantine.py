"""Workers that are set aside for a while, because attempts there fail for reasons of the machine."""

from datetime import timedelta

from webapp import clock
from webapp.auth import audit
from webapp.auth.actor import system
from webapp.database import transaction
from webapp.extensions import db
from webapp.tasks.rules import QUARANTINE_FAILURES, quarantine_s
from webapp.workers import service
from webapp.workers.models import Worker


def note(worker_id: str, failed_task_id: str | None) -> None:
    """An attempt ended on this worker: of this task and for a reason of the machine's, or (None) as it should."""
    with transaction():
        worker = db.session.get(Worker, worker_id, with_for_update=True, populate_existing=True)
        if worker is None or worker.status != "approved":
            return  # one that was revoked gets no work anyway, and its attempts failed because of that
        if failed_task_id is None:
            worker.failures_in_row, worker.quarantines = [], 0
            return
        # The newest are enough, and of two tasks where there were two.
        failed = [*worker.failures_in_row, failed_task_id]
        worker.failures_in_row = _newest(failed)
        seconds = quarantine_s(failed, worker.quarantines)
        now = clock.now()
        if seconds is None or (worker.quarantined_until and worker.quarantined_until > now):
            return
        worker.quarantines += 1
        worker.quarantined_until = now + timedelta(seconds=seconds)
        after = {"for_s": seconds, "failed_tasks": worker.failures_in_row}
        audit.record(system(worker.organisation_id), "worker.quarantine", worker.name, worker.id, after=after)
        service.announce(worker)


def _newest(failed: list[str]) -> list[str]:
    """The last ones, with the last of another task in front where they are all of one."""
    newest = failed[-QUARANTINE_FAILURES:]
    others = [task_id for task_id in failed if task_id != newest[-1]]
    return newest if len(set(newest)) > 1 or not others else [others[-1], *newest]
