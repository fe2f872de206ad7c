"""The only way to load a worker for a person: a stranger gets 404."""

from collections.abc import Sequence

from sqlalchemy import select

from webapp.auth.actor import Actor
from webapp.errors import NotFound
from webapp.extensions import db
from webapp.workers.models import Worker


def worker_for(actor: Actor, worker_id: str) -> Worker:
    worker = db.session.scalar(
        select(Worker).where(Worker.id == worker_id, Worker.organisation_id == actor.organisation_id)
    )
    if worker is None:
        raise NotFound("There is no such worker here. It may have been removed.")
    return worker


def locked(worker: Worker) -> Worker:
    """The same row as it is now, locked until the transaction that is open ends. Raises NotFound when it has gone."""
    found = db.session.get(Worker, worker.id, with_for_update=True, populate_existing=True)
    if found is None:
        raise NotFound("There is no such worker here. It may have been removed.")
    return found


def workers_after(organisation_id: str, worker_id: str, limit: int) -> Sequence[Worker]:
    """The next ones in the order of their ids, which is that in which they came."""
    query = select(Worker).where(Worker.organisation_id == organisation_id, Worker.id > worker_id)
    return db.session.scalars(query.order_by(Worker.id).limit(limit)).all()


def workers_of(organisation_id: str, status: str | None = None) -> Sequence[Worker]:
    query = select(Worker).where(Worker.organisation_id == organisation_id)
    if status:
        query = query.where(Worker.status == status)
    return db.session.scalars(query.order_by(Worker.name, Worker.id)).all()
