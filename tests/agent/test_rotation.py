"""The agent exchanges its key: it stores the fresh one before it uses it, and is locked out by no accident."""

from __future__ import annotations

import errno
import json
import os
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from agent import identity, machine, rotation
from agent.config import Config
from agent.identity import Identity
from agent.server import Server
from tests.agent.conftest import ROOT, UNTIL_GO, OpenSession, StartAgent, finished, wait_for
from tests.agent.fake_control import FakeControl
from tests.agent.fake_server import Answer, FakeServer, problem

FRESH = "gsw_fresh1"


class Killed(BaseException):
    """The agent ends here."""


def stored(storage: Path) -> dict[str, Any]:
    return dict(json.loads((storage / "identity.json").read_text()))


def joined(config: Config) -> Identity:
    config.jobs.mkdir(parents=True, exist_ok=True)
    me = Identity(config.server_url, "nonce", "seed", "w-1", "gsw_key", "ABC-DEF", "attic")
    identity.save(config.storage, me)
    return me


def command(storage: Path) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", "agent", "rotate-key", "--storage", str(storage)],
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=False,
        timeout=30,
    )


def test_told_by_a_sync_it_works_on_with_a_key_that_was_stored_before_its_first_use(
    server: FakeServer, storage: Path, start_agent: StartAgent
) -> None:
    at_first_use: list[str] = []
    agent = start_agent()
    wait_for(lambda: server.syncs)
    server.when_used = lambda key: at_first_use.append(stored(storage)["api_key"])
    server.ask_for_rotation()
    wait_for(lambda: FRESH in server.used_keys)
    assert at_first_use == [FRESH]
    assert stored(storage)["former_key"] == "gsw_key"
    server.end_key("gsw_key")
    attempt = server.submit("shell", {"script": "echo hi"})
    assert finished(attempt).report["status"] == "completed"
    assert server.made == 1
    assert "from now on with a fresh key, gsw_fresh1…" in agent.said
    agent.kill()
    start_agent()
    wait_for(lambda: len({sync["session_id"] for sync in server.syncs}) == 2)


def test_told_by_the_control_socket_it_connects_again_with_the_fresh_key(
    server: FakeServer, start_agent: StartAgent
) -> None:
    server.control = FakeControl()
    start_agent()
    line = server.control.line()
    line.hear("heartbeat")
    line.say("rotate_key")
    again = server.control.line(1)
    assert again.headers["x-worker-api-key"] == FRESH
    again.hear("heartbeat")


def test_an_answer_that_gets_lost_is_asked_for_again(server: FakeServer, start_agent: StartAgent) -> None:
    server.lost_rotations = 2
    start_agent()
    server.ask_for_rotation()
    wait_for(lambda: "gsw_fresh3" in server.used_keys)


@pytest.mark.parametrize("moment", ["before it reads the answer", "before it stores", "before it uses"])
def test_killed_at_any_moment_it_is_not_locked_out(
    server: FakeServer,
    config: Config,
    storage: Path,
    start_agent: StartAgent,
    monkeypatch: pytest.MonkeyPatch,
    moment: str,
) -> None:
    me = joined(config)
    where = {
        "before it reads the answer": "agent.identity.rotated",
        "before it stores": "agent.identity.save",
        "before it uses": "agent.server.Server.use",
    }[moment]

    def die(*_: object) -> None:
        raise Killed

    monkeypatch.setattr(where, die)
    with pytest.raises(Killed):
        rotation.exchanged(storage, me, Server(server.url, me.worker_id, me.api_key))
    server.wants_rotation = True  # it stands until the fresh key is used
    start_agent()
    wait_for(lambda: any(key.startswith("gsw_fresh") for key in server.used_keys))
    server.end_key("gsw_key")
    assert finished(server.submit("noop", {})).report["status"] == "completed"


