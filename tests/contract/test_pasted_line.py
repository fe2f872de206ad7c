"""The line of the page “Add a worker”, pasted on a machine that has a Python and nothing else."""

from __future__ import annotations

import hashlib
import re
import shlex
from collections.abc import Iterator
from html import unescape
from pathlib import Path

import psutil
import pytest

from tests.browser.people import Session
from tests.contract.machines import OLDEST, Machine, other_user, pythons
from tests.stack import Stack, eventually, running_stack
from webapp.config import REPOSITORY
from webapp.workers import archive
from webapp.workers.rules import PROTOCOL

pytestmark = [pytest.mark.slow, pytest.mark.timeout(300)]

FORM = {"name": "attic", "labels": "site=attic", "slots": "3", "life": "once", "approve": "yes"}


@pytest.fixture(scope="module")
def stack(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Stack]:
    with running_stack(tmp_path_factory.mktemp("stack")) as started:
        yield started


@pytest.fixture(scope="module")
def pyz(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("pyz") / "agent.pyz"
    path.write_bytes(archive.pack(REPOSITORY))
    return path


@pytest.fixture
def machine() -> Iterator[Machine]:
    with Machine(user=other_user()) as made:
        yield made


def pasted(stack: Stack, **changes: str) -> str:
    """The line as it stands in the page. The agent's name and place are the test's own."""
    page = Session(stack, "admin", stack.password).post(
        "/workers/add", page="/workers/add", **{**FORM, **changes}
    )
    found = re.search(r'<code id="line"[^>]*>(.*?)</code>', page.text)
    assert found, page.text
    return unescape(found[1])


def comes_online(stack: Stack, machine: Machine, name: str) -> dict[str, object]:
    return eventually(
        lambda: (worker := stack.worker(name)).get("shown_status") == "online" and worker,
        what=f"{name} to be online: {machine.output}",
    )


def test_one_line_makes_a_worker_of_a_bare_machine(stack: Stack, machine: Machine) -> None:
    line = pasted(stack) + " --name bare"
    shell = machine.paste(line)
    worker = comes_online(stack, machine, "bare")
    assert (worker["labels"], worker["slots"]) == ({"site": "attic"}, 3)
    task = stack.ended(stack.submit("id -un; printf %s $HOME", worker_id=worker["id"]))
    said = stack.log(task["id"]).decode().splitlines()
    assert said[1] == str(machine.home)
    if machine.user:
        assert said[0] == machine.user
    released = stack.api("GET", "/agents/release").json()
    assert hashlib.sha256(machine.pyz.read_bytes()).hexdigest() == released["sha256"]
    token = line.partition(" ")[0].partition("=")[2]
    agent = machine.agent(shell)
    assert token.startswith("gsj_")
    assert not any(token in argument for argument in agent.cmdline())
    agent.terminate()
    assert shell.wait(60) == 0, machine.output
    assert list(machine.scratch.iterdir()) == [], "nothing is left in /tmp"
    assert "Traceback" not in machine.output


@pytest.mark.parametrize("shell", ["sh", "bash", "dash"])
def test_another_checksum_stops_it_with_one_sentence_and_leaves_nothing(
    stack: Stack, machine: Machine, shell: str
) -> None:
    line = pasted(stack)
    checksum = shlex.split(line)[4]
    done = machine.run(line.replace(checksum, "0" * 64), shell)
    assert done.returncode == 1
    assert done.stderr.startswith("No agent was started: the file is not the one that this line names")
    assert len(done.stderr.splitlines()) == 1
    assert not machine.pyz.parent.exists()


def test_a_server_that_cant_be_reached_is_said_in_one_sentence(stack: Stack, machine: Machine) -> None:
    done = machine.run(pasted(stack).replace(f":{stack.port}", ":1"))
    assert done.returncode == 1
    assert re.fullmatch(r"No agent was started: .*Connection refused.*\n", done.stderr)


def test_under_tls_the_line_pins_the_certificate_and_trusts_no_other(
    tmp_path: Path, machine: Machine
) -> None:
    with running_stack(tmp_path, tls="self") as stack:
        line = pasted(stack) + " --name pinned"
        assert shlex.split(line)[-4:-2] == ["--pin", stack.fingerprint]
        wrong = machine.paste(line.replace(stack.fingerprint, "sha256:" + "0" * 64))
        eventually(lambda: "is pinned: somebody is in between" in machine.output, what="a refusal")
        assert stack.worker("pinned") == {}
        machine.agent(wrong).kill()
        wrong.wait(60)
        machine.paste(line)
        comes_online(stack, machine, "pinned")
        task = stack.ended(stack.submit("echo over TLS", worker_id=stack.worker("pinned")["id"]))
        assert stack.log(task["id"]) == b"over TLS\n"


@pytest.mark.parametrize("python", pythons().items(), ids=lambda found: ".".join(map(str, found[0])))
def test_every_python_starts_it_or_says_that_it_is_too_old(
    stack: Stack, pyz: Path, python: tuple[tuple[int, ...], str]
) -> None:
    found, path = python
    with Machine(path) as machine:
        started = machine.run(f"python3 -I -S {pyz} --version")
        line = pasted(stack).replace(" -c ", " -I -S -c ")
        if found >= OLDEST:
            assert started.returncode == 0, started.stderr
            machine.paste(f"{line} --name with-{found[1]}")
            comes_online(stack, machine, f"with-{found[1]}")
            return
        older = ".".join(map(str, found))
        assert f"needs Python 3.10 or newer; this is {older}" in started.stderr
        assert f"needs Python 3.10 or newer; this is {older}" in machine.run(line).stderr
        assert not machine.pyz.exists()


# ---- update


def other(folder: Path, protocol: int) -> bytes:
    """The agent of this checkout as it might have been, or come to be: of another version, speaking another protocol."""
    for path in (REPOSITORY / "agent").rglob("*.py"):
        copy = folder / path.relative_to(REPOSITORY)
        copy.parent.mkdir(parents=True, exist_ok=True)
        copy.write_bytes(path.read_bytes())
    said = folder / "agent" / "__init__.py"
    text = re.sub(r'__version__ = "[^"]+"', '__version__ = "0.0.1"', said.read_text())
    said.write_text(re.sub(r"PROTOCOL = \d+", f"PROTOCOL = {protocol}", text))
    return archive.pack(folder)


def version_of(stack: Stack, name: str) -> str:
    return str(stack.worker(name)["agent_version"])


def starts_with(stack: Stack, machine: Machine, content: bytes, name: str) -> psutil.Process:
    """An agent whose agent.pyz is this one."""
    machine.pyz.parent.mkdir(mode=0o755)
    machine.pyz.write_bytes(content)
    for path in (machine.pyz.parent, machine.pyz):
        machine.give(path)
    token = stack.flask("create-join-token").splitlines()[-1]
    start = f"exec python3 {machine.pyz} run --server {stack.url} --name {name}"
    shell = machine.paste(f"AGENT_JOIN_TOKEN={token} {start}")
    comes_online(stack, machine, name)
    return machine.agent(shell)


def test_an_update_waits_for_the_task_that_runs_and_keeps_who_the_worker_is(
    stack: Stack, machine: Machine, tmp_path: Path
) -> None:
    process = starts_with(stack, machine, other(tmp_path, PROTOCOL - 1), "updated")
    worker_id = stack.worker("updated")["id"]
    assert version_of(stack, "updated") == "0.0.1"
    eventually(
        lambda: f"the server says: this agent speaks protocol {PROTOCOL - 1}" in machine.output,
        what="a notice",
    )
    go = machine.scratch / "go"
    task_id = stack.submit(
        f"echo begun; while [ ! -e {go} ]; do sleep 0.1; done; echo ended", worker_id=worker_id
    )
    stack.logged(task_id, b"begun\n")

    done = machine.run(f"python3 {machine.pyz} update")
    assert done.returncode == 0, done.stderr
    assert "takes it up by itself" in done.stdout
    eventually(lambda: "makes way for it as soon as no task runs" in machine.output, what="it to be noticed")
    assert (stack.task(task_id)["status"], version_of(stack, "updated")) == ("running", "0.0.1")

    go.touch()
    task = stack.ended(task_id)
    assert (task["status"], len(task["attempts"])) == ("completed", 1)
    assert stack.log(task_id) == b"begun\nended\n"
    now = stack.api("GET", "/agents/release").json()["version"]
    eventually(lambda: version_of(stack, "updated") == now, 60, "the new agent to introduce itself")
    assert process.is_running(), "the same process"
    assert stack.worker("updated")["id"] == worker_id
    assert stack.ended(stack.submit("echo after", worker_id=worker_id))["status"] == "completed"

    assert machine.output.count("the server says") == 1, "not to the new one"

    assert machine.run(f"python3 {machine.pyz} update --back").returncode == 0
    eventually(lambda: version_of(stack, "updated") == "0.0.1", 60, "the former agent to be back")
    assert "Traceback" not in machine.output


def test_an_agent_that_is_too_new_for_its_server_is_told_what_to_do(
    stack: Stack, machine: Machine, tmp_path: Path
) -> None:
    path = machine.folder / "newer.pyz"
    path.write_bytes(other(tmp_path, PROTOCOL + 2))
    token = stack.flask("create-join-token").splitlines()[-1]
    done = machine.run(f"AGENT_JOIN_TOKEN={token} python3 {path} run --server {stack.url} --name far")
    assert done.returncode == 1
    assert "Update the server, or take the agent that the server gives away" in done.stderr
    assert len(done.stderr.splitlines()) == 1
    assert stack.worker("far") == {}
