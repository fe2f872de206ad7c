"""The agent's commands against a real server: joining, its doctor, and how it stands."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import requests

from tests.agent.doctor_world import Stripping
from tests.agent.test_install import NEEDS_SYSTEMD
from tests.contract.machines import Machine, other_user
from tests.stack import ROOT, Stack, clean_environment, eventually, running_stack

pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def stack(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Stack]:
    with running_stack(tmp_path_factory.mktemp("stack")) as started:
        yield started


def started(storage: Path, *words: str) -> subprocess.Popen[str]:
    return subprocess.Popen(
        [sys.executable, "-m", "agent", *words, "--storage", str(storage)],
        cwd=ROOT,
        env={**clean_environment(), "AGENT_NAME": storage.name},
        stdout=subprocess.PIPE,
        text=True,
    )


def said(storage: Path, *words: str) -> tuple[int, str]:
    with started(storage, *words) as agent:
        text, _ = agent.communicate(timeout=50)
        return agent.returncode, text


def doctor(storage: Path, url: str) -> dict[str, dict[str, Any]]:
    code, text = said(storage, "doctor", "--json", "--server", url)
    assert code == 0, text
    return {check["name"]: check for check in json.loads(text)["checks"]}


def test_a_machine_joins_waits_and_is_approved_by_a_person(stack: Stack, tmp_path: Path) -> None:
    storage = tmp_path / "waiting"
    with started(storage, "join", "--server", stack.url) as joining:
        worker = eventually(lambda: stack.worker("waiting") or None, what="the worker to be listed")
        assert joining.poll() is None
        assert "where the code is" in doctor(storage, stack.url)["key"]["fix"]
        assert stack.api("POST", f"/workers/{worker['id']}/approve").ok
        text, _ = joining.communicate(timeout=50)
    assert joining.returncode == 0
    assert worker["code"] in text
    assert said(storage, "status")[0] == 4, "joined, and no agent runs"


def test_the_doctor_of_a_stranger_and_of_a_worker(stack: Stack, tmp_path: Path) -> None:
    storage = tmp_path / "patient"
    found = doctor(storage, stack.url)
    assert "it is GarageSwarm" in found["server"]["text"]
    assert found["clock"]["state"] == found["WebSocket"]["state"] == "ok"
    token = stack.flask("create-join-token").splitlines()[-1]
    assert said(storage, "join", "--server", stack.url, "--join-token", token)[0] == 0
    found = doctor(storage, stack.url)
    assert found["key"]["text"].startswith("taken")
    assert found["WebSocket"]["text"] == "comes through, both ways"


def test_the_doctor_beside_an_agent_at_work_leaves_its_socket_alone(stack: Stack) -> None:
    agent = stack.start_agent("busy")
    storage = stack.folder / "busy"
    eventually(lambda: "the agent's own is open" in doctor(storage, stack.url)["WebSocket"]["text"] or None)
    eventually(lambda: said(storage, "status")[0] == 0 or None)
    assert "another agent uses this worker's key" not in agent.output()


def test_the_doctor_finds_the_proxy_that_breaks_websockets(stack: Stack, tmp_path: Path) -> None:
    stripping = Stripping(stack.port)
    with stripping:
        found = doctor(tmp_path / "behind", stripping.url)
    assert found["server"]["state"] == "ok"
    assert "takes the wish for one away" in found["WebSocket"]["text"]


@NEEDS_SYSTEMD
@pytest.mark.timeout(240)
def test_all_of_it_from_the_one_file_on_a_bare_machine(stack: Stack, tmp_path: Path) -> None:
    token = stack.flask("create-join-token").splitlines()[-1]
    with Machine(user=other_user()) as machine:
        machine.pyz.parent.mkdir(mode=0o700)
        machine.pyz.write_bytes(requests.get(f"{stack.url}/agent.pyz", timeout=60).content)
        for path in (machine.pyz.parent, machine.pyz):
            machine.give(path)
        agent = f"python3 {machine.pyz}"
        joined = machine.run(f"{agent} join --server {stack.url} --join-token {token} --name bare --slots 3")
        assert joined.returncode == 0, joined.stderr
        assert f"{agent} install --user" in joined.stdout
        looked = machine.run(f"{agent} doctor")
        assert looked.returncode == 0, looked.stdout
        assert "comes through, both ways" in looked.stdout
        assert machine.run(f"{agent} status").returncode == 4
        unit = machine.run(f"{agent} install --user --print").stdout
        assert f" {machine.pyz} run --storage {machine.pyz.parent}\n" in unit
        assert_systemd_takes(unit, machine.scratch)
        machine.paste(f"{agent} run")
        eventually(lambda: machine.run(f"{agent} status").returncode == 0 or None, what=machine.output)
        assert stack.worker("bare")["slots"] == 3
        assert machine.run(f"{agent} reset --yes").returncode == 3


def assert_systemd_takes(unit: str, folder: Path) -> None:
    path = folder / "garageswarm-agent.service"
    path.write_text(unit)
    environ = {**clean_environment(), "XDG_RUNTIME_DIR": str(folder)}
    verified = subprocess.run(
        ["systemd-analyze", "--user", "verify", path],
        env=environ,
        capture_output=True,
        text=True,
        check=False,
    )
    assert (verified.returncode, verified.stderr) == (0, "")
