"""`join`: a machine becomes a worker, once."""

from __future__ import annotations

import json
import signal
import subprocess
import sys
from pathlib import Path

from tests.agent.conftest import ROOT, StartAgent, wait_for
from tests.agent.fake_server import Answer, FakeServer, problem
from tests.agent.one_command import agent


def test_it_waits_for_approval_with_the_code_and_then_run_needs_no_server(
    server: FakeServer, storage: Path, start_agent: StartAgent
) -> None:
    server.is_pending = True
    words = ["-m", "agent", "join", "--server", server.url, "--storage", str(storage), "--label", "gpu=3060"]
    with subprocess.Popen([sys.executable, *words], cwd=ROOT, stdout=subprocess.PIPE, text=True) as joining:
        wait_for(lambda: server.paths("/cc-status"))
        assert joining.poll() is None
        server.approve()
        said, _ = joining.communicate(timeout=50)
    assert joining.returncode == 0
    assert "ABC-DEF" in said
    assert f"run --storage {storage}" in said
    assert server.registrations[0]["labels"] == {"gpu": "3060"}
    start_agent(AGENT_SERVER_URL="", AGENT_SLOTS="")
    wait_for(lambda: server.syncs)
    assert server.syncs[0]["labels"] == {"gpu": "3060"}
    assert len(server.registrations) == 1


def test_without_waiting_it_ends_with_the_identity_stored(server: FakeServer, storage: Path) -> None:
    server.is_pending = True
    ended = agent(storage, "join", "--no-wait", "--server", server.url, "--slots", "7")
    assert ended.returncode == 0
    assert not server.paths("/cc-status")
    kept = json.loads((storage / "identity.json").read_text())
    assert (kept["worker_id"], kept["server_url"], kept["slots"]) == ("w-1", server.url, "7")


def test_said_twice_it_is_the_same_worker_and_says_how_to_forget_it(
    server: FakeServer, storage: Path
) -> None:
    first = agent(storage, "join", "--server", server.url)
    again = agent(storage, "join", "--server", server.url)
    assert (first.returncode, again.returncode) == (0, 0)
    assert "has joined already" in again.stdout
    assert "reset" in again.stdout
    assert len(server.registrations) == 1


def test_said_twice_while_the_agent_runs_disturbs_nothing(
    server: FakeServer, storage: Path, start_agent: StartAgent
) -> None:
    start_agent()
    wait_for(lambda: server.syncs)
    assert agent(storage, "join", "--server", server.url).returncode == 0
    assert len(server.registrations) == 1


def test_another_server_is_refused_until_the_first_is_forgotten(server: FakeServer, storage: Path) -> None:
    agent(storage, "join", "--server", server.url)
    other = agent(storage, "join", "--server", "https://elsewhere.example")
    assert other.returncode == 2
    assert f"belongs to a worker of {server.url}" in other.stderr
    assert other.stderr.count("\n") == 1


def test_a_refused_join_token_is_one_line_and_nothing_is_kept(server: FakeServer, storage: Path) -> None:
    server.misbehave = lambda *_: problem(401, detail="The join token is not valid.")
    ended = agent(storage, "join", "--server", server.url, "--join-token", "gsj_x")
    assert ended.returncode == 1
    assert "The join token is not valid." in ended.stderr
    assert json.loads((storage / "identity.json").read_text())["worker_id"] == ""


def test_who_is_turned_down_while_waiting_is_told(server: FakeServer, storage: Path) -> None:
    server.misbehave = lambda method, path: (
        problem(403, "urn:garageswarm:error:worker-revoked", "This worker was revoked.")
        if path.endswith("/cc-status")
        else None
    )
    ended = agent(storage, "join", "--server", server.url)
    assert ended.returncode == 1
    assert "This worker was revoked." in ended.stderr


def test_a_server_that_is_away_meanwhile_is_waited_for(server: FakeServer, storage: Path) -> None:
    pages = [Answer(502, "<html>", "text/html")] * 2
    server.misbehave = lambda method, path: pages.pop() if pages and path.endswith("/cc-status") else None
    ended = agent(storage, "join", "--server", server.url)
    assert ended.returncode == 0
    assert ended.stdout.count("No answer from") == 1


def test_what_a_server_writes_moves_no_cursor(server: FakeServer, storage: Path) -> None:
    server.misbehave = lambda *_: problem(401, detail="No.\x1b[2J\x07")
    ended = agent(storage, "join", "--server", server.url)
    assert "No.?[2J?" in ended.stderr


def test_ctrl_c_only_ends_the_waiting(server: FakeServer, storage: Path) -> None:
    server.is_pending = True
    words = ["-m", "agent", "join", "--server", server.url, "--storage", str(storage)]
    with subprocess.Popen(
        [sys.executable, *words], cwd=ROOT, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True
    ) as joining:
        wait_for(lambda: server.paths("/cc-status"))
        joining.send_signal(signal.SIGINT)
        _, said = joining.communicate(timeout=50)
    assert joining.returncode == 130
    assert "Traceback" not in said
    assert (storage / "identity.json").exists()
