from __future__ import annotations

import json
import time
from pathlib import Path

import pytest

from agent.loop import IN_FLIGHT
from tests.agent.conftest import UNTIL_GO, OpenSession, StartAgent, finished, running, wait_for
from tests.agent.fake_server import Answer, FakeAttempt, FakeServer, problem


def test_the_first_sync_declares_what_the_agent_is(server: FakeServer, open_session: OpenSession) -> None:
    open_session()
    finished(server.submit("noop", {}))
    first, *others = server.syncs
    assert first["agent_version"]
    assert {tool["name"] for tool in first["tools"]} >= {"shell", "noop"}
    assert set(first) >= {"hostname", "platform", "labels", "session_id", "boot_id", "slots", "plan_limit"}
    assert set(first["metrics"]) == {
        *("cpu_percent", "memory_percent", "disk_free_bytes", "load_1m"),
        *("memory_total_bytes", "disk_total_bytes"),
    }
    assert all("tools" not in sync for sync in others)


def test_it_declares_again_until_a_sync_succeeded(server: FakeServer, open_session: OpenSession) -> None:
    answers = [Answer(503, {}), Answer(502, "<html>", "text/html")]
    server.misbehave = lambda *_: answers.pop() if answers else None
    open_session()
    wait_for(lambda: server.syncs)
    assert "tools" in server.syncs[0]


def test_every_tool_declares_only_what_forms_understand(
    server: FakeServer, open_session: OpenSession
) -> None:
    known = {
        *(
            "type",
            "properties",
            "required",
            "additionalProperties",
            "title",
            "description",
            "default",
            "enum",
        ),
        *("examples", "minLength", "maxLength", "minimum", "maximum", "items", "minItems", "maxItems"),
        *("oneOf", "x-widget", "x-secret"),
    }
    open_session()
    wait_for(lambda: server.syncs)

    def words(schema: object) -> set[str]:
        if not isinstance(schema, dict):
            return set()
        inner = [*schema.get("properties", {}).values(), schema.get("items")]
        inner.append(schema.get("additionalProperties"))
        return set(schema).union(*map(words, inner))

    for tool in server.syncs[0]["tools"]:
        assert isinstance(tool["version"], int)
        assert words(tool["schema"]) <= known
        json.dumps(tool)


def test_one_call_is_parked_and_never_more_than_two_are_out(
    server: FakeServer, open_session: OpenSession
) -> None:
    open_session()
    for _ in range(20):
        server.submit("noop", {"sleep_ms": 20})
    wait_for(lambda: all(attempt.is_ended for attempt in server.attempts.values()))
    assert server.most_parked <= 2

    def is_quiet_with_one_parked() -> bool:
        before = len(server.syncs)
        time.sleep(0.5)
        return server._parked == 1 and len(server.syncs) == before

    wait_for(is_quiet_with_one_parked)


def test_news_goes_out_while_a_call_is_parked(
    server: FakeServer, storage: Path, open_session: OpenSession
) -> None:
    open_session()
    attempt = running(server, storage, "echo up; " + UNTIL_GO)
    (storage / "go").touch()
    finished(attempt)
    assert server.most_parked == 2


def test_an_ended_attempt_is_held_until_its_report_is_taken(
    server: FakeServer, open_session: OpenSession
) -> None:
    refusals = [{"status": 500}, {"status": 503}]
    server.judge_report = lambda *_: refusals.pop() if refusals else None
    open_session()
    attempt = finished(server.submit("shell", {"script": "true"}))
    with_report = [sync for sync in server.syncs if sync["reports"]]
    assert len(with_report) == 3
    assert all(attempt.offer["attempt_id"] in sync["held"] for sync in with_report)


def test_a_server_that_answers_at_once_is_not_asked_in_a_circle(
    server: FakeServer, open_session: OpenSession, pauses: list[int]
) -> None:
    server.misbehave = lambda *_: Answer(200, {"offers": [], "cancel": [], "unknown": [], "reported": []})
    open_session()
    wait_for(lambda: len(pauses) >= 6)
    calls = len(server.paths("/sync"))
    assert pauses[:6] == [1, 2, 3, 4, 5, 6]
    assert calls <= len(pauses) + 2, "a pause before each but the first, and one that follows at once"


