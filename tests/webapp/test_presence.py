"""What a worker says of itself: its tools, its vitals, and that it lives."""

from __future__ import annotations

import json
from typing import Any

import pytest

from tests.world import TOOLS, World, at_once, later, problem
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
    vitals |= {"disk_total_bytes": 2 * 10**12, "memory_total_bytes": 16 * 10**9}
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


# ---- what an agent found of its tools


def found(works: bool, **more: object) -> dict[str, object]:
    return {"works": works, "version": "", "signed_in": None, "problem": "", **more}


BROKEN = {**TOOLS[0], "found": found(False, problem="bash isn't here")}


def stored(world: World, column: str) -> Any:
    [row] = world.rows("workers")
    return json.loads(row[column]) if isinstance(row[column], str) else row[column]


def test_a_tool_that_doesnt_work_gets_no_tasks_and_says_why_until_it_works(world: World) -> None:
    worker = world.worker(tools=[BROKEN, TOOLS[1]])
    task_id = world.queued_task()
    assert worker.sync().json["offers"] == []
    [waiting] = world.task(task_id)["waiting"]
    assert "bash isn't here" in str(waiting)
    mended = {**TOOLS[0], "found": found(True, version="GNU bash, version 5.2")}
    [offer] = worker.sync(tools=[mended, TOOLS[1]]).json["offers"]
    assert offer["task_id"] == task_id


def test_the_catalogue_knows_a_tool_that_works_nowhere_yet(world: World) -> None:
    world.worker(tools=[BROKEN])
    assert [tool["name"] for tool in world.api("viewer", "GET", "/tools").json["items"]] == ["shell"]


def test_what_was_found_is_kept_and_a_tool_nobody_looked_at_counts_as_working(world: World) -> None:
    signed_in = {"name": "ollama", "found": found(True, version="1.2", signed_in=False)}
    world.worker(tools=[BROKEN, signed_in, TOOLS[1]])
    assert stored(world, "tools") == ["ollama", "noop"]
    assert stored(world, "tool_facts") == [
        {"name": "shell", **found(False, problem="bash isn't here")},
        {"name": "ollama", **found(True, version="1.2", signed_in=False)},
        {"name": "noop", **found(True)},
    ]


@pytest.mark.parametrize(
    "wrong",
    [
        {"works": "yes"},
        {"version": "x" * 256},
        {"version": "two\nlines"},
        {"problem": "a\x1b[31mred"},
        {"problem": None},
        {"signed_in": 1},
    ],
)
def test_findings_that_make_no_sense_are_refused_and_change_nothing(world: World, wrong: Any) -> None:
    worker = world.worker()
    with world.unchanged():
        answer = worker.sync(tools=[{**TOOLS[0], "found": {**found(True), **wrong}}])
        assert problem(answer, 422, "invalid")["errors"][0]["field"].startswith("tools.0.found")


def slot_class(world: World) -> str:
    [row] = [row for row in world.rows("tools") if row["name"] == "plan"]
    return str(row["slot_class"])


def test_only_a_new_version_of_a_tool_changes_what_it_takes_of_a_worker(world: World) -> None:
    worker = world.worker(tools=[{"name": "plan", "slot_class": "plan"}])
    assert slot_class(world) == "plan"
    worker.sync(tools=[{"name": "plan", "slot_class": "exclusive"}])
    assert slot_class(world) == "plan"
    worker.sync(tools=[{"name": "plan", "version": 2, "slot_class": "exclusive"}])
    assert slot_class(world) == "exclusive"
    problem(worker.sync(tools=[{"name": "plan", "slot_class": "all of it"}]), 422, "invalid")
