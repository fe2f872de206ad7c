"""Who an agent's routes let in: an approved worker with its own key. Everybody else is told the same."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import Any

import pytest

from tests.webapp.refusals import refusal_of
from tests.world import WorkerOf, World, problem
from webapp import security
from webapp.security import new_token, read_token


def calls(worker: WorkerOf, offer: dict[str, Any]) -> dict[str, Callable[[], Any]]:
    """Each of an agent's routes, called properly."""
    task = f"/agents/tasks/{offer['task_id']}"
    return {
        "sync": worker.sync,
        "report": lambda: worker.report(offer),
        "data": lambda: worker.call("GET", f"{task}/data"),
        "chunk": lambda: worker.send_log(offer, b"hello\n"),
        "status": lambda: worker.call("PUT", f"{task}/status", json={"attempt_id": offer["attempt_id"]}),
    }


def wrong_keys(world: World, key: str) -> dict[str, str]:
    return {
        "none": "",
        "malformed": "gsw_nonsense",
        "too long": key + "a",
        "another kind's": world.api_token("admin"),
        "unknown": new_token("gsw").text,
        "wrong checksum": key[:-1] + ("a" if key[-1] != "a" else "b"),
        "not ASCII": key[:-1] + "é",
        "spaces around": "",
    }


def with_another_secret(key: str) -> str:
    """The right id, a wrong secret, and the checksum that goes with it."""

    body = key[:13] + new_token("gsw").text[13:-6]
    return body + security._checksum(body)


def test_every_route_answers_a_wrong_key_with_the_same_401_and_stores_nothing(world: World) -> None:
    worker = world.worker()
    offer = world.running_task(worker)
    keys = [*wrong_keys(world, worker.key).values(), with_another_secret(worker.key)]
    with world.unchanged():
        answers = [call() for key in keys for call in calls(replace(worker, key=key), offer).values()]
    for answer in answers:
        problem(answer, 401, "unauthorized")
    assert len({refusal_of(answer) for answer in answers}) == 1
    assert len({str(sorted(answer.headers.items())) for answer in answers}) == 1


def test_a_key_with_the_right_id_and_a_wrong_secret_is_well_formed(world: World) -> None:
    """Or the test before this one would prove nothing."""
    worker = world.worker()
    assert read_token(with_another_secret(worker.key), "gsw") is not None
    assert with_another_secret(worker.key)[:13] == worker.key[:13]


def test_many_wrong_keys_from_an_address_are_slowed_down_but_the_right_one_still_passes(world: World) -> None:
    worker = world.worker()
    guessing = replace(worker, key=new_token("gsw").text)
    answers = [guessing.sync() for _ in range(61)]
    assert {answer.status_code for answer in answers[:60]} == {401}
    assert problem(answers[60], 429, "too-many")
    assert int(answers[60].headers["Retry-After"]) > 0
    assert worker.sync().status_code == 200


def test_a_pending_workers_key_is_a_403_that_says_what_to_do(world: World) -> None:
    waiting, approved = world.registered("waiting"), world.worker("approved")
    offer = world.running_task(approved)
    with world.unchanged():
        for call in calls(waiting, offer).values():
            assert "approv" in problem(call(), 403, "worker-pending")["detail"]


def test_a_revoked_workers_key_is_a_403_from_the_very_next_request(world: World) -> None:
    worker = world.worker()
    offer = world.running_task(worker)
    assert worker.sync(held=[offer["attempt_id"]]).status_code == 200
    assert world.api("admin", "POST", f"/workers/{worker.id}/revoke").status_code == 200
    with world.unchanged():
        for call in calls(worker, offer).values():
            problem(call(), 403, "worker-revoked")


def test_a_removed_workers_key_is_unknown(world: World) -> None:
    worker = world.registered()
    assert world.api("admin", "DELETE", f"/workers/{worker.id}").status_code == 204
    problem(worker.sync(), 401, "unauthorized")


def test_another_workers_id_in_the_path_is_a_403(world: World) -> None:
    mine, theirs = world.worker("lab-01"), world.worker("lab-02")
    with world.unchanged():
        for path in (f"/workers/{theirs.id}/sync", f"/workers/{theirs.id}/report-result"):
            problem(mine.call("POST", path, json={"session_id": "s"}), 403, "forbidden")


def test_an_id_that_isnt_one_is_a_404(world: World) -> None:
    worker = world.worker()
    for wrong in ("x", "0", worker.id.upper(), worker.id + "0", "..%2f..", "%00"):
        answer = worker.call("POST", f"/workers/{wrong}/sync", json={"session_id": "s"})
        assert answer.status_code in (400, 404), wrong


def test_an_api_token_opens_no_route_of_an_agent(world: World) -> None:
    worker = world.worker()
    offer = world.running_task(worker)
    token = world.api_token("admin")
    for headers in ({"Authorization": f"Bearer {token}"}, {"X-Worker-API-Key": token}):
        answer = world.app.test_client().post(f"/api/v1/workers/{worker.id}/sync", json={}, headers=headers)
        problem(answer, 401, "unauthorized")
        answer = world.app.test_client().get(f"/api/v1/agents/tasks/{offer['task_id']}/data", headers=headers)
        problem(answer, 401, "unauthorized")


@pytest.mark.parametrize("way", ["as bearer", "as key"])
def test_a_worker_key_opens_no_route_of_a_person(world: World, way: str) -> None:
    worker = world.worker()
    task_id = world.queued_task()
    headers = {"as bearer": {"Authorization": f"Bearer {worker.key}"}, "as key": worker.headers}[way]
    with world.unchanged():
        for method, path in [
            ("GET", "/tasks"),
            ("POST", "/tasks"),
            ("GET", f"/tasks/{task_id}"),
            ("POST", f"/tasks/{task_id}/cancel"),
            ("GET", "/workers"),
            ("PATCH", f"/workers/{worker.id}"),
            ("POST", f"/workers/{worker.id}/approve"),
            ("POST", f"/workers/{worker.id}/revoke"),
            ("DELETE", f"/workers/{worker.id}"),
        ]:
            answer = world.app.test_client().open(f"/api/v1{path}", method=method, headers=headers, json={})
            problem(answer, 401, "unauthorized")


def test_a_cookie_means_nothing_to_the_api(world: World) -> None:
    worker = world.worker()
    admin = world.browser("admin")
    problem(admin.get("/api/v1/tasks"), 401, "unauthorized")
    problem(admin.post(f"/api/v1/workers/{worker.id}/revoke"), 401, "unauthorized")
    problem(admin.post(f"/api/v1/workers/{worker.id}/sync", json={}), 401, "unauthorized")
    both = admin.get("/api/v1/tasks", headers={"Authorization": f"Bearer {world.api_token('viewer')}"})
    assert both.status_code == 200


def test_neither_key_nor_token_is_ever_stored_or_logged_in_clear(
    world: World, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level("DEBUG")
    worker = world.worker()
    token, join = world.api_token("admin"), world.join_token()
    worker.sync()
    replace(worker, key=with_another_secret(worker.key)).sync()
    everything = repr(world.stored()) + caplog.text + repr([record.__dict__ for record in caplog.records])
    for secret in (worker.key, token, join):
        assert secret[13:] not in everything
