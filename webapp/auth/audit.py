"""The audit log: added to in the transaction of the change, never edited. What is older than its retention goes."""

from collections.abc import Sequence
from datetime import timedelta
from typing import Any

from sqlalchemy import delete, insert, select

from webapp import clock
from webapp.auth.actor import Actor
from webapp.auth.models import AuditEntry
from webapp.database import run, table_of, transaction
from webapp.extensions import db

BATCH = 500

_entries = table_of(AuditEntry)
_NEW_ENTRY = insert(_entries)


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


def remove_older(days: int) -> bool:
    """Remove a batch of what is older. Returns whether there may be more.

    Ids sort by time, so the oldest come first without an index on `at`.
    """
    oldest = select(_entries.c.id).order_by(_entries.c.id).limit(BATCH)
    with transaction():
        is_over = _entries.c.at < clock.now() - timedelta(days=days)
        gone = run(delete(_entries).where(_entries.c.id.in_(oldest), is_over))
    return gone.rowcount == BATCH
