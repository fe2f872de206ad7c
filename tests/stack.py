"""A real server and real agents, as processes of their own on free ports: for contract, browser and end-to-end tests.

Everything is started and stopped by its own process id, and talks over loopback only.
"""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any, TypeVar

import requests

from agent import orphans
from tests.ports import free_port

ROOT = Path(__file__).resolve().parent.parent
START_SECONDS = 60
T = TypeVar("T")


class NotInTime(AssertionError):
    """Something that was waited for didn't come. On a busy machine that is no proof: such a test is run once more."""


def eventually(look: Callable[[], T], seconds: float = 40, what: str = "") -> T:
    """The first truthy answer of `look`, asked again and again. Raises NotInTime with the last one when time is over."""
    deadline = time.monotonic() + seconds
    while True:
        found = look()
        if found:
            return found
        if time.monotonic() > deadline:
            raise NotInTime(f"not within {seconds} s: {what or look}; last answer {found!r}")
        time.sleep(0.02)


def clean_environment() -> dict[str, str]:
    """This one without settings of ours: what the person who runs the tests has set means something else."""
    ours = ("GSW_", "AGENT_", "TLS")
    return {name: value for name, value in os.environ.items() if not name.startswith(ours)}


class Process:
    """A program of ours with its output in a file."""

    def __init__(self, arguments: list[str], environment: dict[str, str], log: Path) -> None:
        self.log = log
        with log.open("ab") as file:
            self._said_before = file.tell()  # by another process with the same log
            self.process = subprocess.Popen(
                [sys.executable, *arguments],
                cwd=ROOT,
                env={**clean_environment(), **environment},
                stdout=file,
                stderr=file,
                stdin=subprocess.DEVNULL,
                start_new_session=True,
            )

    @property
    def pid(self) -> int:
        return self.process.pid

    def output(self) -> str:
        return self.log.read_bytes()[self._said_before :].decode(errors="replace")

    def signal(self, number: int) -> None:
        self.process.send_signal(number)

    def stop(self, seconds: float = 30) -> int:
        """TERM and wait; KILL when it doesn't end, which is a failure of the test."""
        if self.process.poll() is None:
            self.signal(signal.SIGTERM)
        try:
            return self.process.wait(seconds)
        except subprocess.TimeoutExpired:
            os.killpg(self.pid, signal.SIGKILL)
            self.process.wait()
            raise AssertionError(
                f"process {self.pid} didn't end within {seconds} s:\n{self.output()[-3000:]}"
            ) from None

    def kill_alone(self) -> None:
        """KILL this process and nothing that it started."""
        self.process.kill()
        self.process.wait()

    def kill(self) -> None:
        """As a power cut would: the whole group, at once."""
        if self.process.poll() is None:
            os.killpg(self.pid, signal.SIGKILL)
        self.process.wait()


