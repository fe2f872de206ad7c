"""Bodies and queries that make no sense, on every route that reads one: refused, and nothing is stored."""

from __future__ import annotations

import json
from typing import Any

import pytest
from werkzeug.test import create_environ, run_wsgi_app

from tests.webapp.project_tasks import project
from tests.world import World, problem

MIB = 1024 * 1024


def send(world: World, path: str, data: bytes, **headers: str) -> Any:
    headers = {"Authorization": f"Bearer {world.api_token('operator')}", **headers}
    return world.app.test_client().post(f"/api/v1{path}", data=data, headers=headers)


def deep(levels: int) -> bytes:
    return b'{"tool":"noop","input":{"a":' + b"[" * levels + b"]" * levels + b"}}"


@pytest.fixture
def ready(world: World) -> World:
    """With a tool that takes anything, and a person who may submit."""
    world.worker()
    world.api_token("operator")
    return world


@pytest.mark.parametrize(
    ("name", "data"),
    {
        "nothing": b"",
        "no JSON": b"tool=noop",
        "half of it": b'{"tool": "noop"',
        "a list": b"[]",
        "a string": b'"noop"',
        "null": b"null",
        "NaN": b'{"tool": "noop", "input": {"a": NaN}}',
        "Infinity": b'{"tool": "noop", "input": {"a": -Infinity}}',
        "a number that no float holds": b'{"tool": "noop", "input": {"a": 1e999}}',
        "a number with 5000 digits": b'{"tool": "noop", "input": {"a": ' + b"9" * 5000 + b"}}",
        "an escaped NUL": b'{"tool": "noop", "input": {"a": "x\\u0000y"}}',
        "an escaped NUL in a name": b'{"tool": "noop", "input": {"a\\u0000": 1}}',
        "a raw NUL": b'{"tool": "noop", "input": {"a": "x\0y"}}',
        "half a surrogate pair": b'{"tool": "shell", "input": {"script": "echo \\ud800"}}',
        "half a surrogate pair in a name": b'{"tool": "noop", "input": {"\\udfff": 1}}',
        "bytes that aren't UTF-8": b'{"tool": "noop", "input": {"a": "\xff\xfe"}}',
        "nested a little too deep": deep(40),
        "nested much too deep": deep(100_000),
        "objects nested too deep": b'{"tool":"noop","input":' + b'{"a":' * 500 + b"1" + b"}" * 501,
    }.items(),
)
def test_a_body_that_makes_no_sense_is_refused_and_nothing_stored(
    ready: World, name: str, data: bytes
) -> None:
    with ready.unchanged():
        problem(send(ready, "/tasks", data), 422, "invalid")


def test_a_script_may_speak_of_nul_without_holding_one(ready: World) -> None:
    script = r"printf 'a\u0000b' | tr '\\u0000' x"
    answer = ready.submit(input={"script": script})
    assert answer.status_code == 201, answer.json
    assert answer.json["input"] == {"script": script}


def test_text_of_any_script_comes_back_as_it_was(ready: World) -> None:
    script = "echo 'Grüße, 你好, שלום, 🚗'"
    assert ready.submit(input={"script": script}).json["input"] == {"script": script}


def test_a_body_over_the_limit_is_refused_unread(ready: World) -> None:
    with ready.unchanged():
        problem(send(ready, "/tasks", b"x" * (2 * MIB + 1)), 413, "too-large")
        problem(send(ready, "/tasks", b'{"tool": "' + b"x" * 100 * MIB), 413, "too-large")


def test_a_body_whose_length_is_a_lie_is_read_no_further_than_the_limit(ready: World) -> None:
    class Endless:
        def __init__(self) -> None:
            self.given = 0

        def read(self, size: int = -1) -> bytes:
            self.given += size
            assert self.given < 20 * MIB, "read on and on"
            return b"x" * size

        readline = read

    headers = {"Authorization": f"Bearer {ready.api_token('operator')}", "Transfer-Encoding": "chunked"}
    environ = create_environ("/api/v1/tasks", method="POST", headers=headers)
    environ |= {"wsgi.input": Endless(), "wsgi.input_terminated": True}
    environ.pop("CONTENT_LENGTH", None)
    _, status, _ = run_wsgi_app(ready.app, environ)
    assert status.startswith("413")


