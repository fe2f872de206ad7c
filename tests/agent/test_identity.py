from __future__ import annotations

import errno
import json
import os
import stat
from dataclasses import replace
from pathlib import Path

import pytest

from agent import identity
from agent.config import Config
from agent.enrol import enrol
from agent.errors import BadConfig
from agent.server import Refused
from tests.agent.conftest import StartAgent, wait_for
from tests.agent.fake_server import Answer, FakeServer, problem


def stored(storage: Path) -> dict[str, str]:
    content: dict[str, str] = json.loads((storage / "identity.json").read_text())
    return content


def prepared(config: Config) -> identity.Identity:
    config.storage.mkdir()
    return identity.prepare(config.storage, config.server_url)


def test_the_identity_is_kept_for_its_owner_only_and_used_again(
    server: FakeServer, storage: Path, start_agent: StartAgent
) -> None:
    first = start_agent()
    wait_for(lambda: server.syncs)
    assert stat.S_IMODE((storage / "identity.json").stat().st_mode) == 0o600
    first.kill()
    start_agent()
    wait_for(lambda: len({sync["session_id"] for sync in server.syncs}) == 2)
    assert len(server.registrations) == 1
    assert stored(storage)["api_key"] == "gsw_key"


def test_a_repeated_register_says_the_same_nonce(
    server: FakeServer, storage: Path, start_agent: StartAgent
) -> None:
    lost: list[str] = []

    def lose_each_answer(method: str, path: str) -> Answer | None:
        if not path.endswith("/register"):
            return None
        lost.append(path)
        return Answer(502, "<html>Bad Gateway</html>", "text/html")

    server.misbehave = lose_each_answer
    first = start_agent()
    wait_for(lambda: lost)
    nonce = stored(storage)["nonce"]
    first.kill()
    server.misbehave = lambda *_: None
    start_agent()
    wait_for(lambda: server.syncs)
    # One that was on its way when the agent was killed may have come through as well.
    assert {body["nonce"] for body in server.registrations} == {nonce}


def test_registration_says_what_the_machine_is_and_never_its_raw_id(
    server: FakeServer, config: Config
) -> None:
    enrol(replace(config, join_token="gsj_x", labels={"site": "lab"}), prepared(config))
    (body,) = server.registrations
    assert body["join_token"] == "gsj_x"
    assert body["labels"] == {"site": "lab"}
    assert {tool["name"] for tool in body["tools"]} >= {"shell", "noop"}
    raw = Path("/etc/machine-id")
    assert not raw.exists() or raw.read_text().strip() not in json.dumps(body)


def test_registration_waits_out_a_proxys_pages(server: FakeServer, config: Config) -> None:
    pages = [Answer(200, "<html>Welcome</html>", "text/html"), Answer(503, {}, headers={"Retry-After": "2"})]
    server.misbehave = lambda *_: pages.pop(0) if pages else None
    waits: list[float] = []
    assert enrol(config, prepared(config), waits.append).worker_id == "w-1"
    assert waits[0] <= 0.5
    assert 2 <= waits[1] <= 3


def test_a_refused_registration_ends_with_one_line_and_exit_code_1(
    server: FakeServer, start_agent: StartAgent
) -> None:
    server.misbehave = lambda *_: problem(401, detail="The join token is not valid.")
    agent = start_agent()
    assert agent.wait() == 1
    assert "The join token is not valid." in agent.said


def test_storage_of_another_servers_worker_is_refused(server: FakeServer, config: Config) -> None:
    enrol(config, prepared(config))
    with pytest.raises(BadConfig, match="another --storage"):
        identity.prepare(config.storage, "https://elsewhere.example")


def test_an_identity_without_a_worker_may_change_its_server(config: Config) -> None:
    before = prepared(config)
    after = identity.prepare(config.storage, "https://elsewhere.example")
    assert after.nonce == before.nonce
    assert after.server_url == "https://elsewhere.example"


def test_nothing_is_written_where_nothing_is_new(config: Config, monkeypatch: pytest.MonkeyPatch) -> None:
    before = prepared(config)

    def full(*_: object) -> None:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    monkeypatch.setattr("agent.durable.write_json", full)
    assert identity.prepare(config.storage, config.server_url) == before


def test_a_damaged_identity_is_set_aside(config: Config) -> None:
    config.storage.mkdir()
    (config.storage / "identity.json").write_text('{"nonce": ')
    assert not identity.prepare(config.storage, config.server_url).is_registered
    assert (config.storage / "identity.json.bad").exists()


def test_one_that_cannot_be_read_now_makes_no_new_worker(config: Config) -> None:
    prepared(config)
    unreadable = config.storage / "identity.json"
    unreadable.unlink()
    unreadable.mkdir()
    with pytest.raises(OSError, match="identity"):
        identity.prepare(config.storage, config.server_url)
    assert unreadable.is_dir()


def test_a_refusal_carries_the_servers_words(server: FakeServer, config: Config) -> None:
    server.misbehave = lambda *_: problem(
        403, "urn:garageswarm:error:too-many-pending", "Approve some first."
    )
    with pytest.raises(Refused, match="Approve some first"):
        enrol(config, prepared(config))
