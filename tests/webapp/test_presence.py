"""What a worker says of itself: its tools, its vitals, and that it lives."""

from __future__ import annotations

from tests.world import TOOLS, World, at_once, later
from webapp.workers import presence


def test_the_first_sync_of_a_session_says_what_the_machine_is_now(world: World) -> None:
    worker = world.worker()
    newer = {**TOOLS[1], "version": 2, "title": "Newer"}
    worker.sync(tools=[newer], labels={"site": "cellar"}, hostname="renamed", agent_version="0.2.0", slots=7)
    shown = world.api("viewer", "GET", f"/workers/{worker.id}").json
    facts = (shown["tools"], shown["labels"], shown["hostname"], shown["agent_version"], shown["slots"])
    assert facts == (["noop"], {"site": "cellar"}, "renamed", "0.2.0", 7)
    tools = {tool["name"]: tool for tool in world.api("viewer", "GET", "/tools").json["items"]}
    assert tools["noop"]["title"] == "Newer"
    assert "shell" in tools


def test_one_machine_cant_rewrite_a_tool_that_others_offer(world: World) -> None:
    worker = world.worker()
    worker.sync(tools=[{**TOOLS[0], "schema": {"type": "object"}}])
    tools = {tool["name"]: tool for tool in world.api("viewer", "GET", "/tools").json["items"]}
    assert tools["shell"]["schema"] == TOOLS[0]["schema"]


def test_agents_that_bring_the_same_new_tool_at_once_are_all_served(world: World) -> None:
    workers = [world.worker(f"lab-{number}") for number in range(4)]
    new = [{"name": f"new-{number}"} for number in range(5)]
    answers = at_once(*[lambda worker=worker: worker.sync(tools=new) for worker in workers])
    assert [answer.status_code for answer in answers] == [200] * 4
    assert len(world.api("viewer", "GET", "/tools").json["items"]) == 7


def test_a_sync_shows_the_worker_online_with_its_vitals(world: World) -> None:
    worker = world.worker()
    vitals = {"cpu_percent": 12.5, "memory_percent": 40.0, "disk_free_bytes": 10**12, "load_1m": 0.5}
    worker.sync(metrics=vitals)
    shown = world.api("viewer", "GET", f"/workers/{worker.id}").json
    assert (shown["shown_status"], shown["metrics"]) == ("online", vitals)
    later(46)
    assert world.api("viewer", "GET", f"/workers/{worker.id}").json["shown_status"] == "offline"


def test_a_silent_worker_with_work_is_unreachable_and_back_again(world: World) -> None:
    worker = world.worker()
    offer = world.running_task(worker)

    def shown() -> str:
        return str(world.api("viewer", "GET", f"/workers/{worker.id}").json["shown_status"])

    assert shown() == "busy"
    later(46)
    assert shown() == "unreachable"
    assert world.task(offer["task_id"])["status"] == "running"
    worker.sync(held=[offer["attempt_id"]])
    assert shown() == "busy"


def test_last_seen_outlives_a_restart_of_the_server(world: World) -> None:
    worker = world.worker()
    later(100)
    worker.sync()
    with world.app.app_context():
        presence.save()
        presence.forget(worker.id)
    assert world.api("viewer", "GET", f"/workers/{worker.id}").json["shown_status"] == "online"


def test_saving_presence_survives_a_worker_that_was_removed_meanwhile(world: World) -> None:
    worker = world.worker()
    with world.app.app_context():
        presence.seen("00000000-0000-7000-8000-000000000000", "127.0.0.1")
        presence.seen(worker.id, "127.0.0.1")
        presence.save()
    assert next(row for row in world.rows("workers") if row["id"] == worker.id)["last_seen_at"]
