"""Queued tasks that none of the workers could ever take: only a person can help them."""

from collections.abc import Sequence
from dataclasses import dataclass

from sqlalchemy import Row, func, literal, select

from webapp.extensions import db
from webapp.tasks import known_projects, placements
from webapp.tasks.models import Task
from webapp.tasks.rules import mismatches
from webapp.workers.models import Worker

SHOWN = 3
# What a queue asks for is looked at so far, and tasks are counted so far: a page must not take longer because it is long.
MOST_PLACEMENTS = 200
MOST_TASKS = 1000


@dataclass(frozen=True)
class Unplaced:
    """`count` of MOST_TASKS means so many or more. `some`: (id, name) of a few."""

    count: int = 0
    some: Sequence[Row[str, str]] = ()


def unplaced(organisation_id: str, workers: Sequence[Worker]) -> Unplaced:
    """Of those workers, whether or not they could take it just now."""
    asked = [
        (key, wanted)
        for key, wanted in placements.queued().items()
        if wanted.organisation_id == organisation_id
    ][:MOST_PLACEMENTS]
    project_ids = {str(wanted.project_id) for wanted in placements.in_projects(wanted for _, wanted in asked)}
    places = known_projects.places_of(project_ids) if project_ids else {}
    offered = [
        placements.offered_by(worker, known_projects.ready_on(worker.id, places, known_projects.COMING))
        for worker in workers
    ]
    stuck = [key for key, wanted in asked if all(mismatches(wanted, each) for each in offered)]
    if not stuck:
        return Unplaced()
    is_queued = Task.status == literal("queued", literal_execute=True)  # or its index isn't found
    queued = select(Task.id, Task.name).where(is_queued, Task.placement_id.in_(stuck))
    counted = select(func.count()).select_from(queued.limit(MOST_TASKS).subquery())
    return Unplaced(db.session.scalar(counted) or 0, db.session.execute(queued.limit(SHOWN)).all())
