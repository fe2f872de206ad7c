"""The agent's side of the control socket: with it things come sooner, without it nothing is lost."""

from __future__ import annotations

from pathlib import Path

import pytest

from agent import clock
from tests.agent.conftest import UNTIL_GO, OpenSession, StartAgent, wait_for
from tests.agent.fake_control import FakeControl, FakeLine
from tests.agent.fake_server import FakeAttempt, FakeServer


@pytest.fixture
def control(server: FakeServer) -> FakeControl:
    server.control = FakeControl()
    return server.control


def offered(server: FakeServer, line: FakeLine, script: str = "echo hi", message_id: str = "") -> FakeAttempt:
    """An attempt that the server pushes instead of answering a sync with it."""
    attempt = server.known("shell", {"script": script})
    attempt.is_offered = True
    line.say("run_task", message_id, **attempt.offer)
    return attempt


def test_it_connects_once_the_server_knows_it_and_says_whose_key_it_has(
    server: FakeServer, control: FakeControl, start_agent: StartAgent
) -> None:
    start_agent()
    line = control.line()
    assert len(server.syncs) >= 1
    assert line.path == "/api/v1/agents/control?agent_id=w-1"
    assert line.headers["x-worker-api-key"] == "gsw_key"
    (beat, *_) = line.hear("heartbeat")
    assert beat["session_id"] == server.syncs[0]["session_id"]
    assert (beat["slots"], beat["accepting"], beat["held"]) == (4, True, [])
    assert "cpu_percent" in beat["metrics"]


def test_it_does_not_connect_where_it_shall_not(
    server: FakeServer, control: FakeControl, start_agent: StartAgent
) -> None:
    start_agent(AGENT_CONTROL="0")
    attempt = server.submit("shell", {"script": "echo hi"})
    wait_for(lambda: attempt.reports)
    assert control.lines == []


def test_a_pushed_task_runs_is_held_and_is_reported_by_sync(
    server: FakeServer, control: FakeControl, start_agent: StartAgent
) -> None:
    start_agent()
    line = control.line()
    line.hear("heartbeat")
    attempt = offered(server, line)
    wait_for(lambda: attempt.reports)
    assert (attempt.report["status"], bytes(attempt.log)) == ("completed", b"hi\n")
    (hint, *_) = line.hear("task_completed")
    assert hint["attempt_id"] == attempt.offer["attempt_id"]


def test_what_is_held_is_said_at_once_and_every_order_is_acknowledged(
    server: FakeServer, control: FakeControl, start_agent: StartAgent, storage: Path
) -> None:
    start_agent()
    line = control.line()
    line.hear("heartbeat")
    attempt = offered(server, line, UNTIL_GO, "order-1")
    attempt_id = attempt.offer["attempt_id"]
    line.hear("heartbeat", held=[attempt_id])
    wait_for(lambda: "order-1" in line.acks())
    (storage / "go").touch()
    wait_for(lambda: attempt.reports)


def test_an_order_said_twice_is_acknowledged_twice_and_done_once(
    server: FakeServer, control: FakeControl, start_agent: StartAgent
) -> None:
    start_agent()
    line = control.line()
    attempt = offered(server, line, "echo once", "order-1")
    wait_for(lambda: attempt.reports)
    line.say("run_task", "order-1", **attempt.offer)
    line.say("run_task", "order-2", **attempt.offer)  # and an attempt is started once, whatever the message
    wait_for(lambda: line.acks().count("order-1") == 2 and "order-2" in line.acks())
    after = server.submit("shell", {"script": "true"})
    wait_for(lambda: after.reports)
    assert bytes(attempt.log) == b"once\n"


def test_a_pushed_cancel_ends_the_task(
    server: FakeServer, control: FakeControl, start_agent: StartAgent
) -> None:
    start_agent()
    line = control.line()
    attempt = offered(server, line, "sleep 300")
    line.hear("heartbeat", held=[attempt.offer["attempt_id"]])
    line.say("cancel_task", attempt_id=attempt.offer["attempt_id"], reason="asked for by ada")
    wait_for(lambda: attempt.reports)
    assert (attempt.report["status"], attempt.report["error"]) == ("cancelled", "asked for by ada")


def test_drain_and_resume_change_what_it_says_of_itself(
    server: FakeServer, control: FakeControl, start_agent: StartAgent
) -> None:
    start_agent()
    line = control.line()
    line.hear("heartbeat", accepting=True)
    server.is_draining = True  # as every sync's answer says meanwhile
    line.say("drain")
    line.hear("heartbeat", accepting=False)
    before = len(line.hear("heartbeat", accepting=True))
    server.is_draining = False
    line.say("resume")
    line.hear("heartbeat", before + 1, accepting=True)


