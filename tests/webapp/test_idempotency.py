"""`Idempotency-Key`: what is sent again because its answer got lost is made once."""

from __future__ import annotations

import threading
from collections.abc import Callable
from typing import Any

import pytest

from tests.world import World, at_once, later, problem, until
from webapp.api import idempotency
from webapp.auth.rules import Role
from webapp.database import release
from webapp.tasks import service

WISH: dict[str, Any] = {"tool": "shell", "input": {"script": "true"}, "name": "nightly"}
HOUR = 3600


def submit(world: World, key: str, role: Role = "operator", **wish: Any) -> Any:
    return world.api(role, "POST", "/tasks", json={**WISH, **wish}, headers={"Idempotency-Key": key})


def made(world: World) -> list[str]:
    return [str(row["name"]) for row in world.rows("tasks")]


@pytest.fixture
def world(new_world: Callable[..., World]) -> World:
    world = new_world()
    world.worker()
    for role in ("viewer", "operator"):
        world.api_token(role)
    return world


def test_the_same_request_again_gets_the_first_answer_and_makes_nothing(world: World) -> None:
    first = submit(world, "k1")
    assert (first.status_code, "Idempotency-Replayed" in first.headers) == (201, False)
    world.api("operator", "POST", f"/tasks/{first.json['id']}/cancel")  # what has happened since isn't in it
    with world.unchanged():
        again = submit(world, "k1")
    assert (again.status_code, again.data, again.content_type) == (201, first.data, first.content_type)
    assert again.headers["Idempotency-Replayed"] == "true"
    assert len(world.audited("task.submit")) == 1


def test_another_key_or_none_makes_another_task(world: World) -> None:
    submit(world, "k1")
    submit(world, "k2")
    world.submit(**WISH)
    world.submit(**WISH)
    assert made(world) == ["nightly"] * 4


def test_the_same_key_for_something_else_is_refused_with_what_to_do(world: World) -> None:
    first = submit(world, "k1")
    with world.unchanged():
        body = problem(submit(world, "k1", name="another"), 422, "idempotency-key-reused")
        other_path = world.api(
            "operator",
            "POST",
            f"/tasks/{first.json['id']}/retry",
            json=WISH,
            headers={"Idempotency-Key": "k1"},
        )
        problem(other_path, 422, "idempotency-key-reused")
    assert "new key" in body["detail"]


def test_a_retry_is_made_once(world: World) -> None:
    old = world.queued_task()
    world.api("operator", "POST", f"/tasks/{old}/cancel")
    answers = [
        world.api("operator", "POST", f"/tasks/{old}/retry", headers={"Idempotency-Key": "again"})
        for _ in range(3)
    ]
    assert {answer.json["id"] for answer in answers} == {answers[0].json["id"]}
    assert len(made(world)) == 2


def test_each_credential_has_keys_of_its_own(world: World) -> None:
    others = world.other_organisation()
    assert submit(world, "k1").json["id"] != submit(world, "k1", "admin").json["id"]
    answer = world.api("admin", "POST", "/tasks", others, json=WISH, headers={"Idempotency-Key": "k1"})
    problem(answer, 422, "invalid")  # they have no such tool: nothing of ours is shown to them


