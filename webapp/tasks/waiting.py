"""Why a queued task waits, worker by worker."""

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Literal, NamedTuple

from sqlalchemy import func, select

from webapp import clock
from webapp.extensions import db
from webapp.tasks import in_checkouts, lock_list, placements, refusals
from webapp.tasks.answers import WaitsAnswer
from webapp.tasks.in_checkouts import Checkouts
from webapp.tasks.lock_list import Obstacle
from webapp.tasks.models import Attempt, Placement, Task
from webapp.tasks.rules import Offered, Wanted, mismatches
from webapp.workers import presence
from webapp.workers.access import workers_of
from webapp.workers.models import Worker
from webapp.workers.rules import drain_words
from webapp.workers.state import status_of

# What keeps a worker from taking a task; `own`: nothing of the worker's.
Kind = Literal[
    "never",
    "owner",
    "pending",
    "silent",
    "draining",
    "resting",
    "quarantined",
    "refuses",
    "own",
    "busy",
    "placing",
    "broken",
    "taken",
    "free",
]


class Because(NamedTuple):
    """A reason, and what a person could do about it."""

    kind: Kind
    reason: str
    remedy: str


@dataclass(frozen=True)
class Waits:
    """One worker's reason."""

    worker: Worker
    status: str
    because: Because

    @property
    def can_ever(self) -> bool:
        """Only time, or a person, is missing."""
        return self.because.kind != "never"

    def as_wire(self) -> WaitsAnswer:
        return {"worker_id": self.worker.id, "worker": self.worker.name, "reason": self.because.reason}


@dataclass(frozen=True)
class Why:
    """Why a task waits, for its page: a sentence or two, the lock that holds it up, and each worker's reason."""

    words: str
    obstacle: Obstacle | None
    rows: list[Waits]


def why(task: Task) -> Why | None:
    """None for a task that doesn't wait."""
    if task.status != "queued":
        return None
    obstacle = lock_list.obstacle(task)
    rows = _rows(task, obstacle)
    able = [(row.worker.name, row.because.kind) for row in rows if row.can_ever]
    is_free = any(kind == "own" for _, kind in able)
    if is_free and _is_early(task):
        return Why("The pause before its next try isn’t over yet. It starts by itself.", None, rows)
    if is_free:
        return Why("", obstacle, rows)  # the lock is all there is to say
    wanted = placements.wanted(task.placement_id)
    project_name = wanted.project_name if wanted.needs_checkout else ""
    return Why(summary(able, len(rows), project_name), obstacle if able else None, rows)


def reasons(task: Task) -> list[Waits]:
    """Empty for a task that doesn't wait, or where there is no worker at all."""
    return _rows(task, lock_list.obstacle(task)) if task.status == "queued" else []


def _rows(task: Task, obstacle: Obstacle | None) -> list[Waits]:
    held = held_counts(task.organisation_id)
    own = _own_obstacle(task, obstacle)
    workers = [worker for worker in workers_of(task.organisation_id) if worker.status != "revoked"]
    refused, checkouts = refusals.rules_of(task.id), in_checkouts.of(task)
    found = [_waits(task, worker, held.get(worker.id, 0), own, refused, checkouts) for worker in workers]
    asked = [waits for waits in found if waits.status != "archived" or _is_named(task, waits.worker)]
    return sorted(asked, key=lambda waits: (not waits.can_ever, waits.worker.name))


def _is_named(task: Task, worker: Worker) -> bool:
    return placements.wanted(task.placement_id).worker_id == worker.id


def _is_early(task: Task) -> bool:
    return bool(task.not_before and task.not_before > clock.now())


def _own_obstacle(task: Task, obstacle: Obstacle | None) -> Because | None:
    """What keeps the task itself from being taken, whoever would take it."""
    if _is_early(task):
        return Because("own", "Matches. The next try is due later", "Wait")
    if obstacle is None:
        return None
    return Because("own", f"Matches. {_sentence(obstacle.words)}", "Wait, or look at the page Locks")


