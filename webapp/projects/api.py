"""Projects on the API, for people's programs."""

from __future__ import annotations

from operator import attrgetter
from typing import TYPE_CHECKING

from flask import Response, jsonify

from webapp import clock
from webapp.api import blueprint as api_blueprint
from webapp.api.body import parse, parse_optional, parse_query
from webapp.api.documented import documented
from webapp.api.idempotency import repeatable
from webapp.api.paging import cut
from webapp.auth.guards import me, token_required
from webapp.errors import Conflict
from webapp.projects import service
from webapp.projects.access import project_for, projects_before, writable_project_for
from webapp.projects.answers import (
    Begun,
    BranchesBegun,
    CheckoutAnswer,
    CheckoutRow,
    Placing,
    ProjectAnswer,
    ProjectItem,
    ProjectList,
    ProjectRow,
    ProjectStatus,
)
from webapp.projects.operations import Busy, WorkerOffline
from webapp.projects.rules import overall
from webapp.projects.schemas import (
    BranchesWish,
    CloneWish,
    DeleteQuery,
    OnWorker,
    OnWorkers,
    ProjectChange,
    ProjectQuery,
)

if TYPE_CHECKING:
    from webapp.projects.models import Checkout, Project

blueprint = api_blueprint("projects_api", __name__)


@blueprint.post("/projects/clone")
@token_required("operator")
@repeatable
@documented(
    "Clone a repository onto a worker",
    body=CloneWish,
    answer=Placing,
    status=202,
    errors=(Conflict, WorkerOffline),
)
def clone() -> tuple[Response, int]:
    """A new project, or one more checkout of yours with the same name. `task_id` is a task like any: it has a log, and
    can be cancelled and retried. Where the worker is offline nothing is stored.
    """
    return jsonify(_placing(service.clone(me(), parse(CloneWish)))), 202


@blueprint.post("/projects/branches")
@token_required("operator")
@repeatable
@documented(
    "Ask a remote for its branches",
    body=BranchesWish,
    answer=BranchesBegun,
    status=202,
    errors=(Conflict, WorkerOffline),
)
def branches() -> tuple[Response, int]:
    """A worker asks; the task's result has them."""
    return jsonify(BranchesBegun(task_id=service.branches(me(), parse(BranchesWish)))), 202


@blueprint.get("/projects")
@token_required("viewer")
@documented("List projects", query=ProjectQuery, answer=ProjectList)
def list_projects() -> Response:
    """Newest first, with their checkouts in short."""
    asked = parse_query(ProjectQuery)
    found = projects_before(me().organisation_id, asked.after, asked.limit + 1)
    page, after = cut(found, asked.limit, attrgetter("id"))
    items = [ProjectItem(**_row(project), checkouts=_in_short(project)) for project in page]
    return jsonify(ProjectList(items=items, next=after))


@blueprint.get("/projects/<id:project_id>")
@token_required("viewer")
@documented("Show a project", answer=ProjectAnswer)
def show(project_id: str) -> Response:
    """With its checkouts, as their workers found them last."""
    return jsonify(as_wire(project_for(me(), project_id)))


@blueprint.get("/projects/<id:project_id>/status")
@token_required("viewer")
@documented("Show a project's status", answer=ProjectStatus)
def status(project_id: str) -> Response:
    """As it is known. `POST /projects/{project_id}/refresh` has the workers look again."""
    project = project_for(me(), project_id)
    row = _row(project)
    return jsonify(ProjectStatus(project_id=project.id, status=row["status"], checkouts=_in_short(project)))


@blueprint.patch("/projects/<id:project_id>")
@token_required("viewer")
@documented(
    "Change a project", body=ProjectChange, answer=ProjectAnswer, needs="operator", errors=(Conflict,)
)
def change(project_id: str) -> Response:
    """What is left out stays. Checkouts follow with their next pull."""
    project = writable_project_for(me(), project_id)
    service.change(me(), project, parse(ProjectChange))
    return jsonify(as_wire(project_for(me(), project_id)))


@blueprint.post("/projects/<id:project_id>/clone")
@token_required("viewer")
@repeatable
@documented(
    "Clone a project onto another worker",
    body=OnWorker,
    answer=Placing,
    status=202,
    needs="operator",
    errors=(Conflict, WorkerOffline),
)
def place(project_id: str) -> tuple[Response, int]:
    """Or onto the same one again, where that failed."""
    project = writable_project_for(me(), project_id)
    return jsonify(_placing(service.place(me(), project, parse(OnWorker).worker_id))), 202


