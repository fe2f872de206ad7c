"""The made-up garage's projects: what git did there, as agents told of it."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any

from tests.world import WorkerOf, World
from webapp import clock

FORGE = "https://forge.example"
SUBJECTS = (
    ("Say when the other side times out, not that it did", "Ana Duarte"),
    ("Fix: a check with a grace time of zero was never late", "Jonas Weber"),
    ("Docs: how to move to another database", "Mira Okafor"),
    ("Charts load after the page, so that it is there at once", "Ana Duarte"),
    ("Update the dependencies", "forge-bot"),
    ("Search finds names with umlauts", "Jonas Weber"),
)


@dataclass(frozen=True)
class Wish:
    """A repository as somebody wants it."""

    name: str
    url: str
    more: dict[str, Any]


HEALTH = Wish(
    "healthchecks", f"{FORGE}/web/healthchecks.git", {"description": "The cron monitor, as we run it"}
)
NOTES = Wish("garden-notes", "git@forge.example:mira/garden-notes.git", {"branch": "main"})
VISION = Wish("vision", f"{FORGE}/lab/vision.git", {"branch": "feature/augment-at-night", "lfs": True})
FIRMWARE = Wish("valve-firmware", f"{FORGE}/lab/valve-firmware.git", {"tag": "v2.3.1", "depth": 1})


def commit_id(number: int) -> str:
    return f"{(number * 2654435761 + 0xA81C9F3B2E) % 16**10:010x}" * 4


def facts(wish: Wish, when: datetime, size: int, number: int = 1, **said: Any) -> dict[str, Any]:
    """What git found there, as an agent says it."""
    words = SUBJECTS[number % 6 :] + SUBJECTS[: number % 6]
    rows = [
        {
            "commit": commit_id(number + at),
            "subject": subject,
            "author": author,
            "committed_at": clock.wire(when - timedelta(hours=2 + 17 * at)),
        }
        for at, (subject, author) in enumerate(words)
    ]
    newest = rows[0]
    return {
        "success": True,
        "message": "done",
        "local_path": f"/srv/garageswarm/projects/jonas_{wish.name}",
        "branch": wish.more.get("branch", None if "tag" in wish.more else "master"),
        **{name: newest[name] for name in ("commit", "subject", "author", "committed_at")},
        "ahead": 0,
        "behind": 0,
        "commits": rows,
        "branches": ["master", "release/3"],
        "size": size,
        "mirror_bytes": size // 3,
        **said,
    }


class Placing:
    """Verbs of the garage's people and agents."""

    def __init__(self, world: World) -> None:
        self.world = world

    def clone(self, wish: Wish, worker: WorkerOf) -> str:
        """Ask for it. Returns the project's id."""
        said = {"name": wish.name, "git_url": wish.url, "worker_id": worker.id, **wish.more}
        answer = self.world.api("operator", "POST", "/projects/clone", json=said)
        assert answer.status_code == 202, answer.json
        return str(answer.json["project_id"])

    def pull(self, project_id: str, worker: WorkerOf) -> None:
        wish = {"worker_id": worker.id}
        answer = self.world.api("operator", "POST", f"/projects/{project_id}/pull", json=wish)
        assert answer.status_code == 202, answer.json

    def begin(self, worker: WorkerOf, held: list[str]) -> dict[str, Any]:
        """The git task that this worker is offered now, running."""
        offers = worker.sync(held=held).json["offers"]
        offer = next(offer for offer in offers if offer["tool"] == "git")
        worker.sync(held=[*held, offer["attempt_id"]])
        return dict(offer)

    def tell_progress(self, worker: WorkerOf, offer: dict[str, Any], percent: float, message: str) -> None:
        said = {
            "attempt_id": offer["attempt_id"],
            "stage": "fetching",
            "step": "Receiving objects",
            "step_id": "receiving",
            "progress": percent,
            "message": message,
        }
        answer = worker.call("PUT", f"/agents/tasks/{offer['task_id']}/status", json=said)
        assert answer.status_code == 200, answer.json

    def end(self, project_id: str, worker: WorkerOf, offer: dict[str, Any], said: dict[str, Any]) -> None:
        """It says how the checkout is, then that the task has ended."""
        body = {"attempt_id": offer["attempt_id"], **said}
        answer = worker.call("POST", f"/projects/{project_id}/status", json=body)
        assert answer.status_code == 200, answer.json
        status = "completed" if said["success"] else "failed"
        more = (
            {}
            if said["success"]
            else {"failure_class": "exit_code", "error": said["message"], "exit_code": 1}
        )
        assert worker.report(offer, status, execution_time_ms=8200, **more).status_code == 200
