"""Why a queued task waits, worker by worker."""

from dataclasses import dataclass
from typing import Any

from sqlalchemy import func, select

from webapp import clock
from webapp.extensions import db
from webapp.tasks import placements
from webapp.tasks.models import Attempt, Task
from webapp.tasks.rules import mismatches
from webapp.workers.access import workers_of
from webapp.workers.models import Worker
from webapp.workers.state import status_of


@dataclass(frozen=True)
class Waits:
    """One worker's reason, and what a person could do about it. `can_ever`: only time is missing."""

    worker: Worker
    status: str
    reason: str
    remedy: str
    can_ever: bool

    def as_wire(self) -> dict[str, Any]:
        return {"worker_id": self.worker.id, "worker": self.worker.name, "reason": self.reason}


def reasons(task: Task) -> list[Waits]:
    """Empty for a task that doesn't wait, or where there is no worker at all."""
    if task.status != "queued":
        return []
    held = held_counts(task.organisation_id)
    workers = [worker for worker in workers_of(task.organisation_id) if worker.status != "revoked"]
    found = [_reason(task, worker, held.get(worker.id, 0)) for worker in workers]
    return sorted(found, key=lambda waits: (not waits.can_ever, waits.worker.name))


def held_counts(organisation_id: str) -> dict[str, int]:
    """{worker_id: attempts that it holds} for the workers that hold any."""
    query = (
        select(Attempt.worker_id, func.count().label("held"))
        .join(Worker, Worker.id == Attempt.worker_id)
        .where(Attempt.ended_at.is_(None), Worker.organisation_id == organisation_id)
        .group_by(Attempt.worker_id)
    )
    return {row.worker_id: row.held for row in db.session.execute(query)}


def _reason(task: Task, worker: Worker, held: int) -> Waits:
    status = status_of(worker, held)
    never = mismatches(placements.wanted(task.placement_id), placements.offered_by(worker))
    if never:
        reason = "; ".join(never)
        return Waits(
            worker,
            status,
            reason[:1].upper() + reason[1:],
            "Ask for other labels, or change this worker",
            False,
        )
    if status == "pending":
        return Waits(worker, status, "Waits for approval", "An admin approves it", True)
    if status in ("offline", "unreachable"):
        return Waits(
            worker, status, "Doesn’t answer", "Look whether the machine is awake and its agent runs", True
        )
    if task.not_before and task.not_before > clock.now():
        return Waits(worker, status, "Matches. The next try is due later", "Wait", True)
    if held >= worker.capacity:
        return Waits(
            worker,
            status,
            f"Matches. {held} of {worker.capacity} slots in use",
            "Wait, or give it more slots",
            True,
        )
    return Waits(worker, status, "Matches, and takes it in a moment", "Wait", True)


def summary(waits: list[Waits]) -> str:
    """One sentence for the page."""
    if not waits:
        return "There is no worker yet. Add one, and it starts by itself."
    able = [row for row in waits if row.can_ever]
    if not able:
        return (
            "No worker that is here could ever take it. Change what it asks for, or add a worker that has it."
        )
    if len(able) == 1:
        return f"Only {able[0].worker.name} could take it. It starts by itself as soon as that worker can."
    return f"{len(able)} workers could take it. It starts by itself as soon as one of them can."
