"""Making a task: a form from the tool's schema, and back."""

from __future__ import annotations

from typing import Any

import pytest

from tests.webapp.pages.forms import field_error, press, text_of
from tests.world import TOOLS, World

DEPLOY = {
    "name": "deploy",
    "version": 1,
    "title": "Deploy",
    "schema": {
        "type": "object",
        "required": ["target", "token"],
        "additionalProperties": False,
        "properties": {
            "target": {"type": "string", "title": "Target", "maxLength": 10},
            "token": {"type": "string", "title": "Token", "x-secret": True},
            "size": {"type": "string", "enum": ["small", "large"], "default": "small"},
            "count": {"type": "integer", "minimum": 1, "maximum": 9},
            "ratio": {"type": "number"},
            "dry": {"type": "boolean"},
            "more": {"type": "object", "properties": {"a": {"type": "integer"}}},
        },
    },
}


def submit(world: World, tool: str = "shell", role: str = "operator", **fields: Any) -> Any:
    named = {name.replace("__", "."): value for name, value in fields.items()}
    return press(world.browser(role), "/tasks/new", **{"tool": tool, "where": "any", **named})


def made(world: World, answer: Any) -> dict[str, Any]:
    assert answer.status_code == 302, text_of(answer)
    return world.task(answer.location.removeprefix("/tasks/"))


def test_a_script_becomes_a_task(world: World) -> None:
    world.worker()
    task = made(world, submit(world, input__script="uname -a\r\nuptime\r\n"))
    assert task["input"] == {"script": "uname -a\nuptime\n"}
    assert task["name"] == "uname -a"
    assert task["submitted_by"] == "operator"


def test_a_command_is_one_argument_a_line_and_the_environment_pairs(world: World) -> None:
    world.worker()
    answer = submit(world, input__argv="ls\r\n-l\r\n/srv/my files", input__env="A=1\nB=x=y\n", name=" list ")
    task = made(world, answer)
    assert task["input"] == {"argv": ["ls", "-l", "/srv/my files"]}
    assert task["name"] == "list"


def test_every_kind_of_field_comes_back_as_its_type(world: World) -> None:
    world.worker(tools=[DEPLOY])
    fields = {"target": "staging", "token": "s3cr3t", "size": "large", "count": "3", "ratio": "0.5"}
    fields |= {"dry": "true", "more": '{"a": 1}'}
    task = made(world, submit(world, "deploy", **{f"input__{name}": value for name, value in fields.items()}))
    assert task["input"] == {
        "target": "staging",
        "size": "large",
        "count": 3,
        "ratio": 0.5,
        "dry": True,
        "more": {"a": 1},
    }


def test_what_is_left_empty_stays_out(world: World) -> None:
    world.worker(tools=[DEPLOY])
    task = made(world, submit(world, "deploy", input__target="x", input__token="y"))
    assert task["input"] == {"target": "x", "dry": False}


@pytest.mark.parametrize(
    ("field", "value", "says"),
    [
        ("target", "", "This is needed"),
        ("target", "much longer than ten", "too long"),
        ("count", "three", "whole number"),
        ("count", "12", "greater than the maximum"),
        ("ratio", "nan", "number"),
        ("more", "{", "JSON"),
        ("size", "huge", "not one of"),
    ],
)
def test_what_is_wrong_stands_beside_its_field(world: World, field: str, value: str, says: str) -> None:
    world.worker(tools=[DEPLOY])
    fields = {"input__target": "staging", "input__token": "t", f"input__{field}": value}
    answer = submit(world, "deploy", **fields)
    assert answer.status_code == 422
    assert says in field_error(answer, f"input.{field}")
    assert "The task was not submitted." in text_of(answer)
    assert world.rows("tasks") == []


def test_what_was_filled_in_is_kept(world: World) -> None:
    world.worker(tools=[DEPLOY])
    answer = submit(
        world, "deploy", input__target="staging", input__size="large", input__dry="true", name="mine"
    )
    assert answer.status_code == 422
    assert 'value="staging"' in answer.text
    assert "<option selected>large" in answer.text
    assert 'value="true" checked' in answer.text
    assert 'value="mine"' in answer.text


def test_exactly_one_of_the_ways_is_given(world: World) -> None:
    world.worker()
    for fields in ({}, {"input__script": "true", "input__argv": "true"}):
        answer = submit(world, **fields)
        assert answer.status_code == 422
        assert "exactly one of: script, argv" in field_error(answer, "oneOf")


