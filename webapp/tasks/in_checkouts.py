"""What a task of a project finds on each worker: its checkout, who works in that, and who comes first there."""

from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

from sqlalchemy import and_, func, literal, or_, select

from webapp import clock
from webapp.extensions import db
from webapp.tasks import known_projects, placements
from webapp.tasks.models import Attempt, Task
from webapp.tasks.rules import Occupied, Offered, Wanted, mismatches

# A checkout in one of these is there, or will be: only time, or a person, is missing.
PLACED = (*known_projects.COMING, "error")


@dataclass(frozen=True)
class Checkouts:
    """Of the task's project, by worker. Empty for a task without one."""

    wanted: Wanted
    statuses: Mapping[str, str] = field(default_factory=dict)
    inside: Mapping[str, Sequence[Wanted]] = field(default_factory=dict)
    # What waits to change it and stands before this task, which only reads.
    before: Sequence[Wanted] = ()

    def on(self, worker_id: str) -> frozenset[str]:
        """As `placements.offered_by` takes it."""
        is_there = self.wanted.project_id and self.statuses.get(worker_id) in PLACED
        return frozenset([str(self.wanted.project_id)]) if is_there else frozenset()

    def status_on(self, worker_id: str) -> str | None:
        """None where it doesn't matter."""
        return self.statuses.get(worker_id) if self.wanted.needs_checkout else None

    def is_taken(self, worker_id: str) -> bool:
        """Whether another task is in it that this one can't be beside."""
        return not self._occupied(worker_id).admits(self.wanted)

    def is_awaited(self, offered: Offered) -> bool:
        """Whether one comes first there that waits to change it."""
        occupied = self._occupied(offered.worker_id)
        for wanted in self.before:
            if not mismatches(wanted, offered):
                occupied.heed(wanted)
        return not occupied.admits(self.wanted)

    def _occupied(self, worker_id: str) -> Occupied:
        occupied = Occupied()
        for wanted in self.inside.get(worker_id, ()):
            occupied.take(wanted)
        return occupied


def of(task: Task) -> Checkouts:
    wanted = placements.wanted(task.placement_id)
    if wanted.project_id is None:
        return Checkouts(wanted)
    statuses = known_projects.places_of([wanted.project_id]).get(wanted.project_id, {})
    before = _before(task) if wanted.project_use == "reads" else ()
    return Checkouts(wanted, statuses, _inside(task), before)


def _inside(task: Task) -> Mapping[str, Sequence[Wanted]]:
    """{worker: what it holds of this project}"""
    query = (
        select(Attempt.worker_id, Task.placement_id)
        .join(Task, Task.id == Attempt.task_id)
        .where(
            Task.organisation_id == task.organisation_id,
            Task.status.in_(("assigned", "running")),
            Task.project_id == task.project_id,
            Attempt.ended_at.is_(None),
        )
    )
    found: dict[str, list[Wanted]] = defaultdict(list)
    for row in db.session.execute(query):
        found[row.worker_id].append(placements.wanted(row.placement_id))
    return found


def _before(task: Task) -> Sequence[Wanted]:
    query = select(Task.placement_id).where(
        Task.project_id == task.project_id,
        Task.status == literal("queued", literal_execute=True),
        func.coalesce(Task.not_before, 0) <= clock.to_ms(clock.now()),
        or_(Task.priority > task.priority, and_(Task.priority == task.priority, Task.id < task.id)),
    )
    found = map(placements.wanted, db.session.scalars(query.distinct()))
    return [wanted for wanted in found if wanted.project_use != "reads"]
