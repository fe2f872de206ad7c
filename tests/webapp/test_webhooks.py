"""A remote tells of a push: once for each delivery, signed or not at all, with the rights of who made the webhook."""

from __future__ import annotations

import hmac
import json
import os
import re
import subprocess
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any
from urllib.parse import urlencode

import pytest
from sqlalchemy import delete

from tests.projects import IS_BLOCKED
from tests.webapp.hooks import (
    PUSH,
    github,
    gitlab,
    hooked,
    housekeeping,
    made,
    online,
    pulls,
    remembered,
    signed,
)
from tests.webapp.project_tasks import project
from tests.world import World, at_once, later, problem, until
from webapp.database import release, transaction
from webapp.projects import access, deliveries
from webapp.projects.models import Project

DOCS = Path(__file__).resolve().parents[2] / "docs" / "api.md"
NOBODY = "01900000-0000-7000-8000-00000000dead"


# ---- made and deleted by people


def test_a_webhook_is_made_its_secret_shown_once_and_it_is_deleted(world: World) -> None:
    hook = hooked(world)
    assert hook.secret.startswith("gsh_")
    assert hook.secret not in repr(world.stored()), "encrypted at rest"
    listed = world.api("viewer", "GET", f"/projects/{hook.project_id}/webhooks")
    [row] = listed.json["items"]
    assert (row["id"], row["url"], row["created_by"], row["called_at"]) == (
        hook.id,
        f"http://localhost/api/v1/hooks/{hook.id}",
        "operator",
        None,
    )
    assert hook.secret not in listed.text
    path = f"/projects/{hook.project_id}/webhooks/{hook.id}"
    assert world.api("operator", "DELETE", path).status_code == 204
    problem(world.api("operator", "DELETE", path), 404, "not-found")
    problem(hook.call(), 401, "unauthorized")
    assert [len(world.audited(f"webhook.{verb}")) for verb in ("create", "delete")] == [1, 1]
    assert hook.secret not in repr(world.rows("audit_entries"))


def test_who_may_make_and_see_webhooks(world: World) -> None:
    hook = hooked(world)
    path = f"/projects/{hook.project_id}/webhooks"
    others = world.other_organisation()
    for role in ("viewer", "operator"):
        world.api_token(role)
        world.api_token(role, others)
    with world.unchanged():
        problem(world.api("viewer", "POST", path), 403, "forbidden")
        problem(world.api("viewer", "DELETE", f"{path}/{hook.id}"), 403, "forbidden")
        for method, where in (("GET", path), ("POST", path), ("DELETE", f"{path}/{hook.id}")):
            problem(world.api("operator", method, where, others), 404, "not-found")
        problem(world.api("operator", "DELETE", f"{path}/{NOBODY}"), 404, "not-found")
        answer = world.api("operator", "POST", path, headers={"Idempotency-Key": "k"})
        problem(answer, 422, "invalid")


def test_a_webhook_of_another_project_isnt_deleted_through_this_one(world: World) -> None:
    hook, other = hooked(world), project(world, "other")
    problem(world.api("operator", "DELETE", f"/projects/{other}/webhooks/{hook.id}"), 404, "not-found")


def test_a_project_has_ten_at_most(world: World) -> None:
    project_id = project(world)
    for _ in range(10):
        made(world, project_id)
    with world.unchanged():
        problem(world.api("operator", "POST", f"/projects/{project_id}/webhooks"), 409, "conflict")


# ---- who calls


def test_a_signed_push_has_the_checkout_pulled(world: World) -> None:
    worker = online(world)
    hook = hooked(world, worker)
    assert hook.said() == "lab-01: pulled."
    [task] = pulls(world)
    assert (task["submitted_by"], task["status"], task["project_id"]) == (
        "operator",
        "queued",
        hook.project_id,
    )
    assert worker.take()["task_id"] == task["id"]
    [entry] = world.audited("webhook.push")
    assert (entry["actor"], entry["target_id"]) == ("operator", hook.project_id)


@pytest.mark.parametrize("headers_of", [github, gitlab])
def test_remotes_call_it_in_their_own_words(world: World, headers_of: Any) -> None:
    hook = hooked(world)
    data = json.dumps(PUSH).encode()
    headers = headers_of(hook, data)
    assert hook.send(data, headers).json == {"said": "lab-01: pulled."}
    assert len(pulls(world)) == 1
    wrong = {
        name: value for name, value in headers.items() if "Token" not in name and "Signature" not in name
    }
    problem(hook.send(data, wrong), 401, "unauthorized")


