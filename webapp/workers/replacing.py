"""A machine that was installed anew takes its former worker's place."""

from sqlalchemy import case, select

from webapp.auth import audit
from webapp.auth.actor import Actor
from webapp.database import transaction
from webapp.errors import Conflict
from webapp.extensions import db
from webapp.workers import presence, service
from webapp.workers.access import locked, worker_for
from webapp.workers.models import Worker

# What people have said of the former one. Its drain is one of them: nobody put the machine back into service.
KEPT = ("name", "admins_only", "drain_requested_at", "drain_until", "drain_note")


def same_machine(worker: Worker) -> Worker | None:
    """The worker that this machine was before, as it says. Of one that waits that may be a revoked one."""
    query = select(Worker).where(
        Worker.organisation_id == worker.organisation_id,
        Worker.machine_id == worker.machine_id,
        Worker.id < worker.id,  # ids sort by time
        Worker.status.in_(("approved", "revoked") if worker.status == "pending" else ("approved",)),
    )
    may_work_first = case((Worker.status == "approved", 0), else_=1)
    return db.session.scalar(query.order_by(may_work_first, Worker.id.desc()).limit(1))


def is_there(former: Worker, worker: Worker) -> bool:
    """Whether it was seen after the other one had come: then they are two, and nothing was installed anew."""
    seen_at = presence.seen_at(former)
    return seen_at is not None and seen_at > worker.created_at


def replace(actor: Actor, worker: Worker, former_id: str) -> None:
    """Approve the one, revoke the other, and keep what people have said of it: name, labels, slots, whom it serves, drain.

    Labels and slots that came with a join token are newer and win. Raises Conflict where they aren't the same machine.
    """
    with transaction():
        former, new = locked(worker_for(actor, former_id)), locked(worker)
        _refuse_others(new, former)
        before = {"name": new.name, "worker": former.id}
        for column in KEPT:
            setattr(new, column, getattr(former, column))
        new.labels = {**former.labels, **new.labels}
        new.slots_set = former.slots_set if new.slots_set is None else new.slots_set
        if new.status == "pending":
            service.approve(actor, new)
        if former.status != "revoked":
            service.revoke(actor, former)
        after = {"name": new.name, "labels": new.labels, "slots": new.slots_set}
        audit.record(actor, "worker.replace", new.name, new.id, before, after)
        service.announce(new)


def _refuse_others(new: Worker, former: Worker) -> None:
    if new.id == former.id or new.machine_id != former.machine_id:
        raise Conflict(f"{new.name} doesn’t say that it is the same machine as {former.name}.")
    if new.status == "revoked":
        raise Conflict(f"{new.name} is revoked: it can take nobody’s place.")
