"""The queue's verbs for workers: claim, start, renew."""

from collections.abc import Callable, Collection, Iterable, Sequence
from dataclasses import replace
from datetime import datetime, timedelta
from typing import Any

from sqlalchemy import Row

from garageswarm.events import TaskStarted
from webapp import clock, failpoints
from webapp.database import after_commit, new_id, run, run_many
from webapp.errors import NotFound
from webapp.live import events
from webapp.tasks import locks, placements, statements
from webapp.tasks.rules import Offered, Room, Wanted
from webapp.workers.caller import Caller, refuse_status

RENEW_BELOW = 0.9

# Filled by create_app with what higher domains do when a task of a project has begun, in the same transaction.
after_start: list[Callable[[str], None]] = []

# An attempt that a worker holds: attempt_id, task_id, status, created_at, lease_expires_at, cancel_requested_at.
Held = Row[Any]


def held_by(worker_id: str) -> Sequence[Held]:
    """What this worker is assigned and runs."""
    return run(statements.HELD, worker_id=worker_id).all()


def lock_worker(caller: Caller) -> Caller:
    """Under this lock the worker's slots are counted. Returns it with what decides over claims as it is now.

    Raises WorkerRevoked or WorkerPending.
    """
    worker = run(statements.LOCK_WORKER, worker_id=caller.worker_id).first()
    refuse_status(worker.status if worker else "revoked")
    return replace(caller, has_refused=worker is not None and worker.has_refused)


def has_candidates(placement_ids: Sequence[str], asker: Caller | Offered | None = None) -> bool:
    """Whether a claim (by this worker, or by anybody) could find something: a read, so that an idle worker writes
    nothing."""
    return any(_best_of(each, 1, asker, to_claim=False) for each in placement_ids)


def could_claim(asker: Caller | Offered, placement_ids: Sequence[str], room: Room) -> bool:
    """Whether a claim by this worker would find something. What finds no place of its class, or another task in its
    checkout, isn't asked for: each such claim would lock the worker's row, and take nothing.

    Notes in `room` which checkouts are awaited.
    """
    for project_id in _contested(placement_ids, room):
        line = [each for each in placement_ids if placements.wanted(each).project_id == project_id]
        for best in _in_order(best for each in line for best in _best_of(each, 1, asker, to_claim=False)):
            wanted = placements.wanted(best.placement_id)
            if room.admits(wanted):
                break
            room.occupied.heed(wanted)
    return has_candidates([each for each in placement_ids if room.admits(placements.wanted(each))], asker)


def _contested(placement_ids: Sequence[str], room: Room) -> set[str]:
    """The projects whose checkout is being read, and in which some would read and others change it."""
    asked = [placements.wanted(each) for each in placement_ids]
    reading = {
        each.project_id for each in asked if each.project_use == "reads" and room.occupied.admits(each)
    }
    kept_out = {each.project_id for each in asked if not room.occupied.admits(each)}
    return {project_id for project_id in reading & kept_out if project_id is not None}


def claim(caller: Caller, placement_ids: Sequence[str], room: Room, lease_s: float) -> list[Row[Any]]:
    """Assign what there is room for of these placements to this worker, best first. Returns the tasks as `OFFERED`.

    The caller holds the worker's lock and has counted its room. Durable with the commit, before any offer is sent.
    """
    claimed = []
    for candidate in _candidates(caller, placement_ids, room):
        wanted = placements.wanted(candidate.placement_id)
        if not room.admits(wanted):
            room.occupied.heed(wanted)
            continue
        task = _claim_one(caller, candidate.id, wanted)
        if task is not None:
            room.take(wanted)
            claimed.append(task)
    run_many(statements.NEW_ATTEMPT, [_attempt(caller, task, lease_s) for task in claimed])
    if claimed:
        failpoints.reach("claim.before-commit")
        after_commit(lambda: failpoints.reach("claim.after-commit"))
    return claimed