def test_what_failed_isnt_remembered(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    with world.unchanged():
        problem(submit(world, "k1", tool="no-such-tool"), 422, "invalid")
        problem(submit(world, "k1", max_retries="many"), 422, "invalid")
    with monkeypatch.context() as patched, world.unchanged():
        patched.setattr("webapp.tasks.service.events.record", lambda *_: 1 / 0)
        problem(submit(world, "k1"), 500, "broken")
    assert submit(world, "k1").status_code == 201
    assert made(world) == ["nightly"]


def test_what_dies_before_its_commit_has_made_nothing_and_holds_up_nothing(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As a kill would leave it: the task and the answer are in one transaction."""
    answers_with = idempotency._ANSWER
    with monkeypatch.context() as patched, world.unchanged():
        patched.setattr(idempotency, "_ANSWER", None)
        assert submit(world, "k1").status_code == 500
    assert idempotency._ANSWER is answers_with
    assert submit(world, "k1").status_code == 201


def test_two_at_once_make_one_task(world: World) -> None:
    for number in range(10):
        answers = at_once(*[lambda key=f"k{number}": submit(world, key)] * 4)
        assert {answer.status_code for answer in answers} == {201}
        assert len({answer.json["id"] for answer in answers}) == 1
        assert sorted("Idempotency-Replayed" in answer.headers for answer in answers) == [False] + [True] * 3
    assert len(made(world)) == 10


@pytest.mark.parametrize("first_one_fails", [False, True])
def test_one_that_comes_while_the_first_is_at_work_waits_for_it(
    world: World, monkeypatch: pytest.MonkeyPatch, first_one_fails: bool
) -> None:
    """Two requests, two connections: the second is in the database already when the first commits, or gives up."""
    at_work, go_on = threading.Event(), threading.Event()
    submits = service.submit

    def slow(*args: Any, **kwargs: Any) -> str:
        is_first = not at_work.is_set()
        at_work.set()
        made = submits(*args, **kwargs)
        if is_first:
            assert go_on.wait(30)
            if first_one_fails:
                raise ZeroDivisionError
        return made

    monkeypatch.setattr("webapp.tasks.service.submit", slow)
    answers: dict[str, Any] = {}
    threads = [
        threading.Thread(target=lambda name=name: answers.update({name: submit(world, "k1")}))
        for name in ("first", "second")
    ]
    threads[0].start()
    assert at_work.wait(30)
    threads[1].start()
    until(threads[1].is_alive)
    go_on.set()
    for thread in threads:
        thread.join(30)
    assert answers["first"].status_code == (500 if first_one_fails else 201)
    assert answers["second"].status_code == 201
    assert ("Idempotency-Replayed" in answers["second"].headers) is not first_one_fails
    assert len(made(world)) == 1


def test_a_key_is_kept_for_a_day_and_then_removed(world: World) -> None:
    first = submit(world, "k1").json["id"]
    later(23 * HOUR)
    assert submit(world, "k1").json["id"] == first
    submit(world, "k2")
    later(2 * HOUR)
    assert submit(world, "k1").json["id"] != first  # over, even where housekeeping hasn't been yet
    later(23 * HOUR)
    with world.app.app_context():
        assert idempotency.forget_old() is False
        release()
    assert [row["key"] for row in world.rows("repeated_requests")] == ["k1"]


def test_old_keys_go_in_batches(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(idempotency, "BATCH", 2)
    for number in range(3):
        submit(world, f"k{number}")
        later(1)
    later(25 * HOUR)
    with world.app.app_context():
        assert [idempotency.forget_old() for _ in range(2)] == [True, False]
        release()
    assert world.rows("repeated_requests") == []


@pytest.mark.parametrize("key", ["", "x" * 256, "tab\there", "grün"])
def test_a_key_that_cant_be_one_is_refused(world: World, key: str) -> None:
    with world.unchanged():
        body = problem(submit(world, key), 422, "invalid")
    assert body["errors"][0]["field"] == "Idempotency-Key"
    assert "255" in body["detail"]


@pytest.mark.parametrize("key", ["x", "x" * 255, '"8e03978e-40d5-43dd-bc93-6894a57f9324"', "a b;c=~"])
def test_a_key_may_be_any_printable_text(world: World, key: str) -> None:
    assert submit(world, key).json["id"] == submit(world, key).json["id"]


def test_only_who_may_make_it_may_see_it_again(world: World) -> None:
    submit(world, "k1")
    with world.unchanged():
        problem(submit(world, "k1", "viewer"), 403, "forbidden")
        answer = world.app.test_client().post("/api/v1/tasks", json=WISH, headers={"Idempotency-Key": "k1"})
        problem(answer, 401, "unauthorized")


def test_an_answer_with_a_secret_is_never_kept(world: World) -> None:
    said = {"name": "lab-02", "machine_id": "m" * 16, "nonce": "n" * 16}
    with world.unchanged():
        answer = world.app.test_client().post(
            "/api/v1/workers/register", json=said, headers={"Idempotency-Key": "k1"}
        )
        problem(answer, 422, "invalid")
    assert "secret" in answer.get_data(as_text=True)


def test_no_secret_of_a_request_is_kept_nor_anything_to_guess_it_by(world: World) -> None:
    canary = "hunter2-canary"
    answer = submit(world, "k1", input={"script": "true", "env": {"PASSWORD": canary}})
    assert answer.status_code == 201
    [row] = world.rows("repeated_requests")
    assert canary not in repr(row)
    world.app.secret_key = "another"
    problem(
        submit(world, "k1", input={"script": "true", "env": {"PASSWORD": canary}}),
        422,
        "idempotency-key-reused",
    )
