"""Why a queued task waits, worker by worker."""

from dataclasses import dataclass

from sqlalchemy import func, select

from webapp import clock
from webapp.extensions import db
from webapp.tasks import lock_list, placements
from webapp.tasks.answers import WaitsAnswer
from webapp.tasks.models import Attempt, Placement, Task
from webapp.tasks.rules import mismatches
from webapp.workers import presence
from webapp.workers.access import workers_of
from webapp.workers.models import Worker
from webapp.workers.state import status_of

Because = tuple[str, str]  # a reason, and what a person could do about it


@dataclass(frozen=True)
class Waits:
    """One worker's reason, and what a person could do about it. `can_ever`: only time is missing."""

    worker: Worker
    status: str
    reason: str
    remedy: str
    can_ever: bool

    def as_wire(self) -> WaitsAnswer:
        return {"worker_id": self.worker.id, "worker": self.worker.name, "reason": self.reason}


def reasons(task: Task) -> list[Waits]:
    """Empty for a task that doesn't wait, or where there is no worker at all."""
    if task.status != "queued":
        return []
    held = held_counts(task.organisation_id)
    own = _own_obstacle(task)
    workers = [worker for worker in workers_of(task.organisation_id) if worker.status != "revoked"]
    found = [_reason(task, worker, held.get(worker.id, 0), own) for worker in workers]
    return sorted(found, key=lambda waits: (not waits.can_ever, waits.worker.name))


def _own_obstacle(task: Task) -> Because | None:
    """What keeps the task itself from being taken, whoever would take it."""
    if task.not_before and task.not_before > clock.now():
        return "Matches. The next try is due later", "Wait"
    obstacle = lock_list.obstacle(task)
    return (f"Matches. {_sentence(obstacle)}", "Wait, or look at the page Locks") if obstacle else None


def held_counts(organisation_id: str) -> dict[str, int]:
    """{worker_id: attempts that it holds} for the workers that hold any."""
    query = (
        select(Attempt.worker_id, func.count().label("held"))
        .join(Worker, Worker.id == Attempt.worker_id)
        .where(Attempt.ended_at.is_(None), Worker.organisation_id == organisation_id)
        .group_by(Attempt.worker_id)
    )
    return {row.worker_id: row.held for row in db.session.execute(query)}


def _reason(task: Task, worker: Worker, held: int, own: Because | None) -> Waits:
    status = status_of(worker, held)
    never = mismatches(placements.wanted(task.placement_id), placements.offered_by(worker))
    if never:
        remedy = "Ask for other labels, or change this worker"
        return Waits(worker, status, _sentence("; ".join(never)), remedy, False)
    reason, remedy = (
        _STATUS_REASONS.get(status) or _agents_no(worker) or own or _no_room(task, worker, held) or _SOON
    )
    return Waits(worker, status, reason, remedy, True)


def _agents_no(worker: Worker) -> Because | None:
    refusal = presence.refusal(worker)
    if refusal is None:
        return None
    words = refusal or "it takes no more work"
    return f"Matches, but its agent says: {words}", "Look at that machine"


def _no_room(task: Task, worker: Worker, held: int) -> Because | None:
    if held >= worker.capacity:
        return f"Matches. Busy: {held} of {worker.capacity} slots in use", "Wait, or give it more slots"
    slot_class = placements.wanted(task.placement_id).slot_class
    if slot_class == "task":
        return None
    used = _held_of_class(worker, slot_class)
    if slot_class == "plan" and used >= worker.plan_limit:
        return f"Matches. Busy: {used} of {worker.plan_limit} plans run", "Wait"
    if slot_class == "exclusive" and used:
        return "Matches. Busy with another task that must be alone of its kind", "Wait"
    return None


def _held_of_class(worker: Worker, slot_class: str) -> int:
    query = (
        select(func.count())
        .select_from(Attempt)
        .join(Task, Task.id == Attempt.task_id)
        .join(Placement, Placement.id == Task.placement_id)
        .where(Attempt.worker_id == worker.id, Attempt.ended_at.is_(None), Placement.slot_class == slot_class)
    )
    return db.session.scalar(query) or 0


_SOON: Because = ("Matches, and takes it in a moment", "Wait")
_STATUS_REASONS: dict[str, Because] = {
    "pending": ("Waits for approval", "An admin approves it"),
    "offline": ("Doesn’t answer", "Look whether the machine is awake and its agent runs"),
    "unreachable": ("Doesn’t answer", "Look whether the machine is awake and its agent runs"),
    "draining": ("Matches, but is draining: it takes no more work", "Resume it"),
    "quarantined": (
        "Matches, but is quarantined after infrastructure failures in a row",
        "Wait, or look what is wrong with it and resume it",
    ),
}


def _sentence(words: str) -> str:
    return words[:1].upper() + words[1:]


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
