"""Verbs about projects: a worker with git that is online, and what its agent says when git has ended."""

from __future__ import annotations

from typing import Any

from sqlalchemy import text

from tests.world import TOOLS, WorkerOf, World

URL = "https://git.example/team/app.git"
COMMIT = "4b825dc642cb6eb9a060e54bf8d69288fbee4904"
PLACE = "/var/lib/garageswarm/projects/operator_app"
# Whether somebody waits for what this transaction has locked. On PostgreSQL.
IS_BLOCKED = text("SELECT count(*) FROM pg_locks WHERE pg_backend_pid() = ANY(pg_blocking_pids(pid))")
_TEXT, _FLAG = {"type": "string"}, {"type": "boolean"}
# What a real agent declares of git, in short.
GIT = {
    "name": "git",
    "version": 1,
    "title": "Git",
    "schema": {
        "type": "object",
        "required": ["operation", "url"],
        "properties": {
            "operation": {"type": "string", "enum": ["clone", "pull", "status", "delete", "branches"]},
            **dict.fromkeys(("url", "path", "ref_kind", "ref", "credential_id"), _TEXT),
            "depth": {"type": "integer"},
            **dict.fromkeys(("single_branch", "submodules", "lfs", "force"), _FLAG),
            "credential": {"type": "object", "x-secret": True},
        },
        "additionalProperties": False,
    },
}
FACTS: dict[str, Any] = {
    "local_path": PLACE,
    "branch": "main",
    "commit": COMMIT,
    "subject": "Begin",
    "author": "Ada",
    "committed_at": "2026-01-31T12:00:00+01:00",
    "ahead": 0,
    "behind": 0,
    "dirty": [],
    "dirty_count": 0,
    "unpushed": [],
    "unpushed_count": 0,
    "branches": ["main", "next"],
    "commits": [
        {"commit": COMMIT, "subject": "Begin", "author": "Ada", "committed_at": "2026-01-31T11:00:00Z"}
    ],
    "size": 1234,
    "mirror_bytes": 5678,
}


def git_worker(world: World, name: str = "lab-01", **said: Any) -> WorkerOf:
    """Approved, with git, and online."""
    worker = world.worker(name, tools=[*TOOLS, GIT], **said)
    assert worker.sync(accepting=False).status_code == 200
    return worker


def clone(world: World, worker: WorkerOf, role: Any = "operator", **wish: Any) -> Any:
    body = {"name": "app", "git_url": URL, "worker_id": worker.id, **wish}
    return world.api(role, "POST", "/projects/clone", json=body)


def begin(worker: WorkerOf) -> dict[str, Any]:
    """Take the one task that waits for this worker, and show it."""
    offer = worker.take()
    assert worker.sync(held=[offer["attempt_id"]], accepting=False).status_code == 200
    return offer


def tell(worker: WorkerOf, project_id: str, offer: dict[str, Any], success: bool = True, **facts: Any) -> Any:
    """The agent's word of the checkout."""
    body = {"attempt_id": offer["attempt_id"], "success": success, "message": "", **facts}
    return worker.call("POST", f"/projects/{project_id}/status", json=body)


def finish(world: World, worker: WorkerOf, project_id: str, **facts: Any) -> dict[str, Any]:
    """The one operation that waits for this worker runs, succeeds and is reported. Returns its offer."""
    offer = begin(worker)
    answer = tell(worker, project_id, offer, **{**FACTS, **facts})
    assert answer.status_code == 200, answer.json
    assert worker.report(offer, exit_code=0).status_code == 200
    return offer


def cloned(world: World, worker: WorkerOf, **wish: Any) -> str:
    """A project whose checkout on this worker is active. Returns its id."""
    answer = clone(world, worker, **wish)
    assert answer.status_code == 202, answer.json
    finish(world, worker, answer.json["project_id"])
    return str(answer.json["project_id"])


def shown(world: World, project_id: str) -> dict[str, Any]:
    answer = world.api("viewer", "GET", f"/projects/{project_id}")
    assert answer.status_code == 200, answer.json
    return dict(answer.json)


def checkout(world: World, project_id: str, worker: WorkerOf | None = None) -> dict[str, Any]:
    """Its only checkout, or that on this worker."""
    found = [
        row
        for row in shown(world, project_id)["checkouts"]
        if worker is None or row["worker_id"] == worker.id
    ]
    assert len(found) == 1, found
    return dict(found[0])


def is_gone(world: World, project_id: str) -> bool:
    return bool(world.api("viewer", "GET", f"/projects/{project_id}").status_code == 404)


def delete(world: World, project_id: str, role: Any = "operator", **query: Any) -> Any:
    said = "&".join(f"{name}={str(value).lower()}" for name, value in query.items())
    return world.api(role, "DELETE", f"/projects/{project_id}?{said}")