@blueprint.post("/projects/<id:project_id>/pull")
@token_required("viewer")
@repeatable
@documented(
    "Pull a project",
    body=OnWorkers,
    is_body_optional=True,
    answer=Begun,
    status=202,
    needs="operator",
    errors=(Busy, WorkerOffline),
)
def pull(project_id: str) -> tuple[Response, int]:
    """On one worker, or on all that are online and not busy with it."""
    project = writable_project_for(me(), project_id)
    made = service.pull(me(), project, parse_optional(OnWorkers).worker_id)
    return jsonify(Begun(project_id=project_id, task_ids=made)), 202


@blueprint.post("/projects/<id:project_id>/refresh")
@token_required("viewer")
@repeatable
@documented(
    "Look how a project is",
    body=OnWorkers,
    is_body_optional=True,
    answer=Begun,
    status=202,
    needs="operator",
    errors=(Busy, WorkerOffline),
)
def refresh(project_id: str) -> tuple[Response, int]:
    """Its workers look: branch, commit, changed files, size. Nothing is fetched into the checkout."""
    project = writable_project_for(me(), project_id)
    made = service.refresh(me(), project, parse_optional(OnWorkers).worker_id)
    return jsonify(Begun(project_id=project_id, task_ids=made)), 202


@blueprint.delete("/projects/<id:project_id>")
@token_required("viewer")
@documented(
    "Delete a project",
    query=DeleteQuery,
    answer=Begun,
    status=202,
    needs="operator",
    errors=(Busy, WorkerOffline),
)
def delete(project_id: str) -> tuple[Response, int]:
    """Its workers delete their checkouts, then it is gone; with `worker_id` only that one. Where files aren't committed or
    commits aren't pushed the task fails and names them, unless `force` is given. `forget` is for workers that are gone.
    """
    project = writable_project_for(me(), project_id)
    asked = parse_query(DeleteQuery)
    made = service.delete(me(), project, asked.worker_id, force=asked.force, forget=asked.forget)
    return jsonify(Begun(project_id=project_id, task_ids=made)), 202


# ---- as they go over the wire


def as_wire(project: Project) -> ProjectAnswer:
    checkouts = [_checkout(checkout) for checkout in project.checkouts]
    return ProjectAnswer(**_row(project), checkouts=checkouts)


def _row(project: Project) -> ProjectRow:
    return ProjectRow(
        id=project.id,
        owner=project.owner,
        name=project.name,
        path=project.path,
        description=project.description,
        git_url=project.git_url,
        ref_kind=project.ref_kind,
        ref=project.ref,
        depth=project.depth,
        single_branch=project.single_branch,
        submodules=project.submodules,
        lfs=project.lfs,
        credential_id=project.credential_id,
        created_by=project.created_by,
        created_at=clock.wire(project.created_at),
        delete_requested_at=clock.wire(project.delete_requested_at),
        status=overall(checkout.status for checkout in project.checkouts),
    )


def _in_short(project: Project) -> list[CheckoutRow]:
    return [_checkout_row(checkout) for checkout in project.checkouts]


def _checkout_row(checkout: Checkout) -> CheckoutRow:
    return CheckoutRow(
        id=checkout.id,
        worker_id=checkout.worker_id,
        worker=checkout.worker.name,
        status=checkout.status,
        task_id=checkout.task_id,
        error=checkout.error,
        branch=checkout.branch,
        commit=checkout.commit,
        synced_at=clock.wire(checkout.synced_at),
    )


def _checkout(checkout: Checkout) -> CheckoutAnswer:
    return CheckoutAnswer(
        **_checkout_row(checkout),
        local_path=checkout.local_path,
        subject=checkout.subject,
        author=checkout.author,
        committed_at=clock.wire(checkout.committed_at),
        ahead=checkout.ahead,
        behind=checkout.behind,
        dirty=checkout.dirty,
        dirty_count=checkout.dirty_count,
        unpushed=checkout.unpushed,
        unpushed_count=checkout.unpushed_count,
        branches=checkout.branches,
        commits=checkout.commits,  # type: ignore[typeddict-item]
        size_bytes=checkout.size_bytes,
        mirror_bytes=checkout.mirror_bytes,
        looked_at=clock.wire(checkout.looked_at),
        created_at=clock.wire(checkout.created_at),
    )


def _placing(checkout: Checkout) -> Placing:
    return Placing(
        project_id=checkout.project_id,
        checkout_id=checkout.id,
        task_id=checkout.task_id or "",
        status=checkout.status,
    )
