"""Named locks: at most one attempt holds one; who waits gets it first in, first out.

A task takes all its locks with its claim, in one transaction, or isn't claimed: nobody holds one and waits for another.
They are given back when the attempt ends. A lock is a row whose primary key is its name.
"""

from collections.abc import Sequence
from typing import Any

from sqlalchemy import BindParameter, ColumnElement, and_, bindparam, delete, func, literal, select, text

from webapp import clock
from webapp.database import run, table_of
from webapp.tasks import statements
from webapp.tasks.models import HeldLock, PlacementLock

held, wanted, _tasks = table_of(HeldLock), table_of(PlacementLock), statements.tasks
_waiting = _tasks.alias("waiting")

_TAKE = text(
    "INSERT INTO held_locks (organisation_id, name, task_id, attempt_id, taken_at) "
    "VALUES (:organisation_id, :name, :task_id, :attempt_id, :taken_at) ON CONFLICT DO NOTHING"
)
_GIVE_BACK = delete(held).where(held.c.attempt_id == bindparam("of_attempt_id"))


def is_due(task: Any) -> ColumnElement[bool]:
    """In line: a retry that isn't due yet holds no place, or it would keep everybody waiting for its pause."""
    return and_(
        task.c.status == literal("queued", literal_execute=True),
        func.coalesce(task.c.not_before, 0) <= bindparam("now_ms"),
    )


_NAMES: BindParameter[str] = bindparam("lock_names", expanding=True)
_IS_FREE = ~(
    select(held.c.name)
    .where(held.c.organisation_id == _tasks.c.organisation_id, held.c.name.in_(_NAMES))
    .exists()
)
_IS_NEXT = ~(
    select(_waiting.c.id)
    .join(wanted, wanted.c.placement_id == _waiting.c.placement_id)
    .where(
        wanted.c.name.in_(_NAMES),
        # As an expression, or SQLite would begin with an index of all that the organisation has in the queue, for each
        # placement with locks that is asked for. By its placements a lock's line is short.
        func.coalesce(_waiting.c.organisation_id, "") == _tasks.c.organisation_id,
        _waiting.c.id < _tasks.c.id,
        is_due(_waiting),
    )
    .exists()
)
# The one task of a placement with locks that may be claimed now, if any: first in, first out, whatever its priority.
NEXT_IN_LINE = (
    select(_tasks.c.id, _tasks.c.priority, _tasks.c.placement_id)
    .where(_tasks.c.placement_id == bindparam("placement_id"), is_due(_tasks), _IS_FREE, _IS_NEXT)
    .order_by(_tasks.c.id)
    .limit(1)
)
NEXT = statements.by_asker(NEXT_IN_LINE)


def take(organisation_id: str, names: Sequence[str], task_id: str, attempt_id: str) -> bool:
    """All of them for this attempt, or none. Joins the transaction that is open.

    In sorted order everywhere: two tasks that want the same ones can't wait for each other.
    """
    values = {"organisation_id": organisation_id, "task_id": task_id, "attempt_id": attempt_id}
    for name in sorted(names):
        taken = run(_TAKE, **values, name=name, taken_at=clock.to_ms(clock.now()))
        if not taken.rowcount:
            give_back(attempt_id)
            return False
    return True


def give_back(attempt_id: str) -> bool:
    """Free what an attempt holds. Returns whether it held any."""
    return bool(run(_GIVE_BACK, of_attempt_id=attempt_id).rowcount)
