from __future__ import annotations

import json
import time

import pytest

from agent import retry
from tests.agent.conftest import OpenSession, StartAgent, finished, wait_for
from tests.agent.fake_server import Answer, FakeServer, problem


def test_the_first_sync_declares_what_the_agent_is(server: FakeServer, open_session: OpenSession) -> None:
    open_session()
    finished(server.submit("noop", {}))
    first, *others = server.syncs
    assert first["agent_version"]
    assert {tool["name"] for tool in first["tools"]} >= {"shell", "noop"}
    assert set(first) >= {"hostname", "platform", "labels", "session_id", "boot_id", "slots", "plan_limit"}
    assert set(first["metrics"]) == {"cpu_percent", "memory_percent", "disk_free_bytes", "load_1m"}
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
    wait_for(lambda: server._parked == 1)
    quiet = len(server.syncs)
    time.sleep(0.5)
    assert len(server.syncs) == quiet


def test_news_goes_out_while_a_call_is_parked(server: FakeServer, open_session: OpenSession) -> None:
    open_session()
    attempt = server.submit("noop", {"sleep_ms": 300})
    wait_for(lambda: attempt.is_held)
    began = time.monotonic()
    finished(attempt)
    assert time.monotonic() - began < 2


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
    server: FakeServer, open_session: OpenSession
) -> None:
    server.misbehave = lambda *_: Answer(200, {"offers": [], "cancel": [], "unknown": [], "reported": []})
    open_session()
    time.sleep(1.5)
    assert len(server.paths("/sync")) < 15


def test_a_cancel_that_is_repeated_all_the_time_is_not_answered_in_a_circle(
    server: FakeServer, open_session: OpenSession
) -> None:
    open_session()
    attempt = server.submit(
        "shell", {"script": "trap '' TERM; echo up; for i in 1 2 3 4; do sleep 0.5; done"}
    )
    wait_for(lambda: attempt.log)
    before = len(server.syncs)
    server.cancel(attempt)
    finished(attempt)
    assert len(server.syncs) - before < 20


def test_a_server_that_is_away_is_asked_less_and_less(
    server: FakeServer, open_session: OpenSession, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked: list[int] = []
    original = retry.delay_s

    def noted(failures: int, cap_s: float = 60.0, retry_after_s: float | None = None) -> float:
        asked.append(failures)
        return original(failures, cap_s, retry_after_s) / 20

    monkeypatch.setattr(retry, "delay_s", noted)
    server.misbehave = lambda *_: Answer(503, {})
    open_session()
    wait_for(lambda: len(asked) >= 4)
    assert asked[:4] == [1, 2, 3, 4]


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
    server.misbehave = lambda method, path: refusal
    server.submit("noop", {})
    wait_for(lambda: "refuses this worker's key" in agent.said)
    asked = len(server.paths("/sync"))
    time.sleep(0.7)
    assert len(server.paths("/sync")) == asked
    assert agent.process.poll() is None
    assert agent.said.count("refuses this worker's key") == 1


def test_a_drained_agent_takes_no_more_and_finishes_what_runs(
    server: FakeServer, open_session: OpenSession
) -> None:
    open_session()
    attempt = server.submit("shell", {"script": "echo up; sleep 0.5"})
    wait_for(lambda: attempt.log)
    server.drain()
    wait_for(lambda: server.syncs[-1]["accepting"] is False)
    late = server.submit("noop", {})
    assert finished(attempt).report["status"] == "completed"
    assert not late.is_offered


def test_one_report_that_the_server_cannot_read_does_not_keep_the_others(
    server: FakeServer, open_session: OpenSession
) -> None:
    bad: list[str] = []

    def refuse_the_bad_one(method: str, path: str) -> Answer | None:
        return None

    server.misbehave = refuse_the_bad_one
    real = server._sync

    def checked(body: dict[str, object]) -> Answer:
        reports = body["reports"]
        assert isinstance(reports, list)
        if any(report["attempt_id"] in bad for report in reports):
            return problem(422, detail="reports.0.result is too odd")
        return real(body)

    server._sync = checked  # type: ignore[method-assign]
    session = open_session()
    attempts = [server.submit("noop", {"sleep_ms": 300, "message": str(number)}) for number in range(4)]
    bad.append(attempts[0].offer["attempt_id"])
    for attempt in attempts[1:]:
        finished(attempt)
    wait_for(lambda: [held.attempt_id for held in session.loop.held()] == bad)
    wait_for(lambda: server._parked == 1)
    assert server.syncs[-1]["reports"] == []


@pytest.mark.parametrize(
    "offer",
    [{}, {"task_id": "t"}, {"task_id": "t", "attempt_id": "../../etc"}, {"task_id": 5, "attempt_id": "a"}],
)
def test_an_offer_that_makes_no_sense_is_ignored(
    server: FakeServer, open_session: OpenSession, offer: dict[str, object]
) -> None:
    open_session()
    odd = server.submit("noop", {})
    odd.offer.clear()
    odd.offer.update(offer)
    finished(server.submit("noop", {}))