@pytest.mark.parametrize(
    ("fields", "field", "says"),
    [
        ({"labels": "gpu=a b=c=d"}, "labels", "value of b"),
        ({"where": "worker", "worker": ""}, "worker", "Choose a worker"),
        ({"where": "worker", "worker": "nobody"}, "worker", ""),
        ({"timeout": "0"}, "timeout", "more than 0"),
        ({"timeout": "soon"}, "timeout", "number"),
        ({"timeout": "inf"}, "timeout", "number"),
        ({"max_retries": "1000"}, "max_retries", "100"),
        ({"priority": "1.5"}, "priority", "whole number"),
        ({"name": "x" * 256}, "name", "255"),
    ],
)
def test_so_does_what_is_wrong_with_the_rest(
    world: World, fields: dict[str, str], field: str, says: str
) -> None:
    world.worker()
    answer = submit(world, input__script="true", **fields)
    assert answer.status_code == 422
    assert says in field_error(answer, field) != ""


def test_the_settings_reach_the_task(world: World) -> None:
    worker = world.worker()
    answer = submit(
        world,
        input__script="true",
        where="worker",
        worker=worker.id,
        labels="ignored=then",
        timeout="1.5",
        silence="2",
        max_retries="0",
        priority="7",
        on_lost="requeue",
    )
    made(world, answer)
    (row,) = world.rows("tasks")
    assert (row["timeout_s"], row["no_output_timeout_s"], row["max_retries"]) == (90, 120, 0)
    assert (row["priority"], row["on_lost"]) == (7, "requeue")


def test_labels_without_a_value_match_any(world: World) -> None:
    worker = world.worker(labels={"gpu": "3060", "site": "attic"})
    made(world, submit(world, input__script="true", labels="gpu, site=attic"))
    assert worker.take()


def test_where_it_could_run_is_said(world: World) -> None:
    world.worker("lab-01")
    world.worker("gpu-box", tools=[DEPLOY])
    words = text_of(world.browser("operator").get("/tasks/new?tool=deploy"))
    assert "Where it could run 1 of 2" in words
    assert "lab-01 has no tool deploy" in words


def test_without_a_tool_it_says_where_tools_come_from(world: World) -> None:
    assert "Ask an admin to add one" in text_of(world.browser("operator").get("/tasks/new"))
    assert 'href="/workers/add"' in world.browser("admin").get("/tasks/new").text


def test_an_unknown_tool_in_the_address_shows_another_one(world: World) -> None:
    world.worker()
    assert world.browser("operator").get("/tasks/new?tool=nonsense").status_code == 200
    assert submit(world, "nonsense").location == "/tasks/new"


def test_a_viewer_makes_none(world: World) -> None:
    world.worker()
    assert world.browser("viewer").get("/tasks/new").status_code == 403
    assert submit(world, role="viewer", input__script="true").status_code == 403
    assert world.rows("tasks") == []


def test_without_the_token_of_the_page_nothing_is_made(world: World) -> None:
    world.worker()
    answer = world.browser("operator").post("/tasks/new", data={"tool": "shell", "input.script": "true"})
    assert answer.status_code == 400
    assert world.rows("tasks") == []


# ---- again, with changes


def test_the_form_is_filled_in_as_the_task_was(world: World) -> None:
    world.worker()
    task_id = world.queued_task(
        name="backup",
        input={"script": "restic backup\n"},
        labels={"gpu": None, "site": "attic"},
        timeout_s=90,
    )
    page = world.browser("operator").get(f"/tasks/new?from={task_id}").text
    assert "restic backup\n</textarea>" in page
    assert 'value="gpu site=attic"' in page
    assert 'value="1.5"' in page
    assert 'value="backup"' in page


def test_a_secret_that_is_left_empty_stays_as_it_was(world: World) -> None:
    worker = world.worker(tools=[DEPLOY])
    old = world.queued_task(tool="deploy", input={"target": "old", "token": "s3cr3t"})
    worker.report(worker.take())
    answer = submit(world, "deploy", **{"from": old}, input__target="new", input__token="")
    task = made(world, answer)
    assert task["retry_of"] == old
    assert worker.take()["data"]["task"]["input"] == {"target": "new", "token": "s3cr3t", "dry": False}


def test_another_tools_form_doesnt_get_the_secrets(world: World) -> None:
    worker = world.worker(tools=[DEPLOY, *TOOLS])
    old = world.queued_task(tool="deploy", input={"target": "old", "token": "s3cr3t"})
    worker.report(worker.take())
    task = made(world, submit(world, **{"from": old}, input__script="true"))
    assert task["retry_of"] is None
    assert worker.take()["data"]["task"]["input"] == {"script": "true"}


def test_a_strangers_task_is_no_pattern(world: World) -> None:
    world.worker()
    task_id = world.queued_task()
    stranger = world.browser("admin", world.other_organisation())
    assert stranger.get(f"/tasks/new?from={task_id}").status_code == 404
    assert press(stranger, "/tasks/new", tool="shell", **{"from": task_id}).status_code == 404
