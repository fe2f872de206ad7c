"""`make run` as a stranger types it: one command, a page, a worker, a task, and everything still there after a restart."""

from __future__ import annotations

import hashlib
import os
import re
import signal
import socket
import ssl
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

import pytest
import requests

from tests.ports import free_port
from tests.stack import ROOT, clean_environment, end_leftovers, eventually

pytestmark = [pytest.mark.slow, pytest.mark.timeout(300)]

# make waits for the program, which ends with 0, and then ends itself by the signal that it got as well.
STOPPED = (0, -signal.SIGINT)


class Run:
    """One `make run`, with its output in a file."""

    def __init__(self, instance: Path, port: int, log: Path, **environment: str) -> None:
        self.instance, self.log, self.port = instance, log, port
        clean = clean_environment()
        settings = {"GSW_INSTANCE_PATH": str(instance), "PORT": str(port), **environment}
        with log.open("ab") as file:
            self.process = subprocess.Popen(
                ["make", "run"],
                cwd=ROOT,
                env={**clean, **settings},
                stdout=file,
                stderr=file,
                stdin=subprocess.DEVNULL,
                start_new_session=True,
            )

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}"

    def output(self) -> str:
        return self.log.read_text(errors="replace")

    def wait_until_up(self) -> None:
        eventually(lambda: "Ctrl-C stops it" in self.output() or self.process.poll() is not None, 120)
        assert self.process.poll() is None, self.output()

    def ctrl_c(self) -> None:
        os.killpg(self.process.pid, signal.SIGINT)

    def ended(self, seconds: float = 60) -> int:
        return self.process.wait(seconds)

    def stop(self) -> None:
        """Whatever the test has come to."""
        try:
            if self.process.poll() is None:
                self.ctrl_c()
                self.ctrl_c()
                self.ended()
        finally:
            with suppress(ProcessLookupError):
                os.killpg(self.process.pid, signal.SIGKILL)
            self.process.wait()

    def end_tasks(self) -> None:
        """What was left running, as a stopped agent leaves it."""
        for attempt in self.instance.glob("**/jobs/*/"):
            end_leftovers(attempt.name)


@contextmanager
def running(
    instance: Path, port: int, log: Path, *, is_last: bool = True, **environment: str
) -> Iterator[Run]:
    """Where it isn't the last one, the next finds what this one left running."""
    run = Run(instance, port, log, **environment)
    has_passed = False
    try:
        run.wait_until_up()
        yield run
        has_passed = True
    finally:
        run.stop()
        if is_last or not has_passed:
            run.end_tasks()


def token_for(instance: Path) -> str:
    done = subprocess.run(
        [".venv/bin/python", "-m", "flask", "--app", "wsgi", "create-token", "admin"],
        cwd=ROOT,
        env={**os.environ, "GSW_INSTANCE_PATH": str(instance)},
        capture_output=True,
        text=True,
        check=True,
    )
    return done.stdout.splitlines()[-1]


class Program:
    """A program on the API."""

    def __init__(self, url: str, token: str) -> None:
        self.url, self.session = f"{url}/api/v1", requests.Session()
        self.session.trust_env = False
        self.session.headers["Authorization"] = f"Bearer {token}"

    def workers(self) -> list[str]:
        """How each stands."""
        items = self.session.get(f"{self.url}/workers", timeout=40).json()["items"]
        return [item["shown_status"] for item in items]

    def task(self, task_id: str) -> dict[str, object]:
        return dict(self.session.get(f"{self.url}/tasks/{task_id}", timeout=40).json())

    def submit(self, script: str) -> str:
        body = {"tool": "shell", "input": {"script": script}}
        return str(self.session.post(f"{self.url}/tasks", json=body, timeout=40).json()["id"])

    def has_status(self, task_id: str, status: str, seconds: float = 60) -> None:
        eventually(lambda: self.task(task_id)["status"] == status, seconds, f"the task to be {status}")

    def log(self, task_id: str) -> str:
        return self.session.get(f"{self.url}/tasks/{task_id}/log", timeout=40).text


def sign_in(url: str, password: str) -> requests.Session:
    session = requests.Session()
    page = session.get(f"{url}/login", timeout=10).text
    token = re.search(r'name="csrf_token"[^>]*value="([^"]+)"', page)
    assert token
    form = {"csrf_token": token[1], "name": "admin", "password": password}
    answer = session.post(f"{url}/login", data=form, timeout=10)
    assert answer.ok
    return session