def test_the_lines_that_the_documentation_shows_are_taken(world: World) -> None:
    hook = hooked(world)
    [lines] = re.findall(r"^```\n(body=.*?)^```$", DOCS.read_text(), re.MULTILINE | re.DOTALL)
    script = 'curl() { printf "%s\\n" "$@"; }\n' + lines
    variables = {"PATH": os.environ["PATH"], "SECRET": hook.secret, "URL": "u"}
    said = subprocess.run(["sh", "-euc", script], env=variables, capture_output=True, text=True, check=True)
    words = said.stdout.splitlines()
    headers = dict(words[place + 1].split(": ") for place, word in enumerate(words) if word == "-H")
    assert hook.send(words[words.index("-d") + 1].encode(), headers).json == {"said": "lab-01: pulled."}


def test_githubs_form_is_read_too(world: World) -> None:
    hook = hooked(world)
    data = urlencode({"payload": json.dumps({**PUSH, "ref": "refs/heads/side"})}).encode()
    form = {"Content-Type": "application/x-www-form-urlencoded"}
    answer = hook.send(data, github(hook, data) | form)
    assert answer.json == {"said": "A push to side; this project follows main. Nothing is pulled."}


def test_a_ping_is_answered_and_other_events_do_nothing(world: World) -> None:
    hook = hooked(world)
    data = b'{"zen": "Half measures are as bad as nothing at all."}'
    ping = github(hook, data, **{"X-GitHub-Event": "ping"})
    assert hook.send(data, ping).json == {"said": "Pong: the webhook works."}
    issue = github(hook, data, **{"X-GitHub-Event": "issues", "X-GitHub-Delivery": "2"})
    assert "Only pushes" in hook.send(data, issue).json["said"]
    assert pulls(world) == []
    assert [row["event"] for row in remembered(world)] == ["ping", "issues"]


def test_whatever_is_wrong_gets_the_same_answer_and_leaves_nothing(world: World) -> None:
    hook, other = hooked(world), made(world, project(world, "other"))
    data = json.dumps(PUSH).encode()
    right = {"X-GSW-Delivery": "d1", "X-GSW-Signature-256": signed(hook.secret, data)}
    calls = [
        (hook.id, data, {}),
        (hook.id, data + b" ", right),
        (hook.id, data, right | {"X-GSW-Signature-256": signed(other.secret, data)}),
        (hook.id, data, right | {"X-GSW-Signature-256": signed("", data)}),
        (hook.id, data, right | {"X-GSW-Signature-256": "\u00e9" * 64}),
        (hook.id, data, right | {"X-GSW-Signature-256": ""}),
        (hook.id, data, {"X-GSW-Delivery": "d1", "X-Gitlab-Token": other.secret}),
        (hook.id, data, {"X-GSW-Delivery": "d1", "X-Gitlab-Token": hook.secret[:-1]}),
        (hook.id, data, {"X-GSW-Delivery": "d1", "X-Hub-Signature": "sha1=" + "0" * 40}),
        (other.id, data, right),
        (NOBODY, data, right),
        ("nonsense", data, right),
        ("x" * 300, data, right),
        (hook.id + "x", data, right),
        (hook.id.upper(), data, right),
    ]
    answers = []
    with world.unchanged():
        for webhook_id, body, headers in calls:
            answer = hook.send(body, headers, webhook_id)
            said = problem(answer, 401, "unauthorized")
            said.pop("error_id")
            answers.append((said, sorted(answer.headers.keys())))
    assert all(answer == answers[0] for answer in answers)
    assert hook.secret not in str(answers)


