"""What somebody does with projects through the API, and where it lies on the worker's disk."""

from __future__ import annotations

import itertools
from pathlib import Path
from typing import Any

import requests

from tests.git.repositories import git
from tests.stack import Stack

_numbers = itertools.count(1)
CLONE_S = 90


class Garage:
    """A server with an agent that may clone, also over plain http."""

    def __init__(self, stack: Stack, worker: str = "agent-1") -> None:
        self.stack, self.worker = stack, worker

    @property
    def worker_id(self) -> str:
        return str(self.stack.worker(self.worker)["id"])

    @property
    def storage(self) -> Path:
        return self.stack.folder / self.worker

    # ---- asking

    def ask(self, method: str, path: str, **body: Any) -> requests.Response:
        return self.stack.api(method, path, **({"json": body} if method != "DELETE" else {"params": body}))

    def asked(self, method: str, path: str, **body: Any) -> dict[str, Any]:
        answer = self.ask(method, path, **body)
        assert answer.ok, answer.text
        return dict(answer.json())

    def begin(self, url: str, **wish: Any) -> dict[str, Any]:
        """A clone that was taken: `{project_id, checkout_id, task_id, status}`."""
        name = wish.pop("name", f"app-{next(_numbers)}")
        worker_id = wish.pop("worker_id", None) or self.worker_id
        return self.asked("POST", "/projects/clone", name=name, git_url=url, worker_id=worker_id, **wish)

    def cloned(self, url: str, **wish: Any) -> Project:
        begun = self.begin(url, **wish)
        project = Project(self, begun["project_id"])
        task = self.stack.ended(begun["task_id"], CLONE_S)
        log = self.stack.log(task["id"]).decode()
        assert task["status"] == "completed", f"{task['attempts']}\n{log}"
        assert project.checkout["status"] == "active", f"{project.checkout}\n{log}"
        return project

    def refused(self, url: str, **wish: Any) -> tuple[Project, dict[str, Any]]:
        """A clone that was taken, and came to nothing. The project, and its task."""
        begun = self.begin(url, **wish)
        task = self.stack.ended(begun["task_id"], CLONE_S)
        assert task["status"] == "failed", self.stack.log(task["id"]).decode()
        project = Project(self, begun["project_id"])
        assert project.checkout["status"] == "error", project.checkout
        assert not project.lies_at().exists()
        self.leaves_nothing_half_done()
        return project, task

    def leaves_nothing_half_done(self) -> None:
        assert [one.name for one in (self.storage / "projects").iterdir() if one.name.startswith(".")] == []

    def credential(self, host: str, **said: Any) -> str:
        body = {"name": f"key-{next(_numbers)}", "host": host, **said}
        return str(self.asked("POST", "/credentials", **body)["id"])

    def token(self, host: str, token: str, username: str = "mira") -> str:
        return self.credential(host, kind="token", token=token, username=username)

    def ssh_key(self, host: str, private_key: str) -> str:
        return self.credential(host, kind="ssh", private_key=private_key)


class Project:
    """One of them, on its garage's worker."""

    def __init__(self, garage: Garage, project_id: str) -> None:
        self.garage, self.id = garage, project_id
        self.path = f"/projects/{project_id}"

    @property
    def shown(self) -> dict[str, Any]:
        return self.garage.asked("GET", self.path)

    @property
    def checkout(self) -> dict[str, Any]:
        worker_id = self.garage.worker_id
        return next(dict(one) for one in self.shown["checkouts"] if one["worker_id"] == worker_id)

    def lies_at(self) -> Path:
        return self.garage.storage / "projects" / str(self.shown["path"])

    @property
    def folder(self) -> Path:
        found = self.lies_at()
        assert str(found) == self.checkout["local_path"]
        return found

    def git(self, *arguments: str) -> str:
        return git(*arguments, cwd=self.folder)

    def task_of(self, answer: dict[str, Any]) -> dict[str, Any]:
        """The one that was begun, when it has ended."""
        (task_id,) = answer["task_ids"]
        return self.garage.stack.ended(task_id, CLONE_S)

    def pull(self) -> dict[str, Any]:
        return self.task_of(self.garage.asked("POST", f"{self.path}/pull"))

    def refresh(self) -> dict[str, Any]:
        """The checkout as its worker has just found it."""
        task = self.task_of(self.garage.asked("POST", f"{self.path}/refresh"))
        assert task["status"] == "completed", task["attempts"]
        return self.checkout

    def again(self) -> dict[str, Any]:
        """Clone it once more; the task."""
        answer = self.garage.asked("POST", f"{self.path}/clone", worker_id=self.garage.worker_id)
        return self.garage.stack.ended(answer["task_id"], CLONE_S)

    def delete(self, **how: Any) -> dict[str, Any]:
        return self.task_of(self.garage.asked("DELETE", self.path, **how))

    @property
    def is_gone(self) -> bool:
        return self.garage.ask("GET", self.path).status_code == 404

    def run(self, script: str, **wish: Any) -> str:
        return self.garage.stack.submit(script, project_id=self.id, **wish)

    def ran(self, script: str, **wish: Any) -> str:
        """What a task in it printed."""
        task = self.garage.stack.ended(self.run(script, **wish))
        said = self.garage.stack.log(task["id"]).decode()
        assert task["status"] == "completed", said
        return said


def words_of(task: dict[str, Any]) -> str:
    """What it said when it failed."""
    return str(task["attempts"][-1]["error"])
