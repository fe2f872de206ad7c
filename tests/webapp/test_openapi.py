"""The OpenAPI document: everything that is there is in it, and nothing else; and the page made of it."""

from __future__ import annotations

import re
import shlex
from collections.abc import Iterator
from typing import Any

import pytest
import schemathesis
from flask import Flask
from jsonschema import Draft202012Validator

from tests.world import World
from webapp.api import blueprint as api_blueprint
from webapp.api import openapi, reference
from webapp.auth.guards import public

pytestmark = pytest.mark.parametrize("new_settings", ["sqlite"], indirect=True)


@pytest.fixture
def document(world: World) -> dict[str, Any]:
    answer = world.app.test_client().get("/api/v1/openapi.json")
    assert answer.status_code == 200
    assert answer.content_type == "application/json"
    return dict(answer.get_json())


def operations(document: dict[str, Any]) -> Iterator[tuple[str, str, dict[str, Any]]]:
    for path, item in document["paths"].items():
        for method, operation in item.items():
            yield method.upper(), path, operation


def routes(app: Flask) -> set[tuple[str, str]]:
    """(method, path) of all of the API but sockets, from the URL map alone."""
    found = set()
    for rule in app.url_map.iter_rules():
        if rule.rule.startswith("/api/v1/") and not rule.websocket:
            path = re.sub(r"<(?:\w+:)?(\w+)>", r"{\1}", rule.rule.removeprefix("/api/v1"))
            found |= {(method, path) for method in (rule.methods or set()) - {"HEAD", "OPTIONS"}}
    return found


def test_every_route_is_in_the_document_and_every_one_in_it_exists(
    world: World, document: dict[str, Any]
) -> None:
    assert {(method, path) for method, path, _ in operations(document)} == routes(world.app)
    assert len(routes(world.app)) >= 27


def test_a_route_that_says_nothing_of_itself_is_refused(world: World) -> None:
    silent = api_blueprint("silent", __name__)
    silent.get("/silent")(public(lambda: ""))
    app = Flask("other")
    app.register_blueprint(silent)
    with pytest.raises(LookupError, match="/api/v1/silent"):
        list(openapi.routes(app))


def test_a_route_with_a_guard_that_nobody_knows_is_refused(world: World) -> None:
    with pytest.raises(KeyError):
        openapi._security("moon:viewer")


def test_the_document_is_valid_openapi_3_1(world: World, document: dict[str, Any]) -> None:
    assert document["openapi"].startswith("3.1")
    schemathesis.openapi.from_dict(document).validate()
    for name, schema in document["components"]["schemas"].items():
        Draft202012Validator.check_schema(schema)
        assert schema["type"] == "object", name


def test_every_reference_leads_somewhere_and_every_schema_is_used(
    world: World, document: dict[str, Any]
) -> None:
    for kind in ("schemas", "responses"):
        named = set(re.findall(rf"'#/components/{kind}/(\w+)'", repr(document)))
        assert named == set(document["components"][kind])


def test_names_of_operations_are_theirs_alone(world: World, document: dict[str, Any]) -> None:
    ids = [operation["operationId"] for _, _, operation in operations(document)]
    assert len(set(ids)) == len(ids)
    groups = {tag["name"] for tag in document["tags"]}
    assert {tag for _, _, operation in operations(document) for tag in operation["tags"]} == groups


def test_security_follows_from_the_guards(world: World, document: dict[str, Any]) -> None:
    said = {f"{method} {path}": operation["security"] for method, path, operation in operations(document)}
    assert said["POST /tasks"] == [{"token": []}]
    assert said["POST /workers/{worker_id}/sync"] == [{"workerKey": []}]
    assert said["GET /agents/{agent_id}/cc-status"] == [{"token": []}, {"workerKey": []}]
    public = {name for name, security in said.items() if security == []}
    assert public == {
        "POST /workers/register",
        "GET /openapi.json",
        "GET /agents/release",
        "POST /hooks/{webhook_id}",
    }


def test_errors_are_problem_documents(world: World, document: dict[str, Any]) -> None:
    for method, path, operation in operations(document):
        for status, said in operation["responses"].items():
            name = said.get("$ref", "").rpartition("/")[2]
            response = document["components"]["responses"][name] if name else said
            if status >= "400":
                assert list(response["content"]) == ["application/problem+json"], (method, path, status)
            assert response["description"], (method, path, status)
    problem = world.api("viewer", "GET", "/tasks?limit=0").get_json()
    Draft202012Validator({**document, "$ref": "#/components/schemas/Problem"}).validate(problem)


