"""A webhook as the remote knows it, and what comes of its calls."""

from __future__ import annotations

import hashlib
import hmac
import json
from dataclasses import dataclass
from typing import Any

from tests.webapp.project_tasks import checkout, git_worker, project
from tests.world import WorkerOf, World
from webapp.auth.rules import Role
from webapp.housekeeping import Housekeeper

PUSH = {"ref": "refs/heads/main", "after": "4b825dc6", "repository": {"default_branch": "main"}}


@dataclass
class Hook:
    """A webhook as the remote knows it."""

    world: World
    project_id: str
    id: str
    secret: str

    def call(self, body: Any = PUSH, delivery: str = "d1", **headers: str) -> Any:
        """As a program of one's own would; `headers` with `_` for `-`, which replace what is sent."""
        data = body if isinstance(body, bytes) else json.dumps(body).encode()
        sent = {"X-GSW-Delivery": delivery, "X-GSW-Signature-256": signed(self.secret, data)}
        sent |= {name.replace("_", "-"): value for name, value in headers.items()}
        return self.send(data, {name: value for name, value in sent.items() if value})

    def send(self, data: bytes, headers: dict[str, str], webhook_id: str = "") -> Any:
        sent = {"Content-Type": "application/json", **headers}
        path = f"/api/v1/hooks/{webhook_id or self.id}"
        return self.world.app.test_client().post(path, data=data, headers=sent)

    def said(self, *args: Any, **kwargs: Any) -> str:
        answer = self.call(*args, **kwargs)
        assert answer.status_code == 200, answer.json
        return str(answer.json["said"])


def signed(secret: str, data: bytes) -> str:
    return hmac.new(secret.encode(), data, hashlib.sha256).hexdigest()


def made(world: World, project_id: str, role: Role = "operator") -> Hook:
    answer = world.api(role, "POST", f"/projects/{project_id}/webhooks")
    assert answer.status_code == 201, answer.json
    return Hook(world, project_id, answer.json["id"], answer.json["secret"])


def online(world: World, name: str = "lab-01") -> WorkerOf:
    """A worker with git that has just called."""
    worker = git_worker(world, name)
    assert worker.sync().status_code == 200
    return worker


def hooked(world: World, worker: WorkerOf | None = None, role: Role = "operator") -> Hook:
    """A project that lies on this worker, or on a new one, and its webhook."""
    project_id = project(world)
    checkout(world, project_id, worker or online(world))
    return made(world, project_id, role)


def pulls(world: World) -> list[dict[str, Any]]:
    """The tasks that pull, oldest first."""
    rows = world.api("viewer", "GET", "/tasks?tool=git").json["items"]
    return [row for row in reversed(rows) if row["name"].startswith("pull ")]


def housekeeping(world: World) -> None:
    Housekeeper(world.app).step()


def remembered(world: World) -> list[dict[str, Any]]:
    return sorted(world.rows("webhook_deliveries"), key=lambda row: str(row["received_at"]))


def github(hook: Hook, data: bytes, **more: str) -> dict[str, str]:
    return {
        "X-GitHub-Delivery": "72d3162e-cc78-11e3-81ab-4c9367dc0958",
        "X-GitHub-Event": "push",
        "X-Hub-Signature-256": f"sha256={signed(hook.secret, data)}",
        **more,
    }


def gitlab(hook: Hook, data: bytes, **more: str) -> dict[str, str]:
    return {
        "X-Gitlab-Event": "Push Hook",
        "X-Gitlab-Token": hook.secret,
        "X-Gitlab-Event-UUID": "13792a34-cac6-4fda-95a8-c58e00a3954e",
        **more,
    }
