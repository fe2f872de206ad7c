"""Agents of another version: one protocol older is served and told so, what is too far away is refused with what to do."""

from __future__ import annotations

from typing import Any

import pytest

from agent import PROTOCOL as AGENTS_OWN
from agent import __version__
from tests.webapp.pages.forms import text_of
from tests.world import TOOLS, World, problem
from webapp.workers import rules


def register(world: World, **said: Any) -> Any:
    body = {
        "name": "lab-01",
        "machine_id": "0123456789abcdef",
        "nonce": "fedcba9876543210",
        "tools": TOOLS,
        **said,
    }
    return world.app.test_client().post("/api/v1/workers/register", json=body)


def test_agent_and_server_of_one_checkout_speak_the_same() -> None:
    assert AGENTS_OWN == rules.PROTOCOL


def test_an_agent_from_before_protocols_were_counted_is_served_and_told(world: World) -> None:
    worker = world.worker(protocol=1)
    answer = worker.sync(tools=TOOLS)
    assert answer.status_code == 200
    assert f"protocol 1, the server {rules.PROTOCOL}" in answer.json["notice"]
    assert "notice" not in worker.sync().json, "it is said to who introduces itself, not at every poll"
    world.queued_task()
    assert worker.take()


def test_an_agent_that_speaks_the_servers_own_protocol_is_told_nothing(world: World) -> None:
    worker = world.worker()
    assert "notice" not in worker.sync(tools=TOOLS, protocol=rules.PROTOCOL).json
    assert world.rows("workers")[0]["protocol"] == rules.PROTOCOL


def test_who_looks_after_the_machines_sees_which_agents_can_be_updated(world: World) -> None:
    behind = world.worker("behind", protocol=rules.PROTOCOL - 1, agent_version="0.0.1")
    older, same = world.worker("older", agent_version="0.0.9"), world.worker("same")
    viewer = world.browser("viewer")
    pages = {worker.id: text_of(viewer.get(f"/workers/{worker.id}")) for worker in (behind, older, same)}
    assert "Its agent can be updated." in pages[behind.id]
    assert "Its agent can be updated." not in pages[older.id] + pages[same.id]
    assert f"agent 0.0.9, {__version__} can be had" in pages[older.id]
    assert "can be had" not in pages[same.id]
    assert text_of(viewer.get("/workers")).count("Its agent can be updated") == 1


def test_the_server_may_be_one_behind(world: World) -> None:
    worker = world.worker(protocol=rules.PROTOCOL + 1)
    answer = worker.sync(tools=TOOLS, protocol=rules.PROTOCOL + 1)
    assert answer.status_code == 200
    assert "notice" not in answer.json


def test_a_server_two_versions_newer_refuses_and_says_what_to_do(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    worker = world.worker()
    monkeypatch.setattr(rules, "PROTOCOL", rules.PROTOCOL + 2)
    with world.unchanged():
        refused = problem(register(world, protocol=rules.PROTOCOL - 2), 403, "protocol-refused")
    assert "Update the agent" in refused["detail"]
    refused = problem(worker.sync(tools=TOOLS, protocol=rules.PROTOCOL - 2), 403, "protocol-refused")
    assert f"needs {rules.PROTOCOL - 1} or newer" in refused["detail"]


def test_an_agent_two_versions_newer_is_refused_without_using_up_its_join_token(world: World) -> None:
    token = world.join_token(uses=1)
    with world.unchanged():
        answer = register(world, protocol=rules.PROTOCOL + 2, join_token=token)
        assert "Update the server" in problem(answer, 403, "protocol-refused")["detail"]
    assert register(world, protocol=rules.PROTOCOL, join_token=token).status_code == 201


@pytest.mark.parametrize("protocol", [0, -1, "2", 1.5, None, True, 10**12])
def test_a_protocol_that_is_no_number_is_refused(world: World, protocol: Any) -> None:
    with world.unchanged():
        body = problem(register(world, protocol=protocol), 422, "invalid")
    assert body["errors"][0]["field"] == "protocol"


@pytest.mark.parametrize(
    ("version", "than", "is_older"),
    [
        ("0.9.1", "0.10.0", True),
        ("0.1", "0.1.1", True),
        ("0.10.0", "0.9.9", False),
        ("0.1.0", "0.1.0", False),
        ("", "0.1.0", False),
        ("nightly", "0.1.0", False),
        ("0.1.0-rc1", "0.1.0", False),
        ("1" * 400, "0.1.0", False),
    ],
)
def test_versions_are_compared_by_their_numbers(version: str, than: str, is_older: bool) -> None:
    assert rules.is_older(version, than) is is_older