def test_an_announcement_is_shown_once(
    server: FakeServer, control: FakeControl, start_agent: StartAgent
) -> None:
    agent = start_agent()
    line = control.line()
    line.say("announce", text="reboot at noon")
    last = line.say("announce", text="reboot at noon")
    wait_for(lambda: last in line.acks())
    assert agent.said.count("reboot at noon") == 1


def test_what_it_does_not_know_is_acknowledged_and_ignored(
    server: FakeServer, control: FakeControl, start_agent: StartAgent
) -> None:
    start_agent()
    line = control.line()
    for frame in ("", "[]", "{", '{"type": "run_task"}', "null", '"x"'):
        line.say_raw(frame)
    order = line.say("dance", tempo=3)
    wait_for(lambda: order in line.acks())
    attempt = offered(server, line)
    wait_for(lambda: attempt.reports)


def test_what_is_not_ours_any_more_is_ended(
    server: FakeServer, control: FakeControl, start_agent: StartAgent
) -> None:
    start_agent()
    line = control.line()
    attempt = offered(server, line, "sleep 300")
    attempt_id = attempt.offer["attempt_id"]
    line.hear("heartbeat", held=[attempt_id])
    server.unknown.add(attempt_id)
    line.unknown = [attempt_id]
    offered(server, line, "true")  # has a heartbeat sent
    wait_for(lambda: any(attempt_id not in beat["held"] for beat in line.beats()[-1:]))
    assert attempt.reports == []


def test_a_lost_connection_is_made_again_and_costs_no_task(
    server: FakeServer, control: FakeControl, start_agent: StartAgent, storage: Path
) -> None:
    start_agent()
    line = control.line()
    attempt = offered(server, line, UNTIL_GO)
    line.hear("heartbeat", held=[attempt.offer["attempt_id"]])
    line.close(1012)
    again = control.line(1)
    again.hear("heartbeat", held=[attempt.offer["attempt_id"]])
    (storage / "go").touch()
    wait_for(lambda: attempt.reports)
    assert attempt.report["status"] == "completed"


def test_a_server_that_says_nothing_any_more_is_given_up_and_asked_again(
    server: FakeServer, control: FakeControl, open_session: OpenSession, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("agent.control.SILENCE_S", 0.5)
    open_session()
    control.line().answers = False
    control.line(1)
    attempt = server.submit("shell", {"script": "true"})
    wait_for(lambda: attempt.reports)


def test_heartbeats_go_on_without_a_reason(
    server: FakeServer, control: FakeControl, open_session: OpenSession, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("agent.control.HEARTBEAT_S", 0.2)
    open_session()
    line = control.line()
    beats = line.hear("heartbeat", 4)
    assert len({beat["id"] for beat in beats}) == len(beats)


def test_whoever_was_replaced_does_not_fight_for_the_socket(
    server: FakeServer, control: FakeControl, start_agent: StartAgent
) -> None:
    agent = start_agent()
    line = control.line()
    line.hear("heartbeat")
    line.close(4409)
    wait_for(lambda: "another agent uses this worker's key" in agent.said)
    attempt = server.submit("shell", {"script": "true"})
    wait_for(lambda: attempt.reports)
    assert len(control.lines) == 1


def test_a_heartbeat_renews_the_leases_of_what_it_names(
    server: FakeServer, control: FakeControl, open_session: OpenSession, storage: Path
) -> None:
    session = open_session()
    line = control.line()
    attempt = offered(server, line, UNTIL_GO)
    line.hear("heartbeat", held=[attempt.offer["attempt_id"]])
    (held,) = session.loop.held()
    held.lease.renewed_at = 0.0
    line.say("drain")  # has a heartbeat sent
    wait_for(lambda: held.lease.renewed_at > 0)
    (storage / "go").touch()
    line.say("resume")
    wait_for(lambda: attempt.reports)


def test_a_repeated_offer_has_what_is_left_of_its_lease(
    server: FakeServer, control: FakeControl, open_session: OpenSession, storage: Path
) -> None:
    session = open_session()
    line = control.line()
    line.hear("heartbeat")
    line.answers = False  # or the next answer would renew it
    attempt = server.known("shell", {"script": UNTIL_GO}, lease_left_s=50.0, on_lost="fail")
    attempt.is_offered = True
    before = clock.now()
    line.say("run_task", **attempt.offer)
    wait_for(session.loop.held)
    (held,) = session.loop.held()
    assert held.lease.renewed_at <= before - 70
    (storage / "go").touch()
    wait_for(lambda: attempt.reports)
