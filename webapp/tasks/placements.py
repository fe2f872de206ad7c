"""What the queued tasks ask for, and which worker can give it."""

from collections.abc import Callable
from functools import lru_cache

from sqlalchemy import insert
from sqlalchemy.exc import IntegrityError

from webapp.database import after_commit, run, transaction
from webapp.extensions import db
from webapp.tasks import statements
from webapp.tasks.models import Placement, PlacementLock
from webapp.tasks.rules import Offered, Wanted, mismatches
from webapp.workers.caller import Caller
from webapp.workers.models import Worker


# Filled by create_app with the domain that knows where projects are: the ids of those that this worker has checked out
# and ready.
def nothing(worker_id: str) -> frozenset[str]:
    return frozenset()


checkouts_of: Callable[[str], frozenset[str]] = nothing

# Placements that are known to be stored: they never change and are never removed.
_stored: set[str] = set()


def ensure(wanted: Wanted) -> str:
    """The id of this placement, stored when it is new. Joins the transaction that is open."""
    if wanted.id in _stored:
        return wanted.id
    with transaction() as session:
        if session.get(Placement, wanted.id) is None:
            try:
                with session.begin_nested():
                    session.execute(
                        insert(Placement).values(
                            id=wanted.id,
                            organisation_id=wanted.organisation_id,
                            tool=wanted.tool,
                            labels=dict(wanted.labels),
                            worker_id=wanted.worker_id,
                            by_admin=wanted.by_admin,
                            slot_class=wanted.slot_class,
                            locks=list(wanted.locks),
                            project_id=wanted.project_id,
                            project_use=wanted.project_use,
                        )
                    )
                    for name in wanted.locks:
                        session.execute(insert(PlacementLock).values(name=name, placement_id=wanted.id))
            except IntegrityError:
                pass  # another process stored the same a moment ago
        after_commit(lambda: _stored.add(wanted.id))
    return wanted.id


def queued() -> dict[str, Wanted]:
    """What tasks in the queue ask for, of all organisations, by the id under which it is stored.

    `Wanted.id` may be another one by now: an upgrade that lets tasks ask for more makes new ids of the same.
    """
    return {
        placement_id: wanted(placement_id) for placement_id in run(statements.QUEUED_PLACEMENTS).scalars()
    }


@lru_cache(maxsize=10_000)
def wanted(placement_id: str) -> Wanted:
    """Placements never change, so they are read once a process."""
    row = db.session.get_one(Placement, placement_id)
    return Wanted(
        row.organisation_id,
        row.tool,
        row.labels,
        row.worker_id,
        row.by_admin,
        row.slot_class,
        tuple(row.locks),
        row.project_id,
        row.project_use,
    )


def offered_by_caller(caller: Caller) -> Offered:
    return Offered(
        caller.organisation_id,
        caller.worker_id,
        caller.tools,
        caller.labels,
        caller.admins_only,
        has_refused=caller.has_refused,
    )


def offered_by(worker: Worker) -> Offered:
    """The same of a worker that isn't calling."""
    broken = {
        str(fact["name"]): str(fact.get("problem") or "no reason given")
        for fact in worker.tool_facts
        if not fact.get("works", True)
    }
    return Offered(
        worker.organisation_id,
        worker.id,
        frozenset(worker.tools),
        worker.all_labels,
        worker.admins_only,
        broken,
    )


def matching(offered: Offered) -> list[str]:
    """The placements of the queue that this worker can take."""
    return [placement_id for placement_id, wanted in queued().items() if not mismatches(wanted, offered)]