def held_counts(organisation_id: str) -> dict[str, int]:
    """{worker_id: attempts that it holds} for the workers that hold any."""
    query = (
        select(Attempt.worker_id, func.count().label("held"))
        .join(Worker, Worker.id == Attempt.worker_id)
        .where(Attempt.ended_at.is_(None), Worker.organisation_id == organisation_id)
        .group_by(Attempt.worker_id)
    )
    return {row.worker_id: row.held for row in db.session.execute(query)}


def _waits(
    task: Task,
    worker: Worker,
    held: int,
    own: Because | None,
    refused: Mapping[str, str],
    checkouts: Checkouts,
) -> Waits:
    status = status_of(worker, held)
    wanted = checkouts.wanted
    offered = placements.offered_by(worker, checkouts.on(worker.id))
    if never := mismatches(wanted, offered):
        return Waits(worker, status, Because("never", _sentence("; ".join(never)), _remedy(wanted, offered)))
    because = (
        _owners_no(refused.get(worker.id))
        or _STATUS_REASONS.get(status)
        or _drains(worker, status)
        or _agents_no(worker)
        or _no_checkout(checkouts, worker.id)
        or own
        or _no_room(task, worker, held)
        or _kept_out(checkouts, offered)
        or _SOON
    )
    return Waits(worker, status, because)


def _remedy(wanted: Wanted, offered: Offered) -> str:
    """For a worker that could never take it as it is now."""
    if wanted.worker_id not in (None, offered.worker_id):
        return _BY_NAME
    if wanted.needs_checkout and wanted.project_id not in offered.checkouts:
        return "Clone the project onto this worker"
    return "Ask for other labels, or change this worker"


def _no_checkout(checkouts: Checkouts, worker_id: str) -> Because | None:
    status, name = checkouts.status_on(worker_id), checkouts.wanted.project_name
    if status in ("pending", "syncing"):
        return Because("placing", f"Matches, but its checkout of {name} isn’t ready yet", "Wait")
    if status == "error":
        return Because(
            "broken", f"Matches, but its checkout of {name} failed", "Clone or pull it there again"
        )
    return None


def _kept_out(checkouts: Checkouts, offered: Offered) -> Because | None:
    if checkouts.is_taken(offered.worker_id):
        return Because("taken", "Matches. Another task works in that checkout", "Wait")
    if checkouts.is_awaited(offered):
        return Because("taken", "Matches. A task that changes that checkout comes first", "Wait")
    return None


def _owners_no(rule: str | None) -> Because | None:
    if rule is None:
        return None
    remedy = "Ask the owner of that machine, or run it elsewhere"
    return Because("owner", f"Its owner’s policy: {rule}", remedy)


def _drains(worker: Worker, status: str) -> Because | None:
    if status != "draining":
        return None
    words = drain_words(worker.drain_until, worker.drain_note, clock.now())
    if worker.drain_until:
        return Because("resting", f"Matches, but is {words}", "Wait, or resume it")
    end = "" if worker.drain_note else ": it takes no more work"
    return Because("draining", f"Matches, but is {words}{end}", "Resume it")


def _agents_no(worker: Worker) -> Because | None:
    refusal = presence.refusal(worker)
    if refusal is None:
        return None
    words = refusal or "it takes no more work"
    return Because("refuses", f"Matches, but its agent says: {words}", "Look at that machine")


def _no_room(task: Task, worker: Worker, held: int) -> Because | None:
    if held >= worker.capacity:
        in_use = f"Matches. Busy: {held} of {worker.capacity} slots in use"
        return Because("busy", in_use, "Wait, or give it more slots")
    slot_class = placements.wanted(task.placement_id).slot_class
    if slot_class == "task":
        return None
    used = _held_of_class(worker, slot_class)
    if slot_class == "plan" and used >= worker.plan_limit:
        return Because("busy", f"Matches. Busy: {used} of {worker.plan_limit} plans run", "Wait")
    if slot_class == "exclusive" and used:
        return Because("busy", "Matches. Busy with another task that must be alone of its kind", "Wait")
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


