"""A task is submitted: checked against its tool, stored whole, its secrets unreadable."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from tests.world import TOOLS, World, problem
from webapp.extensions import db

CANARY = "canary-5f1d2c"


def test_a_task_is_stored_with_its_event_and_its_audit_entry(world: World) -> None:
    world.worker()
    answer = world.submit(name="nightly build", priority=3, labels={"gpu": None})
    assert answer.status_code == 201
    task = answer.json
    assert (task["name"], task["status"], task["priority"], task["submitted_by"]) == (
        "nightly build",
        "queued",
        3,
        "operator",
    )
    assert [event["type"] for event in world.events(task["id"])] == ["task_queued"]
    [entry] = world.audited("task.submit")
    assert (entry["target"], entry["target_id"], entry["actor"]) == ("nightly build", task["id"], "operator")
    assert {**world.task(task["id"]), "waiting": None} == {**task, "waiting": None}


def test_a_task_that_nobody_named_is_called_after_what_it_runs(world: World) -> None:
    world.worker()
    script = "#!/bin/sh\nset -eu\n\n# comment\nmake all\nmake install"
    assert world.submit(input={"script": script}).json["name"] == "make all"
    assert world.submit(input={"argv": ["echo", "hi"]}).json["name"] == "echo hi"
    assert world.submit(tool="noop", input={}).json["name"] == "noop"
    assert world.submit(input={"script": "x" * 300}).json["name"] == "x" * 255
    assert world.submit(input={"script": "a\x1b[31mb\u202ec"}).status_code == 201


@pytest.mark.parametrize(
    ("role", "status"), [("viewer", 403), ("operator", 201), ("approver", 201), ("admin", 201)]
)
def test_who_may_submit(world: World, role: Any, status: int) -> None:
    world.worker()
    world.api_token(role)
    if status == 403:
        with world.unchanged():
            problem(world.submit(role), 403, "forbidden")
    else:
        assert world.submit(role).status_code == 201


def test_without_a_credential_nothing_is_stored(world: World) -> None:
    world.worker()
    with world.unchanged():
        for headers in (
            {},
            {"Authorization": "Bearer "},
            {"Authorization": "Bearer gst_x"},
            {"Authorization": "Basic eA=="},
        ):
            body = {"tool": "shell", "input": {"script": "true"}}
            problem(
                world.app.test_client().post("/api/v1/tasks", json=body, headers=headers), 401, "unauthorized"
            )


def test_an_unknown_tool_is_refused_with_those_that_are_known(world: World) -> None:
    assert "No worker has brought any" in problem(world.submit(), 422, "invalid")["detail"]
    world.worker()
    world.api_token("operator")
    with world.unchanged():
        body = problem(world.submit(tool="shel"), 422, "invalid")
    assert body["errors"][0]["field"] == "tool"
    assert "noop, shell" in body["detail"]


def test_another_organisations_tools_are_unknown(world: World) -> None:
    world.registered("theirs", join_token=world.join_token(organisation_id=world.other_organisation()))
    problem(world.submit(), 422, "invalid")


def test_a_pending_workers_tools_are_unknown_until_it_is_approved(world: World) -> None:
    worker = world.registered()
    problem(world.submit(), 422, "invalid")
    world.api("admin", "POST", f"/workers/{worker.id}/approve")
    assert world.submit().status_code == 201


@pytest.mark.parametrize(
    ("value", "field", "words"),
    [
        ({}, "input", "give exactly one of: script, argv"),
        ({"script": "a", "argv": ["b"]}, "input", "give exactly one of: script, argv"),
        ({"script": 5}, "input.script", "string"),
        ({"argv": []}, "input.argv", ""),
        ({"argv": ["a", 5]}, "input.argv.1", "string"),
        ({"script": "a", "environment": {}}, "input", "environment"),
        ({"script": "a", "env": {"A": 5}}, "input.env.A", "string"),
    ],
)
def test_an_input_that_the_tool_doesnt_take_is_refused_by_field(
    world: World, value: dict[str, Any], field: str, words: str
) -> None:
    world.worker()
    world.api_token("operator")
    with world.unchanged():
        body = problem(world.submit(input=value), 422, "invalid")
    assert body["errors"][0]["field"] == field
    assert words in body["errors"][0]["message"]


def test_an_input_that_is_too_large_is_refused(world: World) -> None:
    world.worker()
    world.api_token("operator")
    with world.unchanged():
        body = problem(world.submit(tool="noop", input={"a": "x" * 600_000}), 422, "invalid")
    assert body["errors"][0]["field"] == "input"


NONSENSE: dict[str, list[Any]] = {
    "tool": [None, 5, "", "x" * 65],
    "input": [[], "x", None],
    "name": ["two\nlines", "x" * 256, 5, "bell\x07", "dis\u202eguise"],
    "worker_id": ["lab-01", 5, "00000000-0000-7000-8000-000000000000", "X" * 36],
    "project_id": ["x"],
    "labels": [{"a b": "c"}, ["gpu"], {"a": 5}, {"a": "b c"}],
    "priority": [1001, -1001, "high", 0.5],
    "timeout_s": [0, -1, 10**9, "60", 1.5],
    "no_output_timeout_s": [0, "x"],
    "queue_timeout_s": [0, 10**12],
    "max_retries": [-1, 101],
    "retry_delay_s": [-1, 10**6],
    "retry_on": [["bad_luck"], "exit_code", [5]],
    "on_lost": ["maybe", None],
    "locks": ["deploy", [""], ["two words"], ["-x"], [1], ["x" * 101], ["a", "b"] * 6],
    "pirority": [5],
    "id": ["00000000-0000-7000-8000-000000000000"],
    "status": ["completed"],
}


@pytest.mark.parametrize("field", NONSENSE)
def test_a_wish_that_makes_no_sense_is_refused_by_field_and_leaves_nothing(world: World, field: str) -> None:
    world.worker()
    world.api_token("operator")
    for value in NONSENSE[field]:
        with world.unchanged():
            body = problem(world.submit(**{field: value}), 422, "invalid")
        assert body["errors"][0]["field"].split(".")[0] == field, value


def test_a_worker_that_is_revoked_or_not_ours_cant_be_named(world: World) -> None:
    revoked = world.worker("revoked")
    world.api("admin", "POST", f"/workers/{revoked.id}/revoke")
    others = world.other_organisation()
    theirs = world.registered("theirs", join_token=world.join_token(organisation_id=others))
    world.api_token("operator")
    with world.unchanged():
        for worker in (revoked, theirs):
            body = problem(world.submit(worker_id=worker.id), 422, "invalid")
            assert body["errors"][0]["field"] == "worker_id"


def at_rest(world: World) -> bytes:
    """All that the database has on its disk, or in its tables."""
    folder = Path(world.app.instance_path)
    found = b"".join(path.read_bytes() for path in folder.rglob("*") if path.is_file())
    with world.app.app_context():
        is_sqlite = db.engine.dialect.name == "sqlite"
    if is_sqlite:
        assert b"what-isnt-secret" in found, "or we look in the wrong place"
    return found + repr(world.stored()).encode()


def test_a_secret_is_unreadable_at_rest_shown_nowhere_and_delivered_to_the_agent_alone(
    world: World, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level("DEBUG")
    worker = world.worker()
    value = {"script": "echo what-isnt-secret", "env": {"TOKEN": CANARY}}
    made = world.submit(input=value)
    task_id = made.json["id"]
    assert made.json["input"] == {"script": "echo what-isnt-secret"}
    offer = worker.take()
    assert offer["data"]["task"]["input"] == value
    assert worker.call("GET", f"/agents/tasks/{task_id}/data").json["task"]["input"] == value
    worker.report(offer, "failed", failure_class="agent_error")
    shown = [
        made.get_data(as_text=True),
        repr(world.task(task_id, "admin")),
        repr(world.events(task_id)),
        world.api("admin", "GET", "/tasks?q=what").get_data(as_text=True),
        repr(world.rows("audit_entries")),
        caplog.text,
    ]
    assert CANARY not in "".join(shown)
    assert CANARY.encode() not in at_rest(world)


def test_a_secret_is_carried_by_a_retry_and_by_the_next_attempt(world: World) -> None:
    worker = world.worker()
    value = {"script": "true", "env": {"TOKEN": CANARY}}
    task_id = world.queued_task(input=value, retry_delay_s=0)
    worker.report(worker.take(), "failed", failure_class="agent_error")
    again = worker.take()
    assert again["data"]["task"]["input"] == value
    worker.report(again)
    made = world.api("operator", "POST", f"/tasks/{task_id}/retry")
    assert made.status_code == 201
    assert CANARY not in made.get_data(as_text=True)
    assert worker.take()["data"]["task"]["input"] == value


def test_the_tools_are_listed_for_those_who_may_look(world: World) -> None:
    world.worker()
    items = world.api("viewer", "GET", "/tools").json["items"]
    assert [tool["name"] for tool in items] == ["noop", "shell"]
    assert items[1]["schema"] == TOOLS[0]["schema"]
    assert world.api("viewer", "GET", "/tools", world.other_organisation()).json["items"] == []