def test_what_isnt_there_costs_the_same_work(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    hook = hooked(world)
    work: list[str] = []
    decrypt, new = deliveries.security.Keyring.decrypt, hmac.new
    monkeypatch.setattr(
        deliveries.security.Keyring, "decrypt", lambda *a: work.append("decrypt") or decrypt(*a)
    )
    monkeypatch.setattr(deliveries.hmac, "new", lambda *a: work.append(f"hmac of {len(a[1])}") or new(*a))
    for webhook_id in (hook.id, NOBODY, "nonsense"):
        work.clear()
        problem(hook.send(b"12345", {"X-GSW-Signature-256": "0" * 64}, webhook_id), 401, "unauthorized")
        assert work == ["decrypt", "hmac of 5"], webhook_id


def test_a_delivery_needs_an_id_to_be_remembered_by(world: World) -> None:
    hook = hooked(world)
    with world.unchanged():
        for delivery in ("", "a b", "x" * 101, "\u00e9"):
            problem(hook.call(delivery=delivery), 422, "invalid")


def test_a_body_of_more_than_a_megabyte_is_refused(world: World) -> None:
    hook = hooked(world)
    with world.unchanged():
        problem(hook.call(b"x" * 1_000_001), 413, "too-large")
    assert hook.said(b"x" * 1_000_000) == "lab-01: pulled.", "a signed body may be anything"


def test_wrong_calls_from_one_address_are_slowed_down_and_right_ones_are_not(world: World) -> None:
    hook = hooked(world)
    answers = [hook.call(X_GSW_Signature_256="0" * 64).status_code for _ in range(61)]
    assert set(answers[:60]) == {401}
    assert answers[60] == 429
    assert hook.said() == "lab-01: pulled."


def test_only_calls_by_strangers_are_counted_as_theirs(new_world: Any) -> None:
    world = new_world(stranger_requests_per_minute=3)
    hook = hooked(world)
    right = [hook.call(delivery=f"d{number}").status_code for number in range(5)]
    assert right == [200] * 5
    wrong = [hook.call(X_GSW_Signature_256="0" * 64).status_code for _ in range(4)]
    assert wrong == [401, 401, 401, 429]
    assert hook.call(delivery="d6").status_code == 200, "whoever else calls from that address"


# ---- said twice


def test_the_same_delivery_again_gets_the_same_answer_and_does_nothing(world: World) -> None:
    worker = online(world)
    hook = hooked(world, worker)
    first = hook.call()
    offer = worker.take()
    worker.report(offer)
    with world.unchanged():
        assert hook.call().json == first.json
    assert hook.said(delivery="d2") != ""
    assert len(remembered(world)) == 2


def test_the_same_delivery_at_once_does_its_work_once(world: World) -> None:
    hook = hooked(world)
    answers = at_once(*[hook.call] * 4)
    assert [answer.status_code for answer in answers] == [200] * 4
    assert {answer.json["said"] for answer in answers} == {"lab-01: pulled."}
    assert len(pulls(world)) == len(remembered(world)) == len(world.audited("webhook.push")) == 1


def test_a_push_while_its_project_goes_waits_for_that_and_is_refused(world: World) -> None:
    hook = hooked(world)
    with ThreadPoolExecutor(1) as pool, world.app.app_context():
        with transaction() as session:
            access.locked(hook.project_id)
            call = pool.submit(hook.call)
            if session.get_bind().dialect.name == "postgresql":
                until(lambda: session.scalar(IS_BLOCKED))
            session.execute(delete(Project).where(Project.id == hook.project_id))
        release()
        problem(call.result(50), 401, "unauthorized")


def test_deliveries_of_two_webhooks_have_nothing_to_do_with_each_other(world: World) -> None:
    hook = hooked(world)
    other = made(world, hook.project_id)
    assert hook.said() == "lab-01: pulled."
    assert other.said() == "lab-01: a pull waits already."


def test_two_pushes_at_once_make_one_pull(world: World) -> None:
    hook = hooked(world)
    said = at_once(lambda: hook.said(delivery="d1"), lambda: hook.said(delivery="d2"))
    assert sorted(said) == ["lab-01: a pull waits already.", "lab-01: pulled."]
    assert len(pulls(world)) == 1


# ---- what is kept


def test_deliveries_are_listed_and_go_after_a_month(world: World) -> None:
    hook = hooked(world)
    hook.said()
    later(29 * 86400)
    hook.said(delivery="d2")
    listed = world.api("viewer", "GET", f"/projects/{hook.project_id}/webhooks").json
    assert [row["delivery_id"] for row in listed["deliveries"]] == ["d2", "d1"]
    assert listed["items"][0]["called_at"] == listed["deliveries"][0]["received_at"]
    later(2 * 86400)
    housekeeping(world)
    assert [row["delivery_id"] for row in remembered(world)] == ["d2"]