def test_every_json_body_has_an_example_that_its_schema_allows(
    world: World, document: dict[str, Any]
) -> None:
    schemas = document["components"]["schemas"]
    tried = 0
    for method, path, operation in operations(document):
        content = operation.get("requestBody", {}).get("content", {})
        if "application/json" in content:
            name = content["application/json"]["schema"]["$ref"].rpartition("/")[2]
            [example] = schemas[name]["examples"]
            validator = Draft202012Validator({**document, "$ref": f"#/components/schemas/{name}"})
            assert list(validator.iter_errors(example)) == [], f"{method} {path}"
            tried += 1
    assert tried >= 9


def test_the_examples_are_what_the_server_takes(world: World) -> None:
    """The bodies' own classes check more than their schemas say."""
    bodies = [body for route in openapi.routes(world.app) for body in route.says.bodies]
    models = [body for body in bodies if isinstance(body, type)]
    assert len(models) >= 9
    for model in models:
        [example] = model.model_config["json_schema_extra"]["examples"]
        assert model.model_validate(example), model


def test_the_document_is_made_once(world: World) -> None:
    with world.app.app_context():
        assert openapi.document() is openapi.document()


# ---- the page


def test_the_page_shows_every_operation_with_a_line_to_paste(world: World, document: dict[str, Any]) -> None:
    browser = world.browser("viewer")
    shown = "".join(
        browser.get(f"/api/docs?about={tag['name'].lower()}").get_data(as_text=True)
        for tag in document["tags"]
    )
    for method, path, operation in operations(document):
        assert f'id="{operation["operationId"]}"' in shown, f"{method} {path}"
        assert f'id="curl-{operation["operationId"]}"' in shown, f"{method} {path}"
        assert operation["summary"].replace("'", "&#39;") in shown
    targets = set(re.findall(r'href="#(\w+)"', shown)) - {"main"}
    assert targets <= set(re.findall(r'id="(\w+)"', shown))


def test_the_page_names_shapes_once_as_links(world: World) -> None:
    page = world.browser("viewer").get("/api/docs?about=workers").get_data(as_text=True)
    assert 'list of <a href="#WorkerAnswer">WorkerAnswer</a></span>' in page
    assert '<a href="#MetricsAnswer">MetricsAnswer</a> or null</span>' in page
    assert "`" not in page


def test_a_group_that_isnt_there_is_the_first_one(world: World) -> None:
    page = world.browser("viewer").get("/api/docs?about=%3Cb%3E").get_data(as_text=True)
    assert 'aria-current="page">Tasks</a>' in page


def test_a_line_to_paste_says_what_a_shell_makes_the_call_of(world: World, document: dict[str, Any]) -> None:
    with world.app.test_request_context():
        made = openapi.document()
    calls = {call.id: call for call in reference.group(made, "Tasks", "https://gsw.example").calls}
    words = shlex.split(calls["tasks_api_submit"].curl)
    assert words[:5] == ["curl", "-X", "POST", "-H", "Authorization: Bearer $GSW_TOKEN"]
    assert words[-1] == "https://gsw.example/api/v1/tasks"
    assert shlex.split(calls["tasks_api_show"].curl)[-1] == "https://gsw.example/api/v1/tasks/$TASK_ID"
    assert calls["tasks_api_list_tasks"].curl.endswith('/api/v1/tasks?status=failed&limit=20"')


IN_WORDS: list[tuple[dict[str, Any], str]] = [
    ({"type": "string"}, "text"),
    ({"type": "string", "maxLength": 64}, "text, at most 64 characters"),
    ({"type": "string", "format": "uuid"}, "id"),
    ({"type": "string", "format": "date-time"}, "time"),
    ({"type": "integer", "minimum": 1, "maximum": 200}, "whole number, 1 to 200"),
    ({"type": "integer", "minimum": 0}, "whole number, 0 or more"),
    ({"type": "number", "maximum": 2**53}, "number, at most 9007199254740992"),
    ({"type": "array", "items": {"$ref": "#/components/schemas/Offer"}}, "list of Offer"),
    ({"anyOf": [{"type": "boolean"}, {"type": "null"}]}, "true or false or null"),
    ({"enum": ["fail", "requeue"], "type": "string"}, "fail, requeue"),
    ({"type": "object", "additionalProperties": {"type": "string"}}, "object of text"),
    ({"type": "object", "additionalProperties": True}, "object"),
    ({}, "anything"),
]


@pytest.mark.parametrize(("schema", "words"), IN_WORDS)
def test_types_are_said_in_words(world: World, schema: dict[str, Any], words: str) -> None:
    assert reference.in_words(schema) == words