def test_where_it_cant_be_stored_the_one_before_goes_on_and_it_is_tried_again(
    server: FakeServer, config: Config, storage: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    me = joined(config)
    uses: list[str] = []
    wishes = rotation.Rotation(storage, me, Server(server.url, "w-1", me.api_key), lambda: None)
    wishes.when_used = lambda: uses.append("used")

    def full(*_: object) -> None:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    wishes.ask()
    with monkeypatch.context() as patch:
        patch.setattr("agent.durable.write_json", full)
        assert wishes.step() == rotation.NO_ROOM_S
    assert (stored(storage)["api_key"], uses) == ("gsw_key", [])
    assert wishes.step() == 0
    assert (stored(storage)["api_key"], uses) == ("gsw_fresh2", ["used"])


def test_a_key_that_is_on_the_disk_is_used_although_the_disk_complained(
    server: FakeServer, config: Config, storage: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Asking again would end it at the server, and the next agent would find it."""
    me = joined(config)

    def broken(*_: object) -> None:
        raise OSError(errno.EIO, os.strerror(errno.EIO))

    with monkeypatch.context() as patch:
        patch.setattr("agent.durable.sync_directory", broken)
        mine = Server(server.url, "w-1", me.api_key)
        rotation.exchanged(storage, me, mine)
    assert stored(storage)["api_key"] == mine.secret == FRESH


@pytest.mark.parametrize(
    "answer",
    [
        problem(409, "urn:garageswarm:error:conflict", "A newer key is in use."),
        problem(404),
        Answer(200, {}),
        Answer(200, {"api_key": 5}),
        Answer(200, {"api_key": "gsw_key"}),
    ],
)
def test_a_server_that_gives_none_changes_nothing(
    server: FakeServer, config: Config, storage: Path, answer: Answer
) -> None:
    me = joined(config)
    server.misbehave = lambda method, path: answer if path.endswith("/rotate-key") else None
    wishes = rotation.Rotation(storage, me, Server(server.url, "w-1", me.api_key), lambda: None)
    wishes.ask()
    assert wishes.step() == 0
    assert stored(storage)["api_key"] == "gsw_key"


def test_neither_key_leaves_in_a_log_also_where_the_task_began_before_the_exchange(
    server: FakeServer, storage: Path, open_session: OpenSession
) -> None:
    session = open_session()
    script = UNTIL_GO + "echo gsw_key gsw_fresh1 ${SECRET}"
    attempt = server.submit("shell", {"script": script, "env": {"SECRET": "correct horse"}})
    plain = server.submit("shell", {"script": UNTIL_GO + "echo gsw_key gsw_fresh1"})
    wait_for(lambda: attempt.is_held and plain.is_held)
    session.rotate_key()
    wait_for(lambda: FRESH in server.used_keys)
    (storage / "go").touch()
    assert bytes(finished(attempt).log) == b"*** *** ***\n"
    assert bytes(finished(plain).log) == b"*** ***\n"


def test_the_former_key_stays_masked_after_a_restart(
    server: FakeServer, config: Config, storage: Path, start_agent: StartAgent
) -> None:
    joined(config)
    assert command(storage).returncode == 0
    start_agent()
    attempt = server.submit("shell", {"script": "cat ../../../identity.json"})
    log = bytes(finished(attempt).log)
    assert b'"api_key": "***"' in log
    assert b'"former_key": "***"' in log


def test_a_copy_of_the_folder_is_told_from_it_and_a_restart_is_not(tmp_path: Path) -> None:
    """By this the server knows what it may offer again."""
    first, copy = tmp_path / "first", tmp_path / "copy"
    first.mkdir()
    shutil.copytree(first, copy)
    assert machine.boot_of(first) == machine.boot_of(first)
    assert machine.boot_of(first) != machine.boot_of(copy)
    assert 0 < len(machine.boot_of(first)) <= 64


# ---- the command


def test_without_an_agent_the_command_exchanges_the_key_itself(
    server: FakeServer, config: Config, storage: Path
) -> None:
    joined(config)
    done = command(storage)
    assert (done.returncode, done.stderr) == (0, "")
    assert "gsw_fresh1…" in done.stdout
    assert stored(storage)["api_key"] == FRESH


def test_beside_an_agent_the_command_has_that_one_do_it(
    server: FakeServer, storage: Path, start_agent: StartAgent, monkeypatch: pytest.MonkeyPatch
) -> None:
    agent = start_agent()
    wait_for(lambda: server.syncs)
    done = command(storage)
    assert done.returncode == 0
    assert "The agent that runs" in done.stdout
    wait_for(lambda: "from now on with a fresh key" in agent.said)
    wait_for(lambda: not (storage / rotation.WISH).exists())
    assert stored(storage)["api_key"] == FRESH


@pytest.mark.skipif(os.geteuid() != 0, reason="only root may look into another's storage")
def test_root_leaves_no_key_that_the_accounts_agent_could_not_read(
    server: FakeServer, config: Config, storage: Path
) -> None:
    joined(config)
    os.chown(storage / "identity.json", 65_534, 65_534)
    done = command(storage)
    assert (done.returncode, stored(storage)["api_key"]) == (2, "gsw_key")
    assert "ask as that account" in done.stderr


def test_the_command_says_what_is_wrong(
    server: FakeServer, config: Config, storage: Path, tmp_path: Path
) -> None:
    nobody = command(tmp_path / "nobody")
    assert (nobody.returncode, "join first" in nobody.stderr) == (2, True)
    joined(config)
    server.keys.clear()
    refused = command(storage)
    assert (refused.returncode, "gives no fresh key" in refused.stderr) == (1, True)
    assert stored(storage)["api_key"] == "gsw_key"
