"""The control socket of a real server, spoken to byte by byte by a client that isn't our agent."""

from __future__ import annotations

import signal
import sqlite3
import uuid
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest
from websockets.exceptions import ConnectionClosed, InvalidStatus
from websockets.sync.client import connect

from tests.contract.raw_agent import SHELL, Agent
from tests.stack import Stack, eventually, running_stack


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Stack]:
    with running_stack(tmp_path_factory.mktemp("control")) as started:
        yield started


@pytest.fixture
def agent(server: Stack) -> Agent:
    return Agent(server)


def refused(agent: Agent, key: str, path: str = "") -> int:
    path = path or f"/api/v1/agents/control?agent_id={agent.id}"
    url = agent.stack.url.replace("http", "ws", 1) + path
    with pytest.raises(InvalidStatus) as info, connect(url, additional_headers={"X-Worker-API-Key": key}):
        pass
    response = info.value.response
    assert response.headers["Content-Type"] == "application/problem+json"
    return int(response.status_code)


@pytest.mark.parametrize("path", ["/api/v1/agents/control?agent_id={}", "/ws/worker/{}"])
def test_who_may_not_is_refused_before_the_upgrade(server: Stack, agent: Agent, path: str) -> None:
    other, pending = Agent(server), Agent(server, join=False)
    assert refused(agent, "", path.format(agent.id)) == 401
    assert refused(agent, "gsw_nonsense", path.format(agent.id)) == 401
    assert refused(agent, server.token, path.format(agent.id)) == 401
    assert refused(agent, other.key, path.format(agent.id)) == 403
    assert refused(pending, pending.key, path.format(pending.id)) == 403


@pytest.mark.parametrize("path", ["/api/v1/agents/control?agent_id={}", "/ws/worker/{}"])
def test_both_addresses_are_the_same_socket(agent: Agent, path: str) -> None:
    with agent.connected(path.format(agent.id)) as line:
        assert line.beat()["lease_s"] == 120
    assert server_state(agent)["agent_id"] == agent.id


def server_state(agent: Agent) -> dict[str, Any]:
    return dict(agent.stack.api("GET", f"/agents/{agent.id}/cc-status").json())


def test_people_and_the_worker_itself_see_whether_it_is_connected(server: Stack, agent: Agent) -> None:
    assert server_state(agent)["connected"] is False
    with agent.connected() as line:
        line.beat()
        for state in (server_state(agent), agent.call("GET", f"/agents/{agent.id}/cc-status").json()):
            assert (state["connected"], state["agent_id"]) == (True, agent.id)
            assert state["connected_at"] <= state["last_heartbeat_at"]
        listed = [item["agent_id"] for item in server.api("GET", "/agents/connected").json()["items"]]
        assert agent.id in listed
        own = agent.call("GET", "/agents/connected").json()["items"]
        assert [item["agent_id"] for item in own] == [agent.id]
    eventually(lambda: not server_state(agent)["connected"], what="the server to notice the end")


def test_a_heartbeat_is_answered_with_the_lease_and_what_is_not_ours(agent: Agent) -> None:
    stray = str(uuid.uuid4())
    with agent.connected() as line:
        answer = line.beat([stray])
    assert (answer["lease_s"], answer["lost_after_s"], answer["unknown"]) == (120, 600, [stray])


def test_a_task_is_pushed_and_a_sync_beside_it_brings_none(server: Stack, agent: Agent) -> None:
    with agent.connected() as line:
        line.beat()
        task_id = agent.task()
        offer = line.hear("run_task")
        assert offer["task_id"] == task_id
        assert offer["data"]["task"]["input"] == {"script": "true"}
        second = agent.task()
        assert agent.sync([offer["attempt_id"]])["offers"] == []
        assert line.hear("run_task")["task_id"] == second
        line.beat([offer["attempt_id"]])
        eventually(lambda: server.task(task_id)["status"] == "running", what="the heartbeat to count")
        assert agent.report(offer).json()["new_status"] == "completed"
        assert server.task(task_id)["status"] == "completed"


def test_work_is_never_pushed_over_the_slots(server: Stack, agent: Agent) -> None:
    ids = [agent.task() for _ in range(4)]
    with agent.connected() as line:
        line.beat()
        first, second = line.hear("run_task"), line.hear("run_task")
        line.beat([first["attempt_id"], second["attempt_id"]])
        assert [server.task(task_id)["status"] for task_id in ids[2:]] == ["queued", "queued"]
        agent.report(first)
        assert line.hear("run_task")["task_id"] == ids[2]


