"""The audit log: added to in the transaction of the change, never edited."""

from collections.abc import Sequence
from typing import Any

from sqlalchemy import insert, select

from webapp.auth.actor import Actor
from webapp.auth.models import AuditEntry
from webapp.database import run, table_of, transaction
from webapp.extensions import db

_NEW_ENTRY = insert(table_of(AuditEntry))


def record(
    actor: Actor,
    action: str,
    target: str,
    target_id: str | None = None,
    before: dict[str, Any] | None = None,
    after: dict[str, Any] | None = None,
) -> None:
    """Say who did what to what. `action` is `noun.verb`; `before` and `after` hold only what changed, never a secret."""
    values = {
        "organisation_id": actor.organisation_id,
        "actor": actor.name,
        "actor_id": actor.id,
        "address": actor.address,
        "action": action,
        "target": target[:255],
        "target_id": target_id,
        "before": before,
        "after": after,
    }
    with transaction():
        run(_NEW_ENTRY, **values)


def entries(
    organisation_id: str, after: str | None = None, limit: int = 50, target_id: str | None = None
) -> Sequence[AuditEntry]:
    """Newest first; `after` is the id of the last entry of the page before."""
    query = select(AuditEntry).where(AuditEntry.organisation_id == organisation_id)
    if target_id:
        query = query.where(AuditEntry.target_id == target_id)
    if after:
        query = query.where(AuditEntry.id < after)
    return db.session.scalars(query.order_by(AuditEntry.id.desc()).limit(limit)).all()
