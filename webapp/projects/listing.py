"""Projects as the pages show them: checkouts, their workers and what git does there, put together once a page."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime
from functools import cached_property
from typing import Any

from sqlalchemy import literal, select
from sqlalchemy.orm import contains_eager, joinedload, selectinload

from webapp.auth.actor import Actor
from webapp.extensions import db
from webapp.live import events
from webapp.live.bus import task_topic
from webapp.projects.access import IN_SHORT
from webapp.projects.models import Checkout, Project
from webapp.projects.rules import TOOL, CheckoutStatus, overall
from webapp.tasks.dashboard import Ask
from webapp.tasks.models import Task
from webapp.tasks.rules import ACTIVE
from webapp.workers import listing as workers

TASK_ROWS = 10
MOST_ASKS = 50
# As much of a step's name as fits beside its percent.
STEP_CHARACTERS = 40


@dataclass(frozen=True)
class Place:
    """A project on one worker, and what git does there now."""

    checkout: Checkout
    worker: workers.Shown
    task: Task | None = None  # the operation that waits or runs
    step: str = ""

    @property
    def status(self) -> CheckoutStatus:
        return self.checkout.status

    @property
    def is_whole(self) -> bool:
        """It was cloned once, so there is something to pull, to look at and to work in."""
        return self.checkout.synced_at is not None

    @property
    def is_away(self) -> bool:
        """Its worker doesn't answer: nothing can be deleted there, only forgotten here."""
        return not self.worker.answers

    @property
    def percent(self) -> int | None:
        return None if self.task is None or self.task.progress is None else round(self.task.progress)

    @property
    def is_lost_with_it(self) -> bool:
        """Whether a delete would take what exists nowhere else, as far as its worker said last."""
        return bool(self.checkout.dirty_count or self.checkout.unpushed_count)

    @property
    def is_unreadable(self) -> bool:
        """Files were there, and git can't read them any more: nobody can tell what a delete would take."""
        return self.status == "error" and self.is_whole

    @property
    def needs_force(self) -> bool:
        """A delete that asks its worker first would be refused, as far as is known."""
        return self.is_lost_with_it or self.is_unreadable

    @property
    def words(self) -> str:
        """What git is at: the step, and what the agent says of it."""
        if self.task is None or self.task.status == "queued":
            return ""
        said = (self.step[:STEP_CHARACTERS].lower(), self.task.summary or "")
        return ", ".join(word for word in dict.fromkeys(said) if word)


@dataclass(frozen=True)
class Placed:
    """A project with its places, by the names of their workers."""

    project: Project
    places: Sequence[Place] = field(default=())

    @cached_property
    def status(self) -> CheckoutStatus | None:
        """None: it is on no worker."""
        return overall(place.status for place in self.places)

    @property
    def freshest(self) -> Place | None:
        """The place that was brought up to date last, of those whose commit is known."""
        known = [place for place in self.places if place.checkout.commit]
        return max(
            known, key=lambda place: place.checkout.synced_at or place.checkout.created_at, default=None
        )

    @property
    def trouble(self) -> Checkout | None:
        """A checkout where the last operation failed, and none has begun since."""
        found = (place.checkout for place in self.places if place.checkout.error and place.task is None)
        return next(found, None)

    @property
    def percent(self) -> int | None:
        """Of the operation that has furthest to go."""
        return min((place.percent for place in self.places if place.percent is not None), default=None)

    @property
    def synced_at(self) -> datetime | None:
        known = [place.checkout.synced_at for place in self.places if place.checkout.synced_at]
        return max(known, default=None)

    @property
    def commits(self) -> list[dict[str, Any]]:
        """Of the freshest place; `at` is when, None where the commit says a time that no calendar has."""
        known = self.freshest.checkout.commits if self.freshest else []
        return [{**commit, "at": _moment(commit.get("committed_at"))} for commit in known]

    @property
    def size_bytes(self) -> int:
        return sum(place.checkout.size_bytes or 0 for place in self.places)


def why_not(actor: Actor, row: workers.Shown) -> str | None:
    """What keeps this person from sending git to a worker now: what `operations.refuse_worker` refuses, for many workers
    at once and in words that fit beside a button."""
    worker = row.worker
    if worker.status != "approved":
        return f"{worker.name} is {worker.status}"
    if worker.admins_only and not actor.may("admin"):
        return f"{worker.name} serves admins only"
    if not row.answers:
        return f"{worker.name} is {'offline' if row.status == 'archived' else row.status}"
    return None if TOOL in worker.tools else f"{worker.name} has no working git"


