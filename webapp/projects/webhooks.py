"""Webhooks: made and deleted by people. What happens when a remote calls one is in `deliveries.py`."""

from collections.abc import Sequence
from datetime import datetime

from sqlalchemy import func, select

from webapp.api import PREFIX as API
from webapp.auth import audit
from webapp.auth.actor import Actor
from webapp.database import after_commit, transaction
from webapp.errors import Conflict, Forbidden, NotFound
from webapp.extensions import db
from webapp.live.bus import bus, project_topic
from webapp.projects.access import locked
from webapp.projects.models import Delivery, Project, Webhook
from webapp.security import new_token, own_origin

PREFIX = "gsh"
MOST = 10
SHOWN = 10


def create(actor: Actor, project: Project) -> tuple[Webhook, str]:
    """A new one, and its secret, shown once. Its pulls have the rights that its maker has at that time."""
    if actor.id is None:
        raise Forbidden("A webhook has the rights of the person who makes it, so only a person can.")
    secret = new_token(PREFIX).text
    with transaction() as session:
        found = locked(project.id)
        if len(listed(found)) >= MOST:
            raise Conflict(f"A project has at most {MOST} webhooks. Delete one that nobody calls.")
        made = Webhook(
            organisation_id=found.organisation_id,
            project_id=found.id,
            secret=secret,
            created_by=actor.name,
            created_by_id=actor.id,
        )
        session.add(made)
        session.flush()
        audit.record(actor, "webhook.create", found.path, found.id, after={"webhook": made.id})
        after_commit(lambda: bus.wake(project_topic(project.id)))
    return made, secret


def address_of(webhook_id: str, origin: str | None = None) -> str:
    """What the remote has to call, as whoever asks reaches this server: at `origin`, where there is no request to tell."""
    return f"{own_origin() if origin is None else origin}{API}/hooks/{webhook_id}"


def listed(project: Project) -> Sequence[Webhook]:
    """Oldest first."""
    query = select(Webhook).where(Webhook.project_id == project.id)
    return db.session.scalars(query.order_by(Webhook.id)).all()


def webhook_for(project: Project, webhook_id: str) -> Webhook:
    query = select(Webhook).where(Webhook.id == webhook_id, Webhook.project_id == project.id)
    found = db.session.scalar(query)
    if found is None:
        raise NotFound("This project has no such webhook. It may have been deleted.")
    return found


def delete(actor: Actor, project: Project, webhook_id: str) -> None:
    """From now on calls of it are refused."""
    with transaction() as session:
        found = webhook_for(project, webhook_id)
        session.delete(found)
        audit.record(actor, "webhook.delete", project.path, project.id, before={"webhook": found.id})
        after_commit(lambda: bus.wake(project_topic(project.id)))


def deliveries(project: Project, limit: int = SHOWN) -> Sequence[Delivery]:
    """What the remote said last, to any of the project's webhooks; newest first."""
    query = select(Delivery).join(Webhook, Webhook.id == Delivery.webhook_id)
    query = query.where(Webhook.project_id == project.id)
    return db.session.scalars(
        query.order_by(Delivery.received_at.desc(), Delivery.delivery_id).limit(limit)
    ).all()


def last_calls(webhooks: Sequence[Webhook]) -> dict[str, datetime]:
    """{webhook: when it was called last}, of those that were."""
    query = select(Delivery.webhook_id, func.max(Delivery.received_at)).group_by(Delivery.webhook_id)
    query = query.where(Delivery.webhook_id.in_([row.id for row in webhooks]))
    return {row[0]: row[1] for row in db.session.execute(query)}
