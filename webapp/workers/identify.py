"""Whose key it is."""

from dataclasses import replace
from typing import Any

from sqlalchemy import Row, bindparam, select

from webapp import clock
from webapp.database import run, table_of
from webapp.security import read_token, same
from webapp.workers.caller import Caller, UnknownKey
from webapp.workers.models import Worker, WorkerKey
from webapp.workers.rules import is_draining

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
    _workers.c.drain_until,
    _workers.c.quarantined_until,
    _workers.c.announcement,
    _workers.c.rotate_requested_at,
    _workers.c.has_refused,
)
_KEY_FACTS = (_keys.c.key_id, _keys.c.digest, _keys.c.expires_at, _keys.c.replaces)
_BY_KEY = select(*_FACTS, *_KEY_FACTS).join(_keys, _keys.c.worker_id == _workers.c.id)
_BY_KEY = _BY_KEY.where(_keys.c.key_id == bindparam("key_id"))


def by_key(text: str) -> Caller | None:
    """The worker whose key this is; None for anything that is no live key."""
    parts = read_token(text, KEY_PREFIX)
    row = _live(parts.key_id) if parts else None
    if parts is None or row is None or not same(row.digest, parts.digest):
        return None
    return _caller(row)


def again(caller: Caller) -> Caller:
    """The same worker as it is now: a parked call or an open socket may outlive an approval, a revocation, a change of
    labels, and its own key. Raises UnknownKey when the key has ended."""
    row = _live(caller.key_id)
    if row is None:
        raise UnknownKey
    return replace(_caller(row), address=caller.address)


def _live(key_id: str) -> Row[Any] | None:
    row = run(_BY_KEY, key_id=key_id).first()
    is_over = row is not None and row.expires_at is not None and row.expires_at <= clock.now()
    return None if is_over else row


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
        is_draining=is_draining(row.drain_requested_at, row.drain_until, clock.now()),
        quarantined_until=row.quarantined_until,
        announcement=row.announcement,
        has_refused=row.has_refused,
        key_id=row.key_id,
        key_is_fresh=row.replaces is not None,
        wants_rotation=row.rotate_requested_at is not None,
    )