def _claim_one(caller: Caller, task_id: str, wanted: Wanted) -> Row[Any] | None:
    """None where somebody was quicker: with the task, or with one of its locks."""
    attempt_id = new_id()
    if wanted.locks and not locks.take(wanted.organisation_id, wanted.locks, task_id, attempt_id):
        return None
    values = {"task_id": task_id, "new_attempt_id": attempt_id, "new_worker_id": caller.worker_id}
    task = run(statements.CLAIM, **values).first()
    if task is None and wanted.locks:
        locks.give_back(attempt_id)
    return task


def _best_of(
    placement_id: str, count: int, by: Caller | Offered | None, *, to_claim: bool
) -> Sequence[Row[Any]]:
    """The best `count` of a placement by its index; where it wants locks, the one whose turn it is."""
    values: dict[str, Any] = {"placement_id": placement_id, "now_ms": clock.to_ms(clock.now())}
    asker = (False, False, to_claim)
    if by is not None:
        asker = (by.admins_only, by.has_refused, to_claim)
        values |= {"refused_by": by.worker_id} if by.has_refused else {}
    names = placements.wanted(placement_id).locks
    if names:
        return run(locks.NEXT[asker], **values, lock_names=names).all()
    return run(statements.BEST[asker], **values, count=count).all()


def _candidates(caller: Caller, placement_ids: Sequence[str], room: Room) -> list[Row[Any]]:
    """The best of each placement, then the best of those: no sort over the whole queue.

    More than there is room for, because some may find none in their class or be taken by somebody else. Who is kept out
    of a checkout stands among them only where others could overtake.
    """
    contested = _contested(placement_ids, room)
    found: list[Row[Any]] = []
    for placement_id in placement_ids:
        wanted = placements.wanted(placement_id)
        if room.occupied.admits(wanted) or wanted.project_id in contested:
            found.extend(_best_of(placement_id, room.slots, caller, to_claim=True))
    return _in_order(found)


def _in_order(found: Iterable[Row[Any]]) -> list[Row[Any]]:
    return sorted(found, key=lambda row: (-row.priority, row.id))


def _attempt(caller: Caller, task: Row[Any], lease_s: float) -> dict[str, Any]:
    return {
        "id": task.attempt_id,
        "task_id": task.id,
        "worker_id": caller.worker_id,
        "worker_name": caller.name,
        "boot_id": caller.boot_id,
        "number": task.attempts_made,
        "lease_ms": clock.lease_ms(lease_s),
    }


def offer_again(worker_id: str, attempt_id: str) -> Row[Any] | None:
    """The task of an offer that got lost, as `OFFERED`; None when it is this worker's no more."""
    return run(statements.OFFER_AGAIN, worker_id=worker_id, attempt_id=attempt_id).first()


def current(worker_id: str, task_id: str, attempt_id: str | None) -> Row[Any]:
    """The task as `OFFERED`, for the worker that holds it now. Raises NotFound for everybody else."""
    task = run(statements.CURRENT, worker_id=worker_id, task_id=task_id).first()
    if task is None or (attempt_id and attempt_id != task.attempt_id):
        raise NotFound("This worker doesn't hold such a task.")
    return task


def start(task_id: str, attempt_id: str) -> None:
    """From the first sign of life: listed in `held`, a status, a chunk. Said twice, it does nothing."""
    at = clock.now()
    task = run(statements.START_TASK, task_id=task_id, current_attempt_id=attempt_id, at=at).first()
    if task is not None:
        run(statements.START_ATTEMPT, attempt_id=attempt_id, at=at)
        event = TaskStarted(task_id, task.name, task.attempts_made)
        events.record([event], task.organisation_id, task.project_id)
        if task.project_id:
            for hook in after_start:
                hook(task_id)


def has_aged(lease_expires_at: datetime, lease_s: float) -> bool:
    """Whether a lease is worth renewing: when a tenth of it has gone, not at each of many calls a second."""
    return lease_expires_at < clock.now() + timedelta(seconds=lease_s * RENEW_BELOW)


def renew(worker_id: str, attempt_ids: Collection[str], lease_s: float) -> None:
    lease = {"of_worker_id": worker_id, "attempt_ids": list(attempt_ids), "lease_ms": clock.lease_ms(lease_s)}
    run(statements.RENEW, **lease)