class Stack:
    """One server on one instance folder, and its agents."""

    def __init__(self, folder: Path, database_url: str = "", **settings: object) -> None:
        self.folder = folder
        self.instance = folder / "instance"
        self.port = free_port()
        self.environment = {
            "GSW_INSTANCE_PATH": str(self.instance),
            "PORT": str(self.port),
            # Tests and measurements ask for more within a minute than people do.
            "GSW_REQUESTS_PER_MINUTE": "1000000",
            "GSW_STRANGER_REQUESTS_PER_MINUTE": "1000000",
            "GSW_REGISTRATIONS_PER_MINUTE": "10000",
            **({"DATABASE_URL": database_url} if database_url else {}),
            **{f"GSW_{name.upper()}": str(value) for name, value in settings.items()},
        }
        certificate = (
            self.instance / "tls" / "certificate.pem" if "tls" in settings else settings.get("tls_cert")
        )
        # What a program that asks has to trust.
        self.trust: str | bool = str(certificate) if certificate else True
        self.server: Process | None = None
        self.agents: list[Process] = []
        self.prepared = self._prepare()
        self.token = self.flask("create-token", "admin").splitlines()[-1]
        self.http = self.client()
        self.http.headers["Authorization"] = f"Bearer {self.token}"

    @property
    def url(self) -> str:
        return f"{'https' if self.is_tls else 'http'}://127.0.0.1:{self.port}"

    def client(self) -> requests.Session:
        """A program that trusts this server, whatever else the machine of the test trusts."""
        session = requests.Session()
        session.verify, session.trust_env = self.trust, False
        return session

    @property
    def is_tls(self) -> bool:
        return self.trust is not True

    @property
    def fingerprint(self) -> str:
        return str(self.prepared["fingerprint"])

    @property
    def password(self) -> str:
        return str(self.prepared["password"])

    def _prepare(self) -> dict[str, Any]:
        return dict(json.loads(self._run("-m", "webapp.prepare").splitlines()[-1]))

    def flask(self, *arguments: str) -> str:
        return self._run("-m", "flask", "--app", "wsgi", *arguments)

    def _run(self, *arguments: str) -> str:
        done = subprocess.run(
            [sys.executable, *arguments],
            cwd=ROOT,
            env={**clean_environment(), **self.environment},
            capture_output=True,
            text=True,
            check=False,
            timeout=START_SECONDS,
        )
        assert done.returncode == 0, done.stderr
        return done.stdout

    # ---- processes

    def start_server(self) -> Process:
        arguments = ["-m", "gunicorn", "-c", "gunicorn.conf.py", "wsgi:app"]
        self.server = Process(arguments, self.environment, self.folder / "server.log")
        eventually(self.is_ready, START_SECONDS, "the server to answer")
        return self.server

    def is_ready(self) -> bool:
        assert self.server is not None
        assert self.server.process.poll() is None, self.server.output()
        try:
            return requests.get(f"{self.url}/health/ready", timeout=10, verify=self.trust).ok
        except (requests.ConnectionError, requests.Timeout):
            return False

    def start_agent(
        self,
        name: str = "agent-1",
        join: bool = True,
        environment: Mapping[str, str] | None = None,
        **settings: object,
    ) -> Process:
        """An agent with its own storage. With `join` it has a join token and is approved at once."""
        storage = self.folder / name
        environment = {
            "AGENT_SERVER_URL": self.url,
            "AGENT_STORAGE_PATH": str(storage),
            "AGENT_NAME": name,
            "AGENT_SLOTS": "4",
            **({"AGENT_PIN": self.fingerprint} if self.is_tls else {}),
            **{f"AGENT_{key.upper()}": str(value) for key, value in settings.items()},
            **(environment or {}),
        }
        if join and not (storage / "identity.json").exists():
            environment["AGENT_JOIN_TOKEN"] = self.api("POST", "/join-tokens", json={"name": name}).json()[
                "token"
            ]
        agent = Process(["-m", "agent", "run"], environment, self.folder / f"{name}.log")
        self.agents.append(agent)
        if join:
            eventually(lambda: "connected" in agent.output(), what=f"{name} to be connected")
            eventually(
                lambda: self.worker(name).get("shown_status") in {"online", "busy"},
                what=f"{name} to be online",
            )
        return agent

    def stop(self) -> None:
        """End everything, and what tasks left running: they outlive their agent."""
        for process in [*self.agents, *([self.server] if self.server else [])]:
            process.kill()
        for attempt in self.folder.glob("*/jobs/*/"):
            end_leftovers(attempt.name)

    # ---- what a program asks

    def api(self, method: str, path: str, **kwargs: Any) -> requests.Response:
        return self.http.request(method, f"{self.url}/api/v1{path}", timeout=40, **kwargs)

    def worker(self, name: str) -> dict[str, Any]:
        items = self.api("GET", "/workers").json()["items"]
        return next((item for item in items if item["name"] == name), {})

    def submit(self, script: str = "true", tool: str = "shell", **wish: Any) -> str:
        value = {"script": script} if tool == "shell" else wish.pop("input", {})
        answer = self.api("POST", "/tasks", json={"tool": tool, "input": value, **wish})
        assert answer.status_code == 201, answer.text
        return str(answer.json()["id"])

    def task(self, task_id: str) -> dict[str, Any]:
        return dict(self.api("GET", f"/tasks/{task_id}").json())

    def ended(self, task_id: str, seconds: float = 60) -> dict[str, Any]:
        def look() -> dict[str, Any] | None:
            task = self.task(task_id)
            return task if task["ended_at"] else None

        return eventually(look, seconds, f"task {task_id} to end") or {}

    def running(self, task_id: str) -> dict[str, Any]:
        return eventually(
            lambda: (task := self.task(task_id))["status"] == "running" and task, what="the task to run"
        )

    def log(self, task_id: str) -> bytes:
        return self.api("GET", f"/tasks/{task_id}/log").content

    def logged(self, task_id: str, words: bytes) -> None:
        eventually(lambda: words in self.log(task_id), what=f"{words!r} in the log")


def end_leftovers(attempt_id: str) -> None:
    """Kill what an attempt left, until a look finds none: what forked between two looks is found in the next."""
    while left := orphans.leftovers(attempt_id):
        for pid in left:
            with suppress(OSError):
                os.kill(pid, signal.SIGKILL)
        time.sleep(0.01)


@contextmanager
def running_stack(folder: Path, database_url: str = "", **settings: object) -> Iterator[Stack]:
    stack = Stack(folder, database_url, **settings)
    try:
        stack.start_server()
        yield stack
    finally:
        stack.stop()
