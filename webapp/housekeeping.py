"""One loop, in one process: what follows from the time alone."""

import logging
from collections.abc import Callable
from dataclasses import dataclass
from datetime import timedelta

from flask import Flask
from sqlalchemy.exc import SQLAlchemyError

from webapp import clock, leadership
from webapp.api import idempotency
from webapp.auth import audit, sessions
from webapp.config import Settings
from webapp.database import release
from webapp.errors import DatabaseBusy
from webapp.live.bus import bus
from webapp.projects import deliveries
from webapp.tasks import dispatch, lost, retention
from webapp.workers import keys, presence, service, twins, vitals

log = logging.getLogger(__name__)
TICK_S = 0.5
GAP = timedelta(seconds=10)
SOON_S = 1.0


@dataclass
class Job:
    """What `run` returns counts only where it is True: there is more to do, so it is due again soon."""

    name: str
    every_s: float
    run: Callable[[], object]
    in_each_process: bool = False  # about what this process has in memory
    due_at: float = 0.0


class Housekeeper:
    """`step` does what is due; `run` repeats it until the server stops."""

    def __init__(self, app: Flask) -> None:
        self.app = app
        settings: Settings = app.config["SETTINGS"]
        self.started_at = clock.monotonic()
        self.looked_at = clock.now()
        self.patience_s = settings.lease_s
        self.jobs = [
            Job("dispatch", 1, dispatch.wake_for_queue, in_each_process=True),
            Job("queue timeouts", 10, lost.end_waited_too_long),
            Job("lost attempts", 5, lambda: self._end_lost(settings)),
            Job("presence", 60, presence.save, in_each_process=True),
            Job("uses of keys", 60, keys.save_uses, in_each_process=True),
            Job("twins", 5, twins.note, in_each_process=True),
            Job("expired keys", 600, keys.remove_expired),
            Job("vitals", vitals.EVERY.total_seconds(), vitals.sample, in_each_process=True),
            Job("old vitals", vitals.EVERY.total_seconds(), vitals.remove_old),
            Job("pending workers", 600, lambda: service.forget_pending(settings.pending_hours)),
            Job("sessions", 3600, sessions.forget_expired),
            Job("repeated requests", 600, idempotency.forget_old),
            Job("pulls after a push", 5, deliveries.pull_waiting),
            Job("old deliveries", 3600, deliveries.remove_old),
            Job("retention", 3600, lambda: remove_old(settings)),
            Job("leftover logs", 60, lambda: self._sweep(settings)),
        ]
        self.leftovers = retention.Sweep()
        self.leads = False
        self.lead = Job("leadership", 0, self._look_who_leads)

    def step(self) -> None:
        self._notice_a_gap()
        due = [job for job in self.jobs if clock.monotonic() >= job.due_at]
        if any(not job.in_each_process for job in due):
            self._do(self.lead)
        for job in due:
            job.due_at = clock.monotonic() + job.every_s
            if (job.in_each_process or self.leads) and self._do(job) is True:
                job.due_at = clock.monotonic() + SOON_S

    def _look_who_leads(self) -> None:
        """One process does what is about all of them. Whoever takes over gives agents their chance first, too."""
        led, self.leads = self.leads, False
        self.leads = leadership.of_this_process().is_held()
        if self.leads and not led:
            self.started_at = clock.monotonic()

    def _notice_a_gap(self) -> None:
        """A lid that was closed, a paused machine: leases ran on while nobody could renew them."""
        now = clock.now()
        if now - self.looked_at > GAP:
            self.started_at = clock.monotonic()
        self.looked_at = now

    def run(self) -> None:
        while not bus.stopping.wait(TICK_S):
            self.step()
        self._do(Job("presence", 0, presence.save))
        self._do(Job("leadership", 0, lambda: leadership.of_this_process().resign()))

    def _end_lost(self, settings: Settings) -> None:
        """After a restart or an outage agents get their chance first: one full lease."""
        if clock.monotonic() - self.started_at >= self.patience_s:
            lost.end_lost(settings.lease_s, settings.lost_after_s)

    def _sweep(self, settings: Settings) -> None:
        if settings.retention_log_days:
            self.leftovers.step(settings.retention_log_days)

    def _do(self, job: Job) -> object:
        """A job that fails is said and tried again when it is due; the others go on."""
        try:
            with self.app.app_context():
                said = job.run()
                release()
                return said
        except Exception as error:
            if isinstance(error, SQLAlchemyError | DatabaseBusy):
                self.started_at = clock.monotonic()  # the database was away: agents get their chance first
            log.exception("housekeeping failed", extra={"job": job.name})
            return None


def remove_old(settings: Settings) -> bool:
    """A batch of each kind that isn't kept for ever. Returns whether there may be more."""
    kinds = (
        (retention.remove_logs, settings.retention_log_days),
        (retention.remove_tasks, settings.retention_task_days),
        (audit.remove_older, settings.retention_audit_days),
    )
    has_more = [remove(days) for remove, days in kinds if days]  # each has its turn
    return any(has_more)
