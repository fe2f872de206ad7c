"""What the agent found of its tools reaches the server: at registration, in each session, and whenever it changes."""

from __future__ import annotations

from typing import Any

import pytest

from agent.tools import Finding
from agent.tools.shell import Shell
from tests.agent.conftest import OpenSession, StartAgent, finished, wait_for
from tests.agent.fake_server import Answer, FakeServer


def shell_of(body: dict[str, Any]) -> dict[str, Any]:
    [shell] = [tool for tool in body["tools"] if tool["name"] == "shell"]
    return dict(shell)


def declared(server: FakeServer) -> list[dict[str, Any]]:
    """What was said of the shell, in order."""
    return [shell_of(body)["found"] for body in list(server.syncs) if "tools" in body]


def test_registration_and_the_first_sync_say_what_was_found(
    server: FakeServer, start_agent: StartAgent
) -> None:
    start_agent()
    wait_for(lambda: server.syncs)
    for body in (server.registrations[0], server.syncs[0]):
        shell = shell_of(body)
        assert shell["found"]["works"] is True
        assert "bash" in shell["found"]["version"]
        assert (shell["found"]["signed_in"], shell["found"]["problem"]) == (None, "")
        assert shell["slot_class"] == "task"


def test_what_changed_is_declared_anew_and_what_did_not_is_not(
    server: FakeServer, open_session: OpenSession, monkeypatch: pytest.MonkeyPatch
) -> None:
    session = open_session()
    wait_for(lambda: server.syncs)
    session.make_round()
    finished(server.submit("noop", {}))
    assert len(declared(server)) == 1
    monkeypatch.setattr(Shell, "probe", lambda *_: Finding(works=False, problem="it is gone"))
    session.make_round()
    wait_for(lambda: len(declared(server)) >= 2)
    gone = {"works": False, "version": "", "signed_in": None, "problem": "it is gone"}
    finished(server.submit("noop", {}))
    # Twice where two calls were on their way; by now both have arrived.
    before = declared(server)
    assert [found for found in before[1:] if found != gone] == []
    session.make_round()
    finished(server.submit("noop", {}))
    assert declared(server) == before


def test_a_change_while_the_last_one_is_being_declared_is_not_lost(
    server: FakeServer, open_session: OpenSession, monkeypatch: pytest.MonkeyPatch
) -> None:
    session = open_session()
    wait_for(lambda: server.syncs)
    versions = iter(["2", "3"])
    monkeypatch.setattr(Shell, "probe", lambda *_: Finding(version=next(versions)))
    real = server._sync

    def change_meanwhile(body: dict[str, Any]) -> Answer:
        if "tools" in body and shell_of(body)["found"]["version"] == "2":
            server._sync = real  # type: ignore[method-assign]
            session.make_round()
        return real(body)

    server._sync = change_meanwhile  # type: ignore[method-assign]
    session.make_round()
    wait_for(lambda: [found["version"] for found in declared(server)][-1] == "3")


def test_a_change_is_declared_until_a_sync_succeeded(
    server: FakeServer, open_session: OpenSession, monkeypatch: pytest.MonkeyPatch
) -> None:
    session = open_session()
    wait_for(lambda: server.syncs and "tools" not in server.syncs[-1])
    answers = [Answer(503, {}), Answer(502, "<html>", "text/html")]
    server.misbehave = lambda *_: answers.pop() if answers else None
    monkeypatch.setattr(Shell, "probe", lambda *_: Finding(version="2"))
    session.make_round()
    wait_for(lambda: declared(server)[-1]["version"] == "2")
    assert answers == []


def test_a_tool_that_doesnt_work_is_looked_at_again_soon(
    server: FakeServer, open_session: OpenSession, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("agent.session.SOON_S", 0.05)
    looks = iter([Finding(works=False, problem="too busy")])
    monkeypatch.setattr(Shell, "probe", lambda *_: next(looks, Finding(version="5.2")))
    open_session()
    wait_for(lambda: declared(server) and declared(server)[-1]["version"] == "5.2")