def test_one_command_gives_a_page_a_worker_and_a_result_that_survives_a_restart(tmp_path: Path) -> None:
    instance, port = tmp_path / "instance", free_port()
    with running(instance, port, tmp_path / "first.log", is_last=False) as run:
        password = re.search(r"shown only now: (\S+)", run.output())
        assert password
        assert f"GarageSwarm is at {run.url}" in run.output()
        assert "Dashboard" in sign_in(run.url, password[1]).get(run.url, timeout=10).text

        program = Program(run.url, token_for(instance))
        done = program.submit("echo kept")
        program.has_status(done, "completed")
        slow = program.submit("for i in $(seq 1 20); do echo $i; sleep 1; done")
        eventually(lambda: "1\n" in program.log(slow))
        run.ctrl_c()
        assert run.ended() in STOPPED
        assert "Stopping." in run.output()

    with running(instance, port, tmp_path / "second.log") as run:
        assert "shown only now" not in run.output()
        assert program.task(done)["summary"] == "kept"
        program.has_status(slow, "completed", 60)
        assert program.log(slow) == "".join(f"{number}\n" for number in range(1, 21))
        attempts = program.task(slow)["attempts"]
        assert isinstance(attempts, list)
        assert len(attempts) == 1
        run.ctrl_c()
        assert run.ended() in STOPPED


def test_a_second_ctrl_c_cancels_what_runs(tmp_path: Path) -> None:
    instance, port = tmp_path / "instance", free_port()
    with running(instance, port, tmp_path / "run.log") as run:
        program = Program(run.url, token_for(instance))
        task_id = program.submit(f"echo here; exec -a gsw-{port} sleep 600")
        eventually(lambda: "here" in program.log(task_id))
        run.ctrl_c()
        eventually(lambda: "Stopping." in run.output())
        run.ctrl_c()
        assert run.ended() in STOPPED
        found = subprocess.run(["pgrep", "-f", f"^gsw-{port}"], capture_output=True, check=False)
        assert found.returncode == 1


def test_turning_tls_on_keeps_the_local_worker(tmp_path: Path) -> None:
    instance, port = tmp_path / "instance", free_port()
    with running(instance, port, tmp_path / "plain.log"):
        program = Program(f"http://127.0.0.1:{port}", token_for(instance))
        eventually(lambda: program.workers() == ["online"])
    # A proxy of the person's isn't asked about the machine itself.
    with running(instance, port, tmp_path / "tls.log", TLS="self", HTTPS_PROXY="http://127.0.0.1:9") as run:
        assert f"GarageSwarm is at https://127.0.0.1:{port}" in run.output()
        pem = ssl.get_server_certificate(("127.0.0.1", port))
        found = hashlib.sha256(ssl.PEM_cert_to_DER_cert(pem)).hexdigest()
        assert f"agents pin it: sha256:{found}" in run.output()
        program.url = program.url.replace("http:", "https:")
        program.session.verify = str(instance / "tls" / "certificate.pem")
        eventually(lambda: program.workers() == ["online"])
        program.has_status(program.submit("true"), "completed")


def refused(tmp_path: Path, instance: Path, port: int, **environment: str) -> str:
    run = Run(instance, port, tmp_path / "refused.log", **environment)
    try:
        assert run.ended(120) != 0
    finally:
        run.stop()
        run.end_tasks()
    lines = [line for line in run.output().splitlines() if line.startswith("GarageSwarm can't start")]
    assert len(lines) == 1, run.output()
    assert "Traceback" not in run.output()
    return lines[0]


def test_a_port_in_use_is_one_clear_line(tmp_path: Path) -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        port = taken.getsockname()[1]
        assert f"127.0.0.1:{port} can't be used" in refused(tmp_path, tmp_path / "instance", port)


def test_a_second_server_on_the_same_folder_is_one_clear_line(tmp_path: Path) -> None:
    instance = tmp_path / "instance"
    with running(instance, free_port(), tmp_path / "run.log"):
        line = refused(tmp_path, instance, free_port())
    assert "Another server" in line
    assert str(instance) in line


def test_an_instance_folder_that_cannot_be_made_is_one_clear_line(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    assert "GSW_INSTANCE_PATH" in refused(tmp_path, tmp_path / "file" / "instance", free_port())


@pytest.mark.parametrize(
    ("name", "value", "said"),
    [
        ("GSW_LEASE_S", "soon", "GSW_LEASE_S='soon'"),
        ("GSW_LEASE_S", "30", "at least four times"),
        ("GSW_LEESE_S", "120", "Did you mean GSW_LEASE_S?"),
        ("DATABASE_URL", "mysql://localhost/x", "sqlite:///"),
        ("PORT", "99999", "PORT='99999'"),
        ("TLS", "yes", "TLS='yes'"),
        ("TLS_CERT", "/nowhere.pem", "TLS_CERT needs TLS_KEY"),
    ],
)
def test_a_setting_that_makes_no_sense_is_one_clear_line(
    tmp_path: Path, name: str, value: str, said: str
) -> None:
    environment = {name: value}
    port = free_port()
    assert said in refused(tmp_path, tmp_path / "instance", port, **environment)
