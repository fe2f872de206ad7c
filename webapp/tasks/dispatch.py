"""Wake a worker when there is work for it. Only hints: a parked call also looks by itself."""

from collections.abc import Iterable
from dataclasses import replace

from sqlalchemy import select

from webapp.extensions import db
from webapp.live.bus import bus, worker_topic
from webapp.tasks import known_projects, placements, queue
from webapp.tasks.known_projects import Places
from webapp.tasks.models import Task
from webapp.tasks.rules import Offered, Wanted, mismatches
from webapp.workers.sync import Parked, parked_workers


def wake_one(wanted: Wanted) -> None:
    """Wake one parked worker that matches, the one with most room. Waking all would make them race for one task."""
    places = _places([wanted])
    fitting = [parked for parked in _parked(wanted.organisation_id) if _fits(parked, wanted, places)]
    if fitting:
        max(fitting, key=lambda parked: parked.free_slots).waiter.wake()


def wake_worker_of(task_id: str) -> None:
    """The worker that runs this task: somebody began to look at its log, or stopped."""
    worker_id = db.session.scalar(select(Task.worker_id).where(Task.id == task_id))
    if worker_id:
        bus.wake(worker_topic(worker_id))


def wake_for_queue() -> None:
    """Once a second: whoever could take something of the queue. For wake-ups that got lost, and due retries.

    The queue is asked only of what somebody could take who isn't awake already: it may be long.
    """
    waiting = parked_workers()
    if not waiting:
        return
    queued = placements.queued()
    places = _places(queued.values())
    for placement_id, wanted in queued.items():
        fitting = [parked for parked in waiting if _fits(parked, wanted, places)]
        if fitting and queue.has_candidates([placement_id]):
            able = [parked for parked in fitting if not _has_refused_all(parked, placement_id)]
            for parked in able:
                parked.waiter.wake()
            waiting = [parked for parked in waiting if parked not in able]


def _parked(organisation_id: str) -> list[Parked]:
    return [parked for parked in parked_workers() if parked.organisation_id == organisation_id]


def _places(asked: Iterable[Wanted]) -> Places:
    """Where the projects are that somebody wants to work in: now, not when those who wait began to."""
    project_ids = {str(wanted.project_id) for wanted in placements.in_projects(asked)}
    return known_projects.places_of(project_ids) if project_ids else {}


def _fits(parked: Parked, wanted: Wanted, places: Places) -> bool:
    """Whether there would be something to claim. Whom another task keeps out of its checkout, that task's end wakes."""
    offered = parked.offered
    if not isinstance(offered, Offered) or not offered.occupied.admits(wanted):
        return False
    if wanted.needs_checkout:
        offered = replace(offered, checkouts=known_projects.ready_on(parked.worker_id, places))
    return not mismatches(wanted, offered)


def _has_refused_all(parked: Parked, placement_id: str) -> bool:
    """Its owner allows none of them: it would be woken for nothing, again and again while they wait."""
    offered = parked.offered
    if not isinstance(offered, Offered) or not offered.has_refused:
        return False
    return not queue.has_candidates([placement_id], offered)
