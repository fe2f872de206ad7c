"""What makes calls of the API mean something: ids that exist, keys that open, bodies that reach the code behind the checks.

schemathesis makes up a call; `Living.inform` puts into most of them what is really there.
"""

from __future__ import annotations

import hashlib
import random
from collections.abc import Sequence
from typing import Any

from sqlalchemy import Select, select

from tests.projects import FACTS, GIT, git_worker, tell
from tests.world import WorkerOf, World
from webapp.database import new_id
from webapp.extensions import db
from webapp.projects.models import Checkout
from webapp.tasks.models import Attempt, Task
from webapp.tasks.rules import ACTIVE
from webapp.workers.models import Worker

# Most calls are made to make sense, the others stay as they were made up.
SENSE = 0.85
# Projects take a dozen calls to make: now and then is enough for each call to be let in.
RENEWED = 0.1
BEGUN = b"begun\n"
HOST = "git.example"
HOST_KEY = f"{HOST} ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIEJOlL8aC7wXBmZbbLtBHzDUhL9FjrP1mwLi7ZzYtbJG"


class Living:
    """A world with something behind every id, renewed as calls use it up."""

    def __init__(self, world: World) -> None:
        self.world = world
        self.chance = random.Random(7)
        self.tokens = {role: world.api_token(role) for role in ("viewer", "operator", "admin")}
        world.worker("brings the usual tools")
        self.ended = self._ended_task()
        self.renew()

    def renew(self) -> None:
        """A worker with a task that it runs, holds a lock for and has logged from, and a worker that nobody needs."""
        self.worker, self.offer = self._running()
        self.stranger = self.world.registered("stranger")
        self.join_key_id = self.world.join_token()[4:12]
        self.renew_projects()

    def renew_projects(self) -> None:
        """A project that the worker has, with all that hangs on one; another that it clones; a worker without any."""
        self.spare = git_worker(self.world, "spare")
        self.project_id, offer = self._cloning()
        said = tell(self.worker, self.project_id, offer, **FACTS, host_keys=[HOST_KEY])
        assert said.status_code == 200, said.json
        assert self.worker.report(offer).status_code == 200
        self.cloning_id, self.clone_offer = self._cloning()
        made = self._made("/credentials", name=new_id(), kind="token", host=HOST, token="t-0123")
        self.credential_id = str(made["id"])
        self.webhook = self._made(f"/projects/{self.project_id}/webhooks")

    def _made(self, path: str, **body: Any) -> dict[str, Any]:
        answer = self.world.api("admin", "POST", path, json=body)
        assert answer.status_code == 201, answer.json
        return dict(answer.json)

    def _cloning(self) -> tuple[str, dict[str, Any]]:
        """A project that is being cloned onto the worker, and the offer of that."""
        wish = {"name": new_id(), "git_url": f"git@{HOST}:team/app.git", "worker_id": self.worker.id}
        placed = self.world.api("admin", "POST", "/projects/clone", json=wish)
        assert placed.status_code == 202, placed.json
        offers = self.worker.sync(held=[self.offer["attempt_id"]], slots=1000).json["offers"]
        offer = next(offer for offer in offers if offer["task_id"] == placed.json["task_id"])
        held = [self.offer["attempt_id"], offer["attempt_id"]]
        assert self.worker.sync(held=held, accepting=False).status_code == 200
        return str(placed.json["project_id"]), offer

    def _running(self) -> tuple[WorkerOf, dict[str, Any]]:
        worker = self.world.worker("lab", tools=["own", GIT])
        wish = {"tool": "own", "input": {}, "worker_id": worker.id, "max_retries": 0}
        lock = f"of-{worker.id}"  # one that no call has made up, or its holder would keep this task waiting
        task_id = self.world.queued_task(**wish, locks=[lock])
        offers = worker.sync(slots=1000).json["offers"]  # what was made up before may be offered too
        offer = next(offer for offer in offers if offer["task_id"] == task_id)
        assert worker.sync(held=[offer["attempt_id"]]).status_code == 200
        assert worker.send_log(offer, BEGUN).status_code == 200
        return worker, offer

    def _ended_task(self) -> str:
        worker, offer = self._running()
        assert worker.report(offer, exit_code=0).status_code == 200
        return str(offer["task_id"])

    def inform(self, case: Any) -> None:
        """Put keys, ids and matching values into a case of schemathesis, in place."""
        if not self._is_usable():
            self.renew()
        if self._needs_projects(case.path) and not self._has_projects():
            self.renew_projects()
        kinds = [name for each in case.operation.definition.raw["security"] for name in each]
        kind = self.chance.choice(kinds) if kinds else ""
        case.headers.update(self._credential(kind))
        for name in case.path_parameters:
            if self._is_sensible():
                case.path_parameters[name] = self._id(name, kind)
        self._replace(case.query, {"attempt_id": self.offer["attempt_id"], "attempt": "1", "offset": "2"})
        if "/hooks/" in case.path:
            case.headers.update({"X-Gitlab-Token": self.webhook["secret"], "X-GSW-Delivery": new_id()})
        if isinstance(case.body, dict):
            self._inform_body(case.body)
            self._inform_of_projects(case.path, case.body)
        elif case.media_type == "application/octet-stream" and self._is_sensible():
            self._inform_bytes(case)

    def _needs_projects(self, path: str) -> bool:
        """Always for what is refused while the checkout is busy, which each such call makes it."""
        return path.endswith(("/pull", "/refresh")) or (
            "/projects/" in path and self.chance.random() < RENEWED
        )

    def _is_sensible(self) -> bool:
        return self.chance.random() < SENSE

    def _is_usable(self) -> bool:
        """Whether no call has ended the task, or the right of its worker."""
        mine = select(Worker.status).where(Worker.id == self.worker.id)
        held = select(Attempt.id).where(Attempt.id == self.offer["attempt_id"], Attempt.ended_at.is_(None))
        strange = select(Worker.id).where(Worker.id == self.stranger.id)
        found = self._found(mine, held, strange)
        return found[0] == "approved" and None not in found

    def _has_projects(self) -> bool:
        """Whether no call has deleted the project, or works on it, and the clone still runs."""
        its = (Checkout.project_id == self.project_id, Checkout.status == "active")
        idle = select(Checkout.id).outerjoin(Task, (Task.id == Checkout.task_id) & Task.status.in_(ACTIVE))
        runs = select(Attempt.id).where(
            Attempt.id == self.clone_offer["attempt_id"], Attempt.ended_at.is_(None)
        )
        return None not in self._found(idle.where(*its, Task.id.is_(None)), runs)

    def _found(self, *queries: Select[tuple[str]]) -> Sequence[str | None]:
        """What each of them finds, asked at once: this goes before each of some thousand calls."""
        with self.world.app.app_context(), db.engine.connect() as connection:
            return connection.execute(select(*[query.scalar_subquery() for query in queries])).one()

    def _credential(self, kind: str) -> dict[str, str]:
        if kind == "workerKey":
            return self.worker.headers
        role = self.chance.choice(("admin", "admin", "admin", "admin", "operator", "viewer"))
        return {"Authorization": f"Bearer {self.tokens[role]}"} if kind else {}

    def _id(self, name: str, kind: str) -> str:
        mine = kind == "workerKey"
        running = self.offer["task_id"]
        known = {
            "worker_id": [self.worker.id] if mine else [self.worker.id, self.stranger.id, self.stranger.id],
            "agent_id": [self.worker.id],
            "task_id": [running] if mine else [running, running, self.ended],
            "name": [f"of-{self.worker.id}"],
            "key_id": [self.join_key_id],
            "project_id": [self.cloning_id] if mine else [self.project_id],
            "credential_id": [self.credential_id],
            "webhook_id": [self.webhook["id"]],
        }
        return str(self.chance.choice(known[name]))

    def _replace(self, place: dict[str, Any] | None, known: dict[str, Any]) -> None:
        for name, value in known.items():
            if place and name in place and self._is_sensible():
                place[name] = value

    def _inform_body(self, body: dict[str, Any]) -> None:
        known = {
            "attempt_id": self.offer["attempt_id"],
            "task_id": self.offer["task_id"],
            "worker_id": self.worker.id,
            "tool": self.chance.choice(("noop", "own")),
            "held": [self.offer["attempt_id"]],
            "reports": [self._report()],
            "log_tail": {"offset": len(BEGUN), "content": "the end\n"},
            "join_token": None,
            "content_base64": None,
            "offset": self.chance.choice((0, len(BEGUN))),
        }
        self._replace(body, known)
        if "wait_s" in body:
            body["wait_s"] = 0
        if isinstance(body.get("content"), str):
            checksum = hashlib.sha256(body["content"].encode(errors="replace")).hexdigest()
            self._replace(body, {"checksum": checksum})

    def _inform_of_projects(self, path: str, body: dict[str, Any]) -> None:
        known = {
            "git_url": f"https://{HOST}/{new_id()}.git",
            "name": new_id(),
            "host": HOST,
            "branch": "main",
            "worker_id": (self.spare if path.endswith("/clone") else self.worker).id,
            "attempt_id": self.clone_offer["attempt_id"],
            **dict.fromkeys(
                ("credential_id", "credential", "tag", "commit", "project_id", "private_key"), None
            ),
        }
        if path.startswith(("/projects", "/credentials")):
            self._replace(body, known)

    def _report(self) -> dict[str, Any]:
        ids = {"task_id": self.offer["task_id"], "attempt_id": self.offer["attempt_id"]}
        status = self.chance.choice(("completed", "failed", "nonsense"))
        return {**ids, "status": status, "execution_time_ms": 5}

    def _inform_bytes(self, case: Any) -> None:
        case.body = case.body if isinstance(case.body, bytes) else b"more\n"
        case.headers.pop("Content-Encoding", None)
        offset = self.chance.choice((0, len(BEGUN), 600))
        checksum = hashlib.sha256(case.body).hexdigest()
        attempt_id = self.offer["attempt_id"]
        case.headers.update(
            {"X-Log-Attempt": attempt_id, "X-Log-Offset": str(offset), "X-Log-SHA256": checksum}
        )
