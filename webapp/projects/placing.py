"""What tasks ask about projects: where they are, and what they are called."""

from collections.abc import Collection, Sequence

from sqlalchemy import and_, bindparam, case, or_, select

from webapp.database import run, table_of
from webapp.projects.models import Checkout, Project
from webapp.tasks import known_projects, placements
from webapp.tasks.known_projects import KnownProject, Places

_checkouts, _projects = table_of(Checkout), table_of(Project)
# One that is pulled can be worked in before and after: the queue says whose turn it is.
_IS_READY = or_(
    _checkouts.c.status == "active",
    and_(_checkouts.c.status.in_(("pending", "syncing")), _checkouts.c.ends_as == "active"),
)
_STATUS = case((_IS_READY, "active"), else_=_checkouts.c.status).label("status")
_PLACES = select(_checkouts.c.project_id, _checkouts.c.worker_id, _STATUS).where(
    _checkouts.c.project_id.in_(bindparam("project_ids", expanding=True))
)
_READY = select(_checkouts.c.project_id).where(_checkouts.c.worker_id == bindparam("worker_id"), _IS_READY)
_NAME = select(_projects.c.path).where(_projects.c.id == bindparam("project_id"))
_STAYS = select(_projects.c.id).where(_projects.c.id == bindparam("project_id"))
_STAYS = _STAYS.with_for_update(read=True, key_share=True)
_KNOWN = (
    select(_projects.c.id, _projects.c.path)
    .where(_projects.c.organisation_id == bindparam("organisation_id"))
    .order_by(_projects.c.path_key)
)


def checkouts_of(worker_id: str) -> frozenset[str]:
    """The ids of the projects that tasks can run in on this worker."""
    return frozenset(run(_READY, worker_id=worker_id).scalars())


def places_of(project_ids: Collection[str]) -> Places:
    found: dict[str, dict[str, str]] = {}
    for row in run(_PLACES, project_ids=list(project_ids)):
        found.setdefault(row.project_id, {})[row.worker_id] = row.status
    return found


def name_of(project_id: str) -> str | None:
    """It never changes. None: there is no such project, or it was deleted."""
    name: str | None = run(_NAME, project_id=project_id).scalar()
    return name


def stays(project_id: str) -> bool:
    """Whether it is here. Until the transaction that is open ends nobody deletes it: who does ends all that waits for it."""
    return run(_STAYS, project_id=project_id).first() is not None


def known_to(organisation_id: str) -> Sequence[KnownProject]:
    return [KnownProject(row.id, row.path) for row in run(_KNOWN, organisation_id=organisation_id)]


def answer_tasks() -> None:
    """From now on they ask here."""
    placements.checkouts_of = checkouts_of
    known_projects.places_of = places_of
    known_projects.name_of = name_of
    known_projects.stays = stays
    known_projects.known_to = known_to
