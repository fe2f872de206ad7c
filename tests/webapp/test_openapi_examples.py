"""Every route is documented with an example, and the examples are true: each line of the page is given to a shell, sent to
a living app, and its answer held against the document."""

from __future__ import annotations

import argparse
import hmac
import json
import os
import re
import subprocess
from collections.abc import Iterator
from typing import Any
from urllib.parse import urlsplit

import pytest
from jsonschema import Draft202012Validator

from tests.webapp.callers import Living
from tests.webapp.test_openapi_calls import closed
from tests.world import WorkerOf, World
from webapp.api import openapi, reference

pytestmark = pytest.mark.parametrize("new_settings", ["sqlite"], indirect=True)

ORIGIN = "https://gsw.example"
# Which of the living an operation is about, where it isn't the worker that runs a task, or that task.
ABOUT_THE_STRANGER = {"workers_api_approve", "workers_api_remove"}
ABOUT_AN_ENDED_TASK = {"tasks_api_retry"}
ABOUT_THE_SPARE = {"projects_api_place"}
ABOUT_THE_CLONE = {"projects_agent_api_status"}
SHOWN_ONCE = {"api_key", "token", "secret"}


class Curl(argparse.ArgumentParser):
    """What the lines use of curl."""

    def __init__(self) -> None:
        super().__init__(prog="curl", exit_on_error=False)
        self.add_argument("url")
        self.add_argument("-X", dest="method")
        self.add_argument("-H", dest="headers", action="append", default=[])
        self.add_argument("-d", dest="data")


def words_of(line: str, variables: dict[str, str]) -> list[str]:
    """What a shell makes of a line."""
    said = subprocess.run(
        ["sh", "-euc", f"printf '%s\\0' {line}"],
        env={"PATH": os.environ["PATH"], **variables},
        stdout=subprocess.PIPE,
        check=True,
    ).stdout
    return said.decode().split("\0")[:-1]


def send(world: World, words: list[str]) -> Any:
    """Do as curl would, but in this process."""
    assert words[0] == "curl"
    asked = Curl().parse_args(words[1:])
    url = urlsplit(asked.url)
    assert f"{url.scheme}://{url.netloc}" == ORIGIN
    headers = [tuple(header.split(": ", 1)) for header in asked.headers]
    body = None if asked.data is None else {**json.loads(asked.data)}
    if body is not None and "wait_s" in body:
        body["wait_s"] = 0
    data = None if body is None else json.dumps(body)
    method = asked.method or ("POST" if data else "GET")
    path = f"{url.path}?{url.query}" if url.query else url.path
    return world.app.test_client().open(path, method=method, headers=headers, data=data)


def variables(living: Living, operation_id: str) -> dict[str, str]:
    return {
        "GSW_TOKEN": living.tokens["admin"],
        "GSW_WORKER_KEY": living.worker.key,
        "WORKER_ID": _worker(living, operation_id).id,
        "TASK_ID": living.ended if operation_id in ABOUT_AN_ENDED_TASK else living.offer["task_id"],
        "ATTEMPT_ID": (living.clone_offer if operation_id in ABOUT_THE_CLONE else living.offer)["attempt_id"],
        "PROJECT_ID": living.cloning_id if operation_id in ABOUT_THE_CLONE else living.project_id,
        "CREDENTIAL_ID": living.credential_id,
        "WEBHOOK_ID": living.webhook["id"],
        "SIGNATURE": hmac.new(living.webhook["secret"].encode(), b"", "sha256").hexdigest(),
        "NAME": f"of-{living.worker.id}",
        "KEY_ID": living.join_key_id,
    }


def _worker(living: Living, operation_id: str) -> WorkerOf:
    if operation_id in ABOUT_THE_STRANGER:
        return living.stranger
    return living.spare if operation_id in ABOUT_THE_SPARE else living.worker


@pytest.fixture
def document(world: World) -> dict[str, Any]:
    return dict(world.app.test_client().get("/api/v1/openapi.json").get_json())


def operations(document: dict[str, Any]) -> Iterator[tuple[str, dict[str, Any]]]:
    for path, item in document["paths"].items():
        for method, operation in item.items():
            yield f"{method.upper()} {path}", operation


def good_answer(operation: dict[str, Any]) -> tuple[int, dict[str, Any]]:
    status = min(operation["responses"])
    return int(status), operation["responses"][status]


def problems_of(document: dict[str, Any], schema: dict[str, Any], value: Any) -> list[str]:
    validator = Draft202012Validator({**document, **schema})
    return [f"{list(error.path)}: {error.message[:200]}" for error in validator.iter_errors(value)]