def test_an_offer_that_did_not_arrive_comes_again_with_the_same_attempt(agent: Agent) -> None:
    with agent.connected() as line:
        line.beat()
        agent.task()
        offer = line.hear("run_task")
    # By either way, once the answer had time to arrive.
    again = eventually(lambda: agent.sync()["offers"], what="the offer to be repeated")
    assert [row["attempt_id"] for row in again] == [offer["attempt_id"]]


def test_a_cancel_is_pushed(agent: Agent) -> None:
    with agent.connected() as line:
        line.beat()
        task_id = agent.task()
        offer = line.hear("run_task")
        line.beat([offer["attempt_id"]])
        agent.stack.api("POST", f"/tasks/{task_id}/cancel")
        assert line.hear("cancel_task")["attempt_id"] == offer["attempt_id"]
        assert agent.report(offer, status="cancelled").json()["new_status"] == "cancelled"


def test_drain_resume_and_announcements_are_pushed(server: Stack, agent: Agent) -> None:
    with agent.connected() as line:
        line.beat()
        server.api("POST", f"/workers/{agent.id}/drain")
        line.hear("drain")
        server.api("POST", f"/workers/{agent.id}/announce", json={"text": "reboot at noon"})
        assert line.hear("announce")["text"] == "reboot at noon"
        server.api("POST", f"/workers/{agent.id}/announce", json={"text": ""})
        assert line.hear("announce")["text"] == ""
        assert server.api("POST", "/workers/announce", json={"text": "to all"}).json()["announced_to"] >= 1
        assert line.hear("announce")["text"] == "to all"
        server.api("POST", f"/workers/{agent.id}/resume")
        line.hear("resume")


def test_a_drained_worker_is_pushed_nothing(server: Stack, agent: Agent) -> None:
    with agent.connected() as line:
        line.beat()
        server.api("POST", f"/workers/{agent.id}/drain")
        line.hear("drain")
        task_id = agent.task()
        line.beat(accepting=False)
        assert server.task(task_id)["status"] == "queued"
        server.api("POST", f"/workers/{agent.id}/resume")
        line.hear("resume")
        line.beat()
        assert line.hear("run_task")["task_id"] == task_id


def test_the_newest_connection_wins_and_the_older_ones_end_changes_nothing(agent: Agent) -> None:
    with agent.connected() as older:
        older.beat()
        with agent.connected() as newer:
            newer.beat()
            assert older.closed_with() == 4409
            agent.task()
            newer.hear("run_task")
            newer.beat()
            assert server_state(agent)["connected"] is True


def test_a_restarted_agent_is_not_kept_waiting_by_the_socket_of_its_former_self(agent: Agent) -> None:
    with agent.connected() as former:
        former.beat()
        agent.session_id = uuid.uuid4().hex
        agent.sync(tools=[SHELL], labels={"raw": agent.name})
        assert former.closed_with() == 4409
        task_id = agent.task()
        offers = eventually(lambda: agent.sync()["offers"], what="the task by sync")
        assert [offer["task_id"] for offer in offers] == [task_id]


def test_a_repeated_id_is_answered_and_not_acted_on_again(agent: Agent) -> None:
    stray = str(uuid.uuid4())
    with agent.connected() as line:
        message_id = line.say("heartbeat", **agent.body())
        line.hear("ack", message_id)
        line.say("heartbeat", message_id, **agent.body([stray]))
        assert line.hear("ack", message_id)["unknown"] == []


@pytest.mark.parametrize(
    "frame",
    [
        "",
        "[]",
        "{",
        "null",
        '{"type": "heartbeat"}',
        '{"id": "1"}',
        '{"type": "dance", "id": "1"}',
        '{"type": "heartbeat", "id": "1", "session_id": "s", "boot_id": "\\u0000"}',
        "x" * 5000,
    ],
)
def test_a_frame_that_makes_no_sense_is_answered_and_harms_nothing(agent: Agent, frame: str) -> None:
    with agent.connected() as line:
        line.socket.send(frame)
        assert line.hear("error")["detail"]
        assert line.beat()["lease_s"]


