"""Whose key it is."""

from dataclasses import replace
from typing import Any

from sqlalchemy import Row, bindparam, select

from webapp.database import run, table_of
from webapp.security import read_token, same
from webapp.workers.caller import Caller, WorkerRevoked
from webapp.workers.models import Worker, WorkerKey

KEY_PREFIX = "gsw"

_workers, _keys = table_of(Worker), table_of(WorkerKey)
_FACTS = (
    _workers.c.id,
    _workers.c.organisation_id,
    _workers.c.name,
    _workers.c.status,
    _workers.c.tools,
    _workers.c.agent_labels,
    _workers.c.labels,
    _workers.c.admins_only,
    _workers.c.slots_set,
    _workers.c.drain_requested_at,
    _workers.c.quarantined_until,
    _workers.c.announcement,
)
_BY_KEY = select(*_FACTS, _keys.c.digest).join(_keys, _keys.c.worker_id == _workers.c.id)
_BY_KEY = _BY_KEY.where(_keys.c.key_id == bindparam("key_id"))
_BY_ID = select(*_FACTS).where(_workers.c.id == bindparam("worker_id"))


def by_key(text: str) -> Caller | None:
    """The worker whose key this is; None for anything that is no live key."""
    parts = read_token(text, KEY_PREFIX)
    row = run(_BY_KEY, key_id=parts.key_id).first() if parts else None
    if parts is None or row is None or not same(row.digest, parts.digest):
        return None
    return _caller(row)


def again(caller: Caller) -> Caller:
    """The same worker as it is now: a parked call may outlive an approval, a revocation or a change of labels."""
    row = run(_BY_ID, worker_id=caller.worker_id).first()
    if row is None:
        raise WorkerRevoked
    return replace(_caller(row), address=caller.address)


def _caller(row: Row[Any]) -> Caller:
    labels = {**row.agent_labels, **row.labels}
    return Caller(
        row.id,
        row.organisation_id,
        row.name,
        row.status,
        frozenset(row.tools),
        labels,
        row.admins_only,
        row.slots_set,
        is_draining=row.drain_requested_at is not None,
        quarantined_until=row.quarantined_until,
        announcement=row.announcement,
    )
