"""What the queued tasks ask for, and which worker can give it."""

from collections.abc import Callable, Iterable, Sequence
from dataclasses import replace
from functools import lru_cache

from sqlalchemy import insert
from sqlalchemy.exc import IntegrityError

from webapp.database import after_commit, run, transaction
from webapp.extensions import db
from webapp.tasks import known_projects, statements
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
        _name_of(row.project_id),
    )


def _name_of(project_id: str | None) -> str:
    if project_id is None:
        return ""
    return known_projects.name_of(project_id) or "a project that was deleted"


def offered_by_caller(caller: Caller) -> Offered:
    return Offered(
        caller.organisation_id,
        caller.worker_id,
        caller.tools,
        caller.labels,
        caller.admins_only,
        has_refused=caller.has_refused,
    )


def offered_by(worker: Worker, checkouts: frozenset[str] = frozenset()) -> Offered:
    """The same of a worker that isn't calling. `checkouts`: of the projects that it is asked for."""
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
        checkouts=checkouts,
    )


def matching(offered: Offered) -> list[str]:
    """The placements of the queue that this worker can take. Its checkouts are asked for only where somebody wants one."""
    asked = queued()
    if any(wanted.organisation_id == offered.organisation_id for wanted in in_projects(asked.values())):
        offered = replace(offered, checkouts=checkouts_of(offered.worker_id))
    return [placement_id for placement_id, wanted in asked.items() if not mismatches(wanted, offered)]


def still_matching(placement_ids: Sequence[str], worker_id: str) -> Sequence[str]:
    """Under the worker's lock, and after a look at what it holds: without those whose checkout has gone since `matching`.

    While a checkout goes, the task that removes it is held and keeps all others out; it has said so when it isn't any more.
    """
    if not any(in_projects(map(wanted, placement_ids))):
        return placement_ids
    here = checkouts_of(worker_id)
    return [
        each for each in placement_ids if not wanted(each).needs_checkout or wanted(each).project_id in here
    ]


def in_projects(asked: Iterable[Wanted]) -> list[Wanted]:
    """Those that a worker can only take where it has a checkout."""
    return [each for each in asked if each.needs_checkout]