def why_not_pull(actor: Actor, place: Place) -> str | None:
    if place.task is not None:
        return f"git works in it on {place.worker.worker.name} already"
    if not place.is_whole:
        return f"it was never cloned whole onto {place.worker.worker.name}"
    return why_not(actor, place.worker)


def all_placed(organisation_id: str) -> list[Placed]:
    """By name, in short. As many queries for many as for one."""
    query = select(Project).where(Project.organisation_id == organisation_id)
    short = selectinload(Project.checkouts).options(*IN_SHORT)
    query = query.order_by(Project.name, Project.id).options(short)
    projects = db.session.scalars(query).all()
    return _placed(organisation_id, projects)


def placed(project: Project) -> Placed:
    """One of them, with the step that each operation is at."""
    query = select(Checkout).where(Checkout.project_id == project.id)
    found = _places(project.organisation_id, db.session.scalars(query).all())
    return Placed(project, [_with_step(place) for place in found.get(project.id, ())])


def on_worker(worker_id: str) -> list[tuple[Project, Place]]:
    """By the names of the projects, in short."""
    joined = select(Checkout).join(Checkout.project).options(contains_eager(Checkout.project), *IN_SHORT)
    query = joined.where(Checkout.worker_id == worker_id).order_by(Project.name, Project.id)
    rows = db.session.scalars(query).all()
    found = _places(rows[0].organisation_id, rows) if rows else {}
    return [(row.project, place) for row in rows for place in found.get(row.project_id, ())]


def asks(organisation_id: str) -> list[Ask]:
    """Checkouts that no task can run in until a person has looked, the latest trouble first."""
    is_bad = Checkout.status == literal("error", literal_execute=True)  # or its index isn't found
    query = select(Checkout).where(Checkout.organisation_id == organisation_id, is_bad)
    query = query.options(joinedload(Checkout.project), joinedload(Checkout.worker), *IN_SHORT)
    rows = db.session.scalars(query.order_by(Checkout.task_id.desc()).limit(MOST_ASKS)).all()
    return [
        Ask(
            row.id,
            f"{row.project.name} on {row.worker.name}",
            row.error or "its last git operation failed",
            "projects.project",
            {"project_id": row.project_id},
        )
        for row in rows
    ]


def tasks_in(project_id: str, limit: int = TASK_ROWS) -> Sequence[Task]:
    """What ran in it last, git's own operations included."""
    query = select(Task).where(Task.project_id == project_id).order_by(Task.id.desc()).limit(limit)
    return db.session.scalars(query.options(joinedload(Task.worker))).all()


def matching(rows: Sequence[Placed], q: str) -> list[Placed]:
    """Those whose name, owner or URL holds these words, or that lie on a worker called so."""
    wanted = q.strip().lower()
    return [row for row in rows if any(wanted in text.lower() for text in _texts(row))]


def _texts(row: Placed) -> Iterable[str]:
    project = row.project
    yield from (project.name, project.path, project.git_url, project.description)
    yield from (place.worker.worker.name for place in row.places)


def _placed(organisation_id: str, projects: Sequence[Project]) -> list[Placed]:
    checkouts = [checkout for project in projects for checkout in project.checkouts]
    found = _places(organisation_id, checkouts)
    return [Placed(project, found.get(project.id, ())) for project in projects]


def _places(organisation_id: str, checkouts: Sequence[Checkout]) -> Mapping[str, list[Place]]:
    """{project: its places}. A checkout whose worker was removed goes with it, so each has one."""
    shown = {row.worker.id: row for row in workers.all_shown(organisation_id)} if checkouts else {}
    tasks = _active([checkout.task_id for checkout in checkouts if checkout.task_id])
    found: dict[str, list[Place]] = {}
    for checkout in checkouts:
        if row := shown.get(checkout.worker_id):
            place = Place(checkout, row, tasks.get(checkout.task_id or ""))
            found.setdefault(checkout.project_id, []).append(place)
    for places in found.values():
        places.sort(key=lambda place: (place.worker.worker.name.lower(), place.checkout.id))
    return found


def _active(task_ids: Sequence[str]) -> dict[str, Task]:
    if not task_ids:
        return {}
    query = select(Task).where(Task.id.in_(task_ids), Task.status.in_(ACTIVE))
    return {task.id: task for task in db.session.scalars(query)}


def _with_step(place: Place) -> Place:
    if place.task is None:
        return place
    last = events.newest(task_topic(place.task.id), 1)
    step = str(last[0].data.get("step") or "") if last and last[0].type == "step_progress" else ""
    return replace(place, step=step)


def _moment(text: Any) -> datetime | None:
    try:
        return datetime.fromisoformat(str(text)).astimezone(UTC)
    except (ValueError, OverflowError):
        return None