def wrong_with(document: dict[str, Any], operation: dict[str, Any], answer: Any) -> list[str]:
    """How an answer differs from the documented one."""
    status, said = good_answer(operation)
    if answer.status_code != status:
        return [f"answered {answer.status_code}, not {status}: {answer.get_data(as_text=True)[:300]}"]
    [media] = said.get("content", {None: None})
    if media != "application/json":
        return [] if media is None or answer.mimetype == media else [f"is {answer.mimetype}, not {media}"]
    return problems_of(document, said["content"][media]["schema"], answer.get_json())


@pytest.mark.timeout(240)
def test_every_line_of_the_page_gets_the_answer_that_is_documented(
    world: World, document: dict[str, Any]
) -> None:
    living = Living(world)
    with world.app.test_request_context():
        made = openapi.document()
    names = reference.group_names(made)
    lines = {call.id: call.curl for name in names for call in reference.group(made, name, ORIGIN).calls}
    wrong, strict = [], closed(document)
    for label, operation in operations(document):
        line = lines[operation["operationId"]]
        answer = send(world, words_of(line, variables(living, operation["operationId"])))
        wrong += [f"{label} {each}\n  {line}" for each in wrong_with(strict, operation, answer)]
        if not label.startswith("GET "):  # what only reads uses nothing up
            living.renew()
    assert not wrong, "\n".join(wrong)
    assert len(lines) == len(list(operations(document))) >= 35


def test_every_argument_and_body_has_an_example(document: dict[str, Any]) -> None:
    for label, operation in operations(document):
        for parameter in operation.get("parameters", []):
            if parameter["in"] == "path":
                assert parameter["example"], label
            if "example" in parameter:
                assert problems_of(document, parameter["schema"], parameter["example"]) == [], label
        bodies = operation.get("requestBody", {}).get("content", {})
        if "application/json" in bodies:
            body = bodies["application/json"]
            assert problems_of(document, body["schema"], body["example"]) == [], label


def test_every_answer_has_an_example_that_its_schema_allows(document: dict[str, Any]) -> None:
    strict = closed(document)
    for label, operation in operations(document):
        for status, said in operation["responses"].items():
            name = said.get("$ref", "").rpartition("/")[2]
            response = document["components"]["responses"][name] if name else said
            for media, part in response.get("content", {}).items():
                if "json" in media:
                    assert part["example"], f"{label} {status}"
                    assert problems_of(strict, part["schema"], part["example"]) == [], f"{label} {status}"


def test_a_key_makes_sense_only_where_something_is_made(world: World, document: dict[str, Any]) -> None:
    """What answers 201 is made once for each Idempotency-Key, or its answer carries a secret and refuses the key."""
    repeats = {f"{route.method} {route.path}": route.repeats for route in openapi.routes(world.app)}
    for label, operation in operations(document):
        status, said = good_answer(operation)
        named = json.dumps(said)
        members = (
            set(re.findall(r'"(\w+)":', json.dumps(_shape(document, said)))) if "$ref" in named else set()
        )
        if status == 201 or members & SHOWN_ONCE:
            assert repeats[label] == ("never" if members & SHOWN_ONCE else "once"), label
        takes_key = any(each["name"] == "Idempotency-Key" for each in operation.get("parameters", []))
        assert takes_key is (repeats[label] == "once"), label


def _shape(document: dict[str, Any], response: dict[str, Any]) -> Any:
    name = response["content"]["application/json"]["schema"]["$ref"].rpartition("/")[2]
    return document["components"]["schemas"][name].get("properties", {})


def test_the_first_line_names_what_is_there(world: World) -> None:
    worker = world.worker()
    task_id = world.queued_task()
    page = world.browser("viewer").get("/api/docs?about=tasks").get_data(as_text=True)
    found = re.search(r'<code id="setting">([^<]+)</code>', page)
    assert found
    assert found[1].split() == ["export", "GSW_TOKEN=gst_…", f"TASK_ID={task_id}"]
    agents = world.browser("viewer").get("/api/docs?about=agents").get_data(as_text=True)
    assert f"WORKER_ID={worker.id}" in agents
    assert "GSW_WORKER_KEY=gsw_…" in agents


def test_where_the_page_was_leads_to_where_it_is(world: World) -> None:
    answer = world.browser("viewer").get("/api?about=workers&endpoint=x&_external=1")
    assert (answer.status_code, answer.location) == (301, "/api/docs?about=workers")
    answer = world.app.test_client().get("/api/docs")
    assert (answer.status_code, answer.location) == (302, "/login?next=/api/docs")