def test_a_heartbeat_that_does_not_validate_is_refused_by_name(agent: Agent) -> None:
    with agent.connected() as line:
        message_id = line.say("heartbeat", **agent.body(slots=0))
        assert "slots" in line.hear("error", message_id)["detail"]
        assert server_state(agent)["last_heartbeat_at"] is None


def test_hints_are_answered_and_decide_nothing(server: Stack, agent: Agent) -> None:
    with agent.connected() as line:
        line.beat()
        task_id = agent.task()
        offer = line.hear("run_task")
        said = line.say("task_completed", task_id=task_id, attempt_id=offer["attempt_id"])
        line.hear("ack", said)
        line.beat([offer["attempt_id"]])
        assert server.task(task_id)["status"] == "running"


def test_a_flood_ends_the_connection_and_harms_nobody_else(server: Stack, agent: Agent) -> None:
    other = Agent(server)
    with agent.connected() as line, other.connected() as quiet:
        quiet.beat()
        with pytest.raises(ConnectionClosed) as info:
            line.flood()
        # The close frame may be lost, because more comes in than is read.
        assert info.value.rcvd is None or info.value.rcvd.code == 1013
        assert quiet.beat()["lease_s"] == 120


def test_a_revoked_worker_is_closed_with_4401(server: Stack, agent: Agent) -> None:
    with agent.connected() as line:
        line.beat()
        server.api("POST", f"/workers/{agent.id}/revoke")
        assert line.closed_with() == 4401
    assert refused(agent, agent.key) == 403


def test_one_that_has_said_nothing_yet_is_closed_as_well(server: Stack, agent: Agent) -> None:
    with agent.connected() as line:
        eventually(lambda: server_state(agent)["connected"], what="the socket to be open")
        server.api("POST", f"/workers/{agent.id}/revoke")
        assert line.closed_with() == 4401


def test_a_socket_ends_with_its_key_though_its_worker_goes_on(server: Stack, agent: Agent) -> None:
    with agent.connected() as older:
        older.beat()
        server.api("POST", f"/workers/{agent.id}/rotate-key")
        older.hear("rotate_key")
        old_key = agent.key
        agent.key = agent.call("POST", f"/workers/{agent.id}/rotate-key").json()["api_key"]
        assert agent.sync()["lease_s"] == 120
        older.beat()  # for a day both open
        end_key(server, old_key)
        assert older.closed_with() == 4401
    assert refused(agent, old_key) == 401
    with agent.connected() as line:
        line.beat()


def end_key(server: Stack, key: str) -> None:
    """Its day is over."""
    with closing(sqlite3.connect(server.instance / "garageswarm.db", timeout=20)) as database, database:
        database.execute("UPDATE worker_keys SET expires_at = 1 WHERE key_id = ?", (key[4:12],))


@pytest.mark.slow
def test_a_socket_that_falls_silent_is_closed_and_the_lease_goes_on(tmp_path: Path) -> None:
    with running_stack(tmp_path, control_silence_s=1) as server:
        agent = Agent(server)
        with agent.connected() as line:
            line.beat()
            task_id = agent.task()
            offer = line.hear("run_task")
            line.beat([offer["attempt_id"]])
            assert line.closed_with() == 1012
        eventually(lambda: not server_state(agent)["connected"], what="the state to follow")
        assert server.task(task_id)["status"] == "running"
        assert agent.report(offer).status_code == 200


@pytest.mark.slow
def test_a_server_that_stops_tells_every_agent_to_come_back(tmp_path: Path) -> None:
    with running_stack(tmp_path) as server:
        agents = [Agent(server) for _ in range(3)]
        with agents[0].connected() as one, agents[1].connected() as two, agents[2].connected() as three:
            lines = [one, two, three]
            for line in lines:
                line.beat()
            assert server.server is not None
            server.server.signal(signal.SIGTERM)
            assert [line.closed_with() for line in lines] == [1012, 1012, 1012]
            assert server.server.process.wait(15) == 0


@pytest.mark.slow
def test_too_many_agents_sockets_are_refused_with_when_to_come_back(tmp_path: Path) -> None:
    with running_stack(tmp_path, agent_sockets=1) as server:
        first, second = Agent(server), Agent(server)
        with first.connected() as line:
            line.beat()
            assert refused(second, second.key) == 503
            with first.connected() as again:  # its own newer connection takes no more room
                again.beat()
        assert second.sync()["lease_s"] == 120