def test_what_is_wrong_with_each_field_is_said(ready: World) -> None:
    body = problem(ready.submit(tool=5, priority="high", timeout_s=0), 422, "invalid")
    assert [row["field"] for row in body["errors"]] == ["tool", "priority", "timeout_s"]


def test_no_more_than_twenty_errors_are_listed(ready: World) -> None:
    body = problem(
        ready.api("operator", "POST", "/tasks", json={f"unknown_{number}": 1 for number in range(500)}),
        422,
        "invalid",
    )
    assert len(body["errors"]) == 20


@pytest.mark.parametrize(
    "path",
    [
        "/tasks?q=%00",
        "/tasks?after=%00",
        "/tasks?tool=a%00b",
        "/tasks?worker_id=%00",
        "/tasks/{task_id}/log?attempt=%00",
        "/workers?x=%00",
    ],
)
def test_a_nul_in_a_query_is_refused(ready: World, path: str) -> None:
    path = path.format(task_id=ready.queued_task())
    assert ready.api("viewer", "GET", path).status_code in (400, 404, 422)


def test_a_nul_in_an_agents_query_is_refused(ready: World) -> None:
    worker = ready.worker("lab-02")
    offer = ready.running_task(worker)
    answer = worker.call("GET", f"/agents/tasks/{offer['task_id']}/data?attempt_id=%00")
    assert answer.status_code in (400, 404, 422)


@pytest.mark.parametrize(
    ("query", "field"),
    [
        ("limit=0", "limit"),
        ("limit=201", "limit"),
        ("limit=-1", "limit"),
        ("limit=ten", "limit"),
        ("limit=1.5", "limit"),
        ("limit=" + "9" * 5000, "limit"),
        ("status=done", "status"),
    ],
)
def test_a_query_that_makes_no_sense_is_refused_by_name(ready: World, query: str, field: str) -> None:
    body = problem(ready.api("viewer", "GET", f"/tasks?{query}"), 422, "invalid")
    assert body["errors"][0]["field"] == field


def test_events_after_a_number_beyond_all_is_an_empty_list(ready: World) -> None:
    task_id = ready.queued_task()
    answer = ready.api("viewer", "GET", f"/tasks/{task_id}/events?after=999999999999999")
    assert answer.status_code == 200, answer.json
    assert answer.json == {"items": [], "next": None}
    for after in ("-1", "x", "9" * 16):
        problem(ready.api("viewer", "GET", f"/tasks/{task_id}/events?after={after}"), 422, "invalid")


def test_every_route_that_reads_a_body_refuses_what_isnt_one(ready: World) -> None:
    """Found in the URL map, so that new routes are covered."""
    worker = ready.worker("lab-02")
    offer = ready.running_task(worker)
    project_id = project(ready)
    tried = 0
    for rule in ready.app.url_map.iter_rules():
        methods = (rule.methods or set()) & {"POST", "PUT", "PATCH"}
        if not rule.rule.startswith("/api/") or not methods or "/hooks/" in rule.rule:
            continue  # a webhook's body is signed, and nothing else is looked at before its signature
        path = rule.rule.replace("<id:worker_id>", worker.id).replace("<id:task_id>", offer["task_id"])
        path = path.replace("<path:name>", "deploy").replace("<id:project_id>", project_id)
        assert "<" not in path, f"say what stands for the id in {rule.rule}"
        guard: str = getattr(ready.app.view_functions[rule.endpoint], "guard")  # noqa: B009
        headers = {"X-Worker-API-Key": worker.key}
        if guard.startswith("token:"):
            headers = {"Authorization": f"Bearer {ready.api_token('admin')}"}
        if path.endswith(("/approve", "/revoke", "/cancel", "/resume", "/rotate-key", "/break", "/webhooks")):
            continue  # these read no body
        for data in (b"[]", b"{", b"\xff", json.dumps({"a": "\0"}).encode(), deep(5000)):
            answer = ready.app.test_client().open(
                path, method=next(iter(methods)), data=data, headers=headers
            )
            assert answer.status_code == 422, (rule.rule, data[:20], answer.status_code)
            tried += 1
    assert tried >= 5 * 7
