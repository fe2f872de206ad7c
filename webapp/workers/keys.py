"""Workers' keys: a fresh one by rotation, and the end of the one before.

A fresh key takes the older one's place with its first use, not when it is made: the answer that carries it may get lost,
or its agent be killed before it is stored, and then the older one still opens everything and may ask again. From the first
use on the older one has 24 hours. So there are never more than two, and never none that the agent has.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from functools import partial

from flask import current_app
from sqlalchemy import bindparam, delete, func, select, update

from webapp import clock, failpoints
from webapp.auth import audit
from webapp.auth.actor import Actor, system
from webapp.database import after_commit, run_many, table_of, transaction
from webapp.errors import Conflict
from webapp.extensions import db
from webapp.security import NewToken, new_token
from webapp.workers import presence
from webapp.workers.access import locked
from webapp.workers.caller import Caller, UnknownKey
from webapp.workers.identify import KEY_PREFIX
from webapp.workers.models import Worker, WorkerKey
from webapp.workers.service import announce

OVERLAP = timedelta(hours=24)

_keys = table_of(WorkerKey)
_SAVE_USE = (
    update(_keys)
    .where(_keys.c.key_id == bindparam("used_key_id"))
    .values(used_at=bindparam("at"), used_from=bindparam("address"))
)


@dataclass(frozen=True)
class Rotated:
    """`text` is told to the agent, once. `old_expires_at`: if the fresh key is used at once."""

    text: str
    key_id: str
    old_expires_at: datetime


@dataclass(frozen=True)
class Shown:
    """A key as people see it. `is_fresh`: from a rotation, and nobody has used it yet."""

    key_id: str
    created_at: datetime
    expires_at: datetime | None
    is_fresh: bool
    used_at: datetime | None
    used_from: str


def shown(worker_id: str) -> list[Shown]:
    """Those that open something, newest first. When they were used is said by the minute: they are all the time."""
    is_live = WorkerKey.expires_at.is_(None) | (WorkerKey.expires_at > clock.now())
    query = select(WorkerKey).where(WorkerKey.worker_id == worker_id, is_live)
    return [_shown(key) for key in db.session.scalars(query.order_by(WorkerKey.created_at.desc()))]


def _shown(key: WorkerKey) -> Shown:
    use = presence.use_of(key.worker_id, key.key_id)
    at, address = (use.at, use.address) if use else (key.used_at, key.used_from or "")
    minute = at and at.replace(second=0, microsecond=0)
    return Shown(key.key_id, key.created_at, key.expires_at, key.replaces is not None, minute, address)


def are_old(found: Sequence[Shown]) -> bool:
    """Whether the newest was made so long ago that a person should be reminded of it."""
    limit = _old_before()
    return bool(found) and limit is not None and found[0].created_at < limit


def old_ones(organisation_id: str) -> set[str]:
    """Ids of the workers that may work and whose newest key is old."""
    limit = _old_before()
    if limit is None:
        return set()
    query = select(WorkerKey.worker_id).join(Worker, Worker.id == WorkerKey.worker_id)
    query = query.where(Worker.organisation_id == organisation_id, Worker.status == "approved")
    query = query.group_by(WorkerKey.worker_id).having(func.max(WorkerKey.created_at) < limit)
    return set(db.session.scalars(query))


def _old_before() -> datetime | None:
    days = current_app.config["SETTINGS"].key_reminder_days
    return clock.now() - timedelta(days=days) if days else None


def request_rotation(actor: Actor, worker: Worker) -> None:
    """Have its agent get itself a fresh key. Said twice it is still one wish."""
    with transaction():
        found = locked(worker)
        if found.status != "approved":
            raise Conflict(f"{found.name} is {found.status}: only a worker that may work exchanges its key.")
        if found.rotate_requested_at is None:
            found.rotate_requested_at = clock.now()
            audit.record(actor, "worker.request-rotation", found.name, found.id)
            announce(found)


def rotate(caller: Caller) -> Rotated:
    """A fresh key for the agent that asks with its own one.

    Asked again with the same key, it is another fresh one, and the one before it is forgotten: its answer got lost. Once a
    fresh key was used, the older one may ask no more: whoever has it still may be a thief, or a copy of the disk.
    """
    with transaction() as session:
        worker = _locked(caller)
        asking = session.get(WorkerKey, caller.key_id, populate_existing=True)
        if asking is None:
            raise UnknownKey
        if asking.expires_at is not None:
            raise Conflict("A newer key of this worker is in use already. Only that one can be exchanged.")
        session.execute(
            delete(WorkerKey).where(WorkerKey.worker_id == worker.id, WorkerKey.key_id != asking.key_id)
        )
        fresh = _fresh_key(worker, asking.key_id)
        audit.record(
            caller.as_actor(),
            "worker.rotate-key",
            worker.name,
            worker.id,
            {"key": asking.key_id},
            {"key": fresh.key_id},
        )
        announce(worker)
        after_commit(lambda: failpoints.reach("key.after-commit"))
    return Rotated(fresh.text, fresh.key_id, clock.now() + OVERLAP)


def _locked(caller: Caller) -> Worker:
    worker = db.session.get(Worker, caller.worker_id, with_for_update=True, populate_existing=True)
    if worker is None:
        raise UnknownKey
    return worker


def _fresh_key(worker: Worker, replaces: str) -> NewToken:
    key = new_token(KEY_PREFIX)
    db.session.add(WorkerKey(key_id=key.key_id, digest=key.digest, worker_id=worker.id, replaces=replaces))
    return key


def take_over(caller: Caller) -> None:
    """The first use of a fresh key: the wish for it is done, and the older one's time runs."""
    with transaction() as session:
        worker = _locked(caller)
        first = session.execute(
            update(WorkerKey)
            .where(WorkerKey.key_id == caller.key_id, WorkerKey.replaces.is_not(None))
            .values(replaces=None)
        )
        if not first.rowcount:  # type: ignore[attr-defined]
            return  # another request with it was quicker
        ends_at = clock.now() + OVERLAP
        session.execute(
            update(WorkerKey)
            .where(WorkerKey.worker_id == worker.id, WorkerKey.key_id != caller.key_id)
            .values(expires_at=ends_at)
        )
        worker.rotate_requested_at = worker.twin_seen_at = worker.twin_address = None
        after = {"key": caller.key_id, "older_key_expires_at": clock.wire(ends_at)}
        audit.record(caller.as_actor(), "worker.use-fresh-key", worker.name, worker.id, after=after)
        announce(worker)


def remove_expired() -> None:
    """Housekeeping: what opens nothing any more."""
    with transaction() as session:
        query = select(WorkerKey, Worker).join(Worker, Worker.id == WorkerKey.worker_id)
        for key, worker in session.execute(query.where(WorkerKey.expires_at <= clock.now()).limit(500)).all():
            session.delete(key)
            actor = system(worker.organisation_id)
            audit.record(actor, "worker.key-expired", worker.name, worker.id, before={"key": key.key_id})
            announce(worker)
            after_commit(partial(presence.forget_key, worker.id, key.key_id))


def save_uses() -> None:
    """Housekeeping: write down when each key was used last, and from where."""
    rows = [
        {"used_key_id": key_id, "at": use.at, "address": use.address}
        for key_id, use in presence.unsaved_uses().items()
    ]
    if rows:
        with transaction():
            run_many(_SAVE_USE, rows)