_BY_NAME = "Run it again with changes, for any worker"
_SOON = Because("free", "Matches, and takes it in a moment", "Wait")
_SILENT = Because("silent", "Doesn’t answer", "Look whether the machine is awake and its agent runs")
_STATUS_REASONS: dict[str, Because] = {
    "pending": Because("pending", "Waits for approval", "An admin approves it"),
    "offline": _SILENT,
    "archived": _SILENT,
    "unreachable": _SILENT,
    "quarantined": Because(
        "quarantined",
        "Matches, but is quarantined after infrastructure failures in a row",
        "Wait, or look what is wrong with it and resume it",
    ),
}


def _sentence(words: str) -> str:
    return words[:1].upper() + words[1:]


# ---- the summary

# What one worker does, what several do, and what follows where all are like that: {one} is "it" or "one of them".
_SAID: dict[str, tuple[str, str, str]] = {
    "busy": ("is busy", "are busy", "It starts by itself as soon as {one} has room."),
    "silent": ("doesn’t answer", "don’t answer", "It starts by itself as soon as {one} answers."),
    "draining": ("is draining", "are draining", "It starts when an admin resumes {one}."),
    "resting": (
        "is draining for a while",
        "are draining for a while",
        "It starts by itself when {one} takes work again.",
    ),
    "placing": (
        "is getting the project ready",
        "are getting the project ready",
        "It starts by itself as soon as {one} has it ready.",
    ),
    "broken": (
        "has a checkout that failed",
        "have checkouts that failed",
        "It starts by itself when {one} has cloned or pulled it again.",
    ),
    "taken": (
        "has another task in that checkout",
        "have other tasks in their checkouts",
        "It starts by itself when its turn comes.",
    ),
    "quarantined": ("is quarantined", "are quarantined", "It starts by itself when {one} comes back."),
    "owner": (
        "refuses it by its owner’s policy",
        "refuse it by their owners’ policies",
        "It starts by itself when {one} allows it.",
    ),
    "pending": ("waits for approval", "wait for approval", "It starts when an admin approves {one}."),
    "refuses": (
        "takes no new work",
        "take no new work",
        "It starts by itself as soon as {one} takes work again.",
    ),
}


def summary(able: Sequence[tuple[str, Kind]], asked: int, project_name: str = "") -> str:
    """Of those that could ever take it (name, what keeps it), of so many that were asked: a sentence or two."""
    if not asked:
        return "There is no worker yet. Add one, and it starts by itself."
    if not able:
        return _nobody(project_name)
    free = [name for name, kind in able if kind == "free"]
    if free:
        return f"{free[0]} has room, and takes it in a moment."
    kinds = Counter(kind for _, kind in able)
    if len(kinds) > 1:
        parts = [f"{count} {_SAID[kind][count > 1]}" for kind, count in kinds.most_common()]
        listed = f"{', '.join(parts[:-1])} and {parts[-1]}"
        return f"{len(able)} workers could take it: {listed}. It starts by itself as soon as one of them can."
    name, kind = able[0]
    one, several, follows = _SAID[kind]
    if len(able) == 1:
        return f"Only {name} could take it, and it {one}. {follows.format(one='that worker')}"
    whole = "Both" if len(able) == 2 else f"All {len(able)}"
    return f"{whole} workers that could take it {several}. {follows.format(one='one of them')}"


def _nobody(project_name: str) -> str:
    if project_name:
        return f"No worker that fits has a checkout of {project_name}. Clone it onto one, and this starts by itself."
    return "No worker that is here could ever take it. Change what it asks for, or add a worker that has it."