def test_a_cancel_that_is_repeated_all_the_time_is_not_answered_in_a_circle(
    server: FakeServer, storage: Path, open_session: OpenSession, pauses: list[int]
) -> None:
    open_session()
    attempt = running(server, storage, "trap '' TERM; echo up; " + UNTIL_GO)
    calls_before, pauses_before = len(server.syncs), len(pauses)
    server.cancel(attempt)
    wait_for(lambda: len(pauses) >= pauses_before + 4)
    calls = len(server.syncs) - calls_before
    assert pauses[-1] >= 4
    assert calls <= len(pauses) - pauses_before + 2
    (storage / "go").touch()
    finished(attempt)


def test_a_server_that_is_away_is_asked_less_and_less(
    server: FakeServer, open_session: OpenSession, pauses: list[int]
) -> None:
    server.misbehave = lambda *_: Answer(503, {})
    open_session()
    wait_for(lambda: len(pauses) >= 4)
    assert pauses[:4] == [1, 2, 3, 4]


def test_waiting_for_approval_is_said_once_and_ends_by_itself(
    server: FakeServer, start_agent: StartAgent
) -> None:
    server.is_pending = True
    server.misbehave = lambda method, path: (
        problem(403, "urn:garageswarm:error:worker-pending")
        if server.is_pending and "/sync" in path
        else None
    )
    agent = start_agent()
    wait_for(lambda: len(server.paths("/sync")) >= 3)
    assert agent.said.count("waiting for approval: code ABC-DEF at") == 1
    server.approve()
    finished(server.submit("noop", {}))
    assert "connected" in agent.said


@pytest.mark.parametrize(
    "refusal", [problem(401), problem(403, "urn:garageswarm:error:worker-revoked", "Revoked by ada.")]
)
def test_a_refused_key_is_said_once_and_running_work_goes_on(
    server: FakeServer, start_agent: StartAgent, refusal: Answer
) -> None:
    agent = start_agent()
    attempt = server.submit("shell", {"script": "echo up; sleep 300"})
    wait_for(lambda: attempt.log)
    refused: list[str] = []

    def refuse(method: str, path: str) -> Answer:
        refused.append(path)
        return refusal

    server.misbehave = refuse
    server.submit("noop", {})
    wait_for(lambda: "refuses this worker's key" in agent.said)
    time.sleep(0.7)
    assert sum(path.endswith("/sync") for path in refused) <= IN_FLIGHT, "not again for a minute"
    assert agent.process.poll() is None
    assert agent.said.count("refuses this worker's key") == 1


def test_a_drained_agent_takes_no_more_and_finishes_what_runs(
    server: FakeServer, storage: Path, open_session: OpenSession
) -> None:
    open_session()
    attempt = running(server, storage, "echo up; " + UNTIL_GO)
    server.drain()
    wait_for(lambda: server.syncs[-1]["accepting"] is False)
    assert server.syncs[-1]["not_accepting"] == "draining: the server asked for it"
    late = server.submit("noop", {})
    (storage / "go").touch()
    assert finished(attempt).report["status"] == "completed"
    assert not late.is_offered


def test_one_report_that_the_server_cannot_read_does_not_keep_the_others(
    server: FakeServer, open_session: OpenSession
) -> None:
    attempts = [server.submit("noop", {"sleep_ms": 300, "message": str(number)}) for number in range(4)]
    bad = [attempts[0].offer["attempt_id"]]
    real = server._sync

    def checked(body: dict[str, object]) -> Answer:
        reports = body["reports"]
        assert isinstance(reports, list)
        if any(report["attempt_id"] in bad for report in reports):
            return problem(422, detail="reports.0.result is too odd")
        return real(body)

    server._sync = checked  # type: ignore[method-assign]
    session = open_session()
    for attempt in attempts[1:]:
        finished(attempt)
    wait_for(lambda: [held.attempt_id for held in session.loop.held()] == bad)
    wait_for(lambda: server._parked == 1 and server.syncs[-1]["reports"] == [])


@pytest.mark.parametrize(
    "offer",
    [{}, {"task_id": "t"}, {"task_id": "t", "attempt_id": "../../etc"}, {"task_id": 5, "attempt_id": "a"}],
)
def test_an_offer_that_makes_no_sense_is_ignored(
    server: FakeServer, open_session: OpenSession, offer: dict[str, object]
) -> None:
    open_session()
    server.offer_again(FakeAttempt(offer, {}))
    finished(server.submit("noop", {}))
