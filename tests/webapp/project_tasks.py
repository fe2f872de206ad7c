"""Projects and their checkouts as the queue finds them, without a git anywhere."""

from __future__ import annotations

from typing import Any

from sqlalchemy import delete, update

from tests.projects import GIT
from tests.world import TOOLS, WorkerOf, World
from webapp.auth.actor import Actor
from webapp.database import new_id, release, transaction
from webapp.projects.models import Checkout, Project
from webapp.projects.rules import TOOL
from webapp.tasks import exchange, service
from webapp.tasks.rules import ProjectUse
from webapp.tasks.schemas import Submission
from webapp.workers import identify
from webapp.workers.schemas import SyncRequest
from webapp.workers.sync import Answer, Terms


def project(world: World, name: str = "app", organisation_id: str | None = None) -> str:
    """Its id."""
    made = Project(
        id=new_id(),
        organisation_id=organisation_id or world.organisation_id,
        owner="alice",
        name=name,
        path=f"alice_{name}",
        path_key=f"alice_{name}",
        git_url=f"https://git.example/{name}.git",
        created_by="alice",
    )
    with world.app.app_context():
        with transaction() as session:
            session.add(made)
            project_id = made.id
        release()
    return project_id


def checkout(world: World, project_id: str, worker: WorkerOf, status: str = "active") -> None:
    """The project lies on this worker, in this status; where it did already, it changes."""
    with world.app.app_context():
        with transaction() as session:
            is_it = (Checkout.project_id == project_id, Checkout.worker_id == worker.id)
            changed = session.execute(update(Checkout).where(*is_it).values(status=status))
            if not changed.rowcount:  # type: ignore[attr-defined]
                where = {"organisation_id": world.organisation_id, "worker_id": worker.id}
                session.add(Checkout(project_id=project_id, status=status, **where))
        release()


def forget(world: World, project_id: str) -> None:
    """It is deleted, and with it its checkouts."""
    with world.app.app_context():
        with transaction() as session:
            session.execute(delete(Project).where(Project.id == project_id))
        release()


def git_worker(world: World, name: str = "lab-01", slots: int = 5, **said: Any) -> WorkerOf:
    return world.worker(name, **{"tools": [*TOOLS, GIT], "slots": slots, **said})


def git_task(world: World, project_id: str, worker: WorkerOf, use: ProjectUse = "places", **wish: Any) -> str:
    """A git operation, as the domain of projects makes it."""
    operation = {"reads": "status", "places": "pull"}.get(use, "clone")
    value = {"operation": operation, "url": "https://git.example/app.git", "path": "alice_app"}
    said = Submission(tool=TOOL, input=value, project_id=project_id, worker_id=worker.id, **wish)
    actor: Actor = world.person("operator")
    with world.app.app_context():
        task_id = service.make(actor, said, project_use=use)
        release()
    return task_id


def project_task(world: World, project_id: str, *, reads_only: bool = False, **wish: Any) -> str:
    return world.queued_task(project_id=project_id, project_reads_only=reads_only, **wish)


def offered(worker: WorkerOf, held: list[str] | None = None) -> list[str]:
    return [offer["task_id"] for offer in worker.sync(held).json["offers"]]


def begun(worker: WorkerOf, held: list[dict[str, Any]] | None = None) -> dict[str, Any]:
    """Take the one task that is offered beside these, and show it."""
    shown = [offer["attempt_id"] for offer in held or []]
    [offer] = worker.sync(shown).json["offers"]
    assert worker.sync([*shown, offer["attempt_id"]], accepting=False).json["offers"] == []
    return dict(offer)


def look(worker: WorkerOf, terms: Terms = exchange.ALL) -> Answer:
    """One pass, as a sync or a socket makes it."""
    caller = identify.by_key(worker.key)
    assert caller is not None
    return exchange.exchange(caller, SyncRequest(session_id="s1", boot_id="b1", slots=worker.slots), terms)
