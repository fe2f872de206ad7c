"""Place a repository on a worker: a new project, or one more checkout of the same."""

from sqlalchemy import select
from sqlalchemy.exc import IntegrityError
from sqlalchemy.orm import Session

from webapp.auth import audit
from webapp.auth.actor import Actor
from webapp.database import transaction
from webapp.errors import Conflict, Invalid
from webapp.extensions import db
from webapp.projects import access, asking, credentials, operations
from webapp.projects.models import Checkout, Credential, Project
from webapp.projects.rules import name_from, name_problem, path_of
from webapp.projects.schemas import CloneWish, InlineCredential
from webapp.workers.models import Worker

# Of a wish, as they are.
_STORED = {"description", "git_url", "depth", "single_branch", "submodules", "lfs", "credential_id"}
# What makes two wishes one project, with the word for it: another branch would be other files in the same folder.
_SAME = {
    "git_url": "URL",
    "ref_kind": "branch",
    "ref": "branch",
    "depth": "depth",
    "single_branch": "choice of branches",
    "submodules": "choice about submodules",
    "lfs": "choice about LFS",
}


def clone(actor: Actor, wish: CloneWish) -> Checkout:
    """Place a repository on a worker: a new project, or one more checkout of the same. Returns the checkout.

    Raises Invalid, Conflict (the name is taken, or it is there already), Forbidden, WorkerOffline: nothing is stored.
    """
    name = wish.name or name_from(wish.git_url)
    asking.check_remote(actor, wish, _project_id(actor, path_of(actor.name, name)))
    if problem := name_problem(name):
        raise Invalid(problem, "name")
    worker_id = operations.worker_named(actor, wish.worker_id).id
    with transaction() as session:
        project = access.locked(_found_or_made(session, actor, wish, name).id)
        _refuse_other(project, wish, name)
        _take_credential(actor, project, wish)
        return _place(session, actor, project, worker_id)


def place(actor: Actor, project: Project, worker_id: str, retry_of: str | None = None) -> Checkout:
    """One more checkout of a project, or the one whose clone failed, again."""
    operations.worker_named(actor, worker_id)
    with transaction() as session:
        return _place(session, actor, access.locked(project.id), worker_id, retry_of)


def _place(
    session: Session, actor: Actor, project: Project, worker_id: str, retry_of: str | None = None
) -> Checkout:
    if project.delete_requested_at:
        raise Conflict(f"{project.path} is being deleted. Wait until it is gone, or choose another name.")
    query = select(Checkout).where(Checkout.project_id == project.id, Checkout.worker_id == worker_id)
    checkout = session.scalar(query.with_for_update().execution_options(populate_existing=True))
    worker = session.get(Worker, worker_id)
    if worker is None:
        raise Invalid("That worker was removed a moment ago.", "worker_id")
    if checkout is None:
        checkout = Checkout(organisation_id=project.organisation_id, project=project, worker=worker)
        session.add(checkout)
        session.flush()
    else:
        operations.refuse_busy(checkout)
        if checkout.status == "active":
            raise Conflict(f"{worker.name} has {project.path} already. Pull it, to bring it up to date.")
    task_id = operations.begin(actor, checkout, "clone", retry_of)
    after = {"url": project.git_url, "worker": worker.name, "task_id": task_id}
    audit.record(actor, "project.clone", project.path, project.id, after=after)
    return checkout


def _found_or_made(session: Session, actor: Actor, wish: CloneWish, name: str) -> Project:
    """The row of this path. Of two who make it at once, the second finds the first one's."""
    path = path_of(actor.name, name)
    found = _by_path(actor, path)
    if found is not None:
        return found
    project = Project(
        organisation_id=actor.organisation_id,
        owner=actor.name,
        name=name,
        path=path,
        path_key=path.lower(),
        created_by=actor.name,
        created_by_id=actor.id,
        **wish.model_dump(include=_STORED),
        ref_kind=wish.ref_kind,
        ref=wish.ref,
    )
    try:
        with session.begin_nested():
            session.add(project)
    except IntegrityError:
        found = _by_path(actor, path)
        if found is None:
            raise Conflict(f"{path} was made and deleted at this moment. Try again.") from None
        return found
    return project


def _by_path(actor: Actor, path: str) -> Project | None:
    here = Project.organisation_id == actor.organisation_id
    return db.session.scalar(select(Project).where(here, Project.path_key == path.lower()))


def _project_id(actor: Actor, path: str) -> str | None:
    found = _by_path(actor, path)
    return found.id if found else None


def _refuse_other(project: Project, wish: CloneWish, name: str) -> None:
    others = [word for field, word in _SAME.items() if getattr(project, field) != getattr(wish, field)]
    if project.name != name:
        others = ["name in other letters"]
    if others:
        raise Conflict(
            f"{project.path} is here already, of {project.git_url}, with another {others[0]}. Choose another name, "
            "or clone that project onto this worker.",
            project_id=project.id,
        )


def _take_credential(actor: Actor, project: Project, wish: CloneWish) -> None:
    """What the wish brings opens the remote from now on: whoever typed a wrong one in clones again with another."""
    before = project.credential_id
    if wish.credential:
        _forget_own(actor, project)
        project.credential_id = _own_credential(actor, project, wish.credential)
    elif wish.credential_id:
        project.credential_id = wish.credential_id
    if before not in (None, project.credential_id):
        after = {"credential_id": project.credential_id}
        audit.record(actor, "project.change", project.path, project.id, {"credential_id": before}, after)


def _forget_own(actor: Actor, project: Project) -> None:
    credential = db.session.get(Credential, project.credential_id) if project.credential_id else None
    if credential is not None and credential.project_id == project.id:
        credentials.delete(actor, credential.id)


def _own_credential(actor: Actor, project: Project, said: InlineCredential) -> str:
    made = credentials.create(actor, asking.named(said, project.git_url, project.name, project.id))
    credentials.checked(actor, made.id, project.git_url, project.id)
    return made.id
