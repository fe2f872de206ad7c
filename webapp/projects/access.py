"""The only way to load a project for a person: a stranger gets 404."""

from collections.abc import Sequence

from sqlalchemy import select
from sqlalchemy.orm import defer, joinedload, selectinload

from webapp.auth.actor import Actor
from webapp.errors import Forbidden, NotFound
from webapp.extensions import db
from webapp.projects.models import Checkout, Project
from webapp.workers.models import Worker

# Without the long lists that are shown of one project alone: hundreds of names, times all checkouts there are.
IN_SHORT = [
    defer(column, raiseload=True)
    for column in (Checkout.dirty, Checkout.unpushed, Checkout.branches, Checkout.commits)
]
_WITH_CHECKOUTS = selectinload(Project.checkouts).options(joinedload(Checkout.worker))


def project_for(actor: Actor, project_id: str) -> Project:
    """With its checkouts and their workers."""
    query = select(Project).where(Project.id == project_id, Project.organisation_id == actor.organisation_id)
    project = db.session.scalar(query.options(_WITH_CHECKOUTS).execution_options(populate_existing=True))
    if project is None:
        raise NotFound("There is no such project here. It may have been deleted.")
    return project


def writable_project_for(actor: Actor, project_id: str) -> Project:
    project = project_for(actor, project_id)
    if not actor.may("operator"):
        raise Forbidden(f"This needs the role operator; yours is {actor.role}. Ask an admin.")
    return project


def projects_before(organisation_id: str, project_id: str | None, limit: int) -> Sequence[Project]:
    """The next ones, newest first, with their checkouts in short and those workers' names."""
    query = select(Project).where(Project.organisation_id == organisation_id)
    if project_id:
        query = query.where(Project.id < project_id)
    named = joinedload(Checkout.worker).load_only(Worker.name, raiseload=True)
    short = selectinload(Project.checkouts).options(*IN_SHORT, named)
    query = query.order_by(Project.id.desc()).limit(limit).options(short)
    return db.session.scalars(query).all()


def locked(project_id: str) -> Project:
    """Its row as it is now, until the transaction that is open ends. Before any of its checkouts' rows."""
    found = find_locked(project_id)
    if found is None:
        raise NotFound("There is no such project here. It may have been deleted.")
    return found


def find_locked(project_id: str) -> Project | None:
    return db.session.get(Project, project_id, with_for_update=True, populate_existing=True)
