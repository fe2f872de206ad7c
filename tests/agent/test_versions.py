"""What an agent says of its protocol, and what it makes of what a server of another version answers."""

from __future__ import annotations

import logging

import pytest

from agent import PROTOCOL
from tests.agent.conftest import OpenSession, finished, wait_for
from tests.agent.fake_server import FakeServer, problem

REFUSED = problem(403, "urn:garageswarm:error:protocol-refused", "Update the agent")


def said(caplog: pytest.LogCaptureFixture, words: str) -> int:
    return sum(words in record.getMessage() for record in caplog.records)


@pytest.fixture(autouse=True)
def _heard(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.INFO, "agent")


def test_it_says_its_protocol_when_it_introduces_itself(
    server: FakeServer, open_session: OpenSession
) -> None:
    open_session()
    finished(server.submit("noop", {}))
    assert [sync.get("protocol") for sync in server.syncs[:2]] == [PROTOCOL, None]


def test_what_the_server_wants_its_owner_to_know_is_said_once_a_session(
    server: FakeServer, open_session: OpenSession, caplog: pytest.LogCaptureFixture
) -> None:
    server.levels = {"notice": "update it\x1b[2J\nsoon"}
    open_session()
    finished(server.submit("noop", {}))
    finished(server.submit("noop", {}))
    assert said(caplog, "the server says: update it") == 1
    open_session()
    wait_for(lambda: said(caplog, "the server says: update it") == 2)


@pytest.mark.parametrize("notice", [None, "", 5, ["update"], {}])
def test_a_notice_that_makes_no_sense_is_passed_over(
    server: FakeServer, open_session: OpenSession, caplog: pytest.LogCaptureFixture, notice: object
) -> None:
    server.levels = {"notice": notice}
    open_session()
    finished(server.submit("noop", {}))
    assert said(caplog, "the server says") == 0


def test_refused_for_its_protocol_it_says_so_and_what_it_runs_goes_on(
    server: FakeServer, open_session: OpenSession, caplog: pytest.LogCaptureFixture
) -> None:
    session = open_session()
    attempt = server.submit("shell", {"script": "echo up; sleep 300"})
    wait_for(lambda: attempt.is_held and b"up" in attempt.log)
    server.misbehave = lambda _, path: REFUSED if path.endswith("/sync") else None
    session.loop.redeclare()
    wait_for(lambda: said(caplog, "can't work with this agent: 403 Update the agent"))
    assert said(caplog, "refuses this worker's key") == 0
    assert [held.attempt_id for held in session.loop.held()] == [attempt.offer["attempt_id"]]
    assert session.loop.held()[0].report is None, "nobody has ended it"
    session.cancel_all()
