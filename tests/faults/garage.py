"""A server and its agents with short timers, that can be broken and looked into."""

from __future__ import annotations

import fcntl
import os
import signal
from contextlib import suppress
from pathlib import Path
from typing import Any

import requests

from tests.faults.invariants import Records
from tests.stack import Process, Stack, eventually

# A lease is 4 syncs, as in earnest; being lost takes long, so that a loaded machine loses nothing by being slow.
SHORT = {"lease_s": 4, "sync_wait_s": 1, "offline_after_s": 2, "lost_after_s": 60}
# What the server adds before a lost attempt is decided: 10 s with `requeue`, and its look every 5 s; and a loaded machine.
OVERDUE_S = 90
# A task that counts for some seconds: what is lost or said twice shows in its log.
COUNT = "for i in $(seq 1 {n}); do echo line $i; sleep {pause}; done"


class Garage(Stack):
    def __init__(self, folder: Path, database_url: str = "", **settings: object) -> None:
        folder.mkdir(parents=True, exist_ok=True)
        super().__init__(folder, database_url, **settings)
        self.records = Records(self.instance, database_url)

    @property
    def process(self) -> Process:
        assert self.server is not None
        return self.server

    def check(self) -> None:
        self.records.check(OVERDUE_S)

    def stop(self) -> None:
        super().stop()
        self.records.close()

    # Faults of the server.

    def restart_server(self, failpoint: str = "") -> Process:
        """With a failpoint, or without."""
        if self.server is not None:
            self.server.kill()
            self.wait_until_gone()
        self.environment["GSW_FAILPOINT"] = failpoint
        return self.start_server()

    def wait_until_gone(self) -> None:
        """The server ends, and its children too: only then its folder and its port are free."""
        self.process.process.wait(60)

        def is_free() -> bool:
            with (self.instance / "server.lock").open("a") as file:
                try:
                    fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
                except OSError:
                    return False
                return True

        eventually(is_free, 30, "the server's processes to end")

    def worker_process(self) -> int:
        """The process that serves; the one that was started only watches over it."""
        children = Path(f"/proc/{self.process.pid}/task/{self.process.pid}/children")
        return eventually(
            lambda: [int(pid) for pid in children.read_text().split()], 20, "gunicorn's worker"
        )[0]

    def join_token(self, uses: int) -> str:
        return self.flask("create-join-token", "--uses", str(uses)).splitlines()[-1]

    # Tasks that tell how they ran.

    def ran(self, name: str) -> Path:
        return self.folder / f"ran-{name}"

    def script(self, name: str, body: str = "") -> str:
        """Notes each of its starts outside of what the agent keeps."""
        return f"echo begun >> {self.ran(name)}\n{body}"

    def starts(self, name: str) -> int:
        path = self.ran(name)
        return path.read_text().count("begun") if path.exists() else 0

    def counting(self, name: str, n: int = 10, pause: float = 0.3, **wish: Any) -> str:
        return self.submit(self.script(name, COUNT.format(n=n, pause=pause)), name=name, **wish)

    def counting_and_waiting(self, name: str) -> str:
        """Counts to ten, then runs on until `let_go`: its log is sent before its report, however slow the machine."""
        body = COUNT.format(n=10, pause=0.1) + f"; until [ -e {self._go(name)} ]; do sleep 0.1; done"
        return self.submit(self.script(name, body), name=name)

    def let_go(self, name: str) -> None:
        self._go(name).touch()

    def _go(self, name: str) -> Path:
        return self.folder / f"go-{name}"

    def assert_counted(self, task_id: str, name: str, n: int = 10, seconds: float = 60) -> None:
        """It ran once, in one attempt, ended once, and its log is what it wrote, byte for byte."""
        task = self.ended(task_id, seconds)
        assert (task["status"], len(task["attempts"]), self.starts(name)) == ("completed", 1, 1), task
        assert self.log(task_id) == counted(n)
        assert self.events(task_id) == ["task_queued", "task_started", "task_completed"]
        self.check()

    def events(self, task_id: str) -> list[str]:
        return [event["type"] for event in self.api("GET", f"/tasks/{task_id}/events").json()["items"]]

    def shown(self, name: str) -> str:
        return str(self.worker(name).get("shown_status", ""))

    def is_live(self) -> bool:
        with suppress(requests.ConnectionError):
            return requests.get(f"{self.url}/health/live", timeout=5).ok
        return False


def counted(n: int) -> bytes:
    return b"".join(b"line %d\n" % number for number in range(1, n + 1))


def freeze(process: Process) -> None:
    """Only the agent: its tasks have sessions of their own and run on."""
    os.kill(process.pid, signal.SIGSTOP)
    state = Path(f"/proc/{process.pid}/stat")
    eventually(lambda: state.read_text().rpartition(")")[2].split()[0] == "T", 10, "the agent to be stopped")


def thaw(process: Process) -> None:
    os.kill(process.pid, signal.SIGCONT)
