"""A machine registers: pending without a join token, approved with one, the same again when the answer got lost."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

from tests.webapp.refusals import refusal_of
from tests.world import TOOLS, WorkerOf, World, at_once, later, problem

MACHINE = {
    "name": "lab-01",
    "hostname": "lab-01.lan",
    "platform": "Debian 12, x86_64",
    "machine_id": "0123456789abcdef",
    "nonce": "fedcba9876543210",
    "agent_version": "0.1.0",
    "labels": {"site": "attic"},
    "tools": TOOLS,
    "slots": 2,
    "plan_limit": 1,
}


def register(world: World, **said: Any) -> Any:
    return world.app.test_client().post("/api/v1/workers/register", json={**MACHINE, **said})


def as_worker(world: World, answer: Any) -> WorkerOf:
    assert answer.status_code == 201, answer.json
    return WorkerOf(world, answer.json["worker_id"], answer.json["api_key"], answer.json["code"])


def test_without_a_join_token_a_worker_is_pending_with_the_code_that_the_page_shows(world: World) -> None:
    answer = register(world)
    assert answer.status_code == 201
    assert answer.json["status"] == "pending"
    shown = world.api("viewer", "GET", f"/workers/{answer.json['worker_id']}").json
    assert shown["code"] == answer.json["code"]
    assert shown["shown_status"] == "pending"
    assert world.rows("tools") == []
    [entry] = world.audited("worker.register")
    assert (entry["target"], entry["address"]) == ("lab-01", "127.0.0.1")


def test_with_a_join_token_it_is_approved_at_once_with_the_tokens_labels(world: World) -> None:
    token = world.join_token(labels={"gpu": "3060"}, admins_only=True)
    answer = register(world, join_token=token)
    assert answer.json["status"] == "approved"
    shown = world.api("viewer", "GET", f"/workers/{answer.json['worker_id']}").json
    assert shown["labels"] == {"site": "attic", "gpu": "3060"}
    assert shown["admins_only"] is True
    assert as_worker(world, answer).sync().status_code == 200
    assert {row["name"] for row in world.rows("tools")} == {"shell", "noop"}


def test_a_join_token_may_set_the_slots(world: World) -> None:
    worker = as_worker(world, register(world, slots=2, join_token=world.join_token(slots=7)))
    assert worker.sync(tools=TOOLS, slots=2).status_code == 200
    assert world.api("viewer", "GET", f"/workers/{worker.id}").json["slots"] == 7


def test_a_join_token_that_doesnt_approve_leaves_its_worker_pending_where_it_belongs(world: World) -> None:
    others = world.other_organisation()
    token = world.join_token(organisation_id=others, labels={"gpu": "3060"}, slots=5, approves=False)
    worker = as_worker(world, register(world, join_token=token))
    problem(worker.sync(), 403, "worker-pending")
    shown = world.api("viewer", "GET", f"/workers/{worker.id}", others).json
    assert (shown["status"], shown["code"], shown["slots"]) == ("pending", worker.code, 5)
    assert shown["labels"] == {"site": "attic", "gpu": "3060"}
    assert world.rows("tools") == []
    assert world.api("admin", "POST", f"/workers/{worker.id}/approve", others).status_code == 200
    assert worker.sync().status_code == 200


def test_a_lost_answer_doesnt_cost_a_join_token_that_doesnt_approve_either(world: World) -> None:
    token = world.join_token(uses=1, approves=False)
    first = register(world, join_token=token)
    again = register(world, join_token=token)
    assert again.status_code == 201, again.json
    assert (again.json["worker_id"], again.json["status"]) == (first.json["worker_id"], "pending")
    problem(register(world, nonce="another-nonce", join_token=token), 401, "join-token-refused")


def test_a_join_token_enrols_in_its_own_organisation(world: World) -> None:
    others = world.other_organisation()
    answer = register(world, join_token=world.join_token(organisation_id=others))
    worker_id = answer.json["worker_id"]
    problem(world.api("viewer", "GET", f"/workers/{worker_id}"), 404, "not-found")
    assert world.api("viewer", "GET", f"/workers/{worker_id}", others).status_code == 200


@pytest.mark.parametrize(
    "kind", ["expired", "used up", "wrong checksum", "wrong secret", "other prefix", "unknown", "empty"]
)
def test_a_join_token_that_is_no_good_is_refused_and_leaves_nothing(world: World, kind: str) -> None:
    token = world.join_token(uses=1, hours=1)
    if kind == "expired":
        later(3601)
    elif kind == "used up":
        assert (
            register(
                world, nonce="another-machine", machine_id="another-machine", join_token=token
            ).status_code
            == 201
        )
    elif kind == "wrong checksum":
        token = token[:-1] + ("a" if token[-1] != "a" else "b")
    elif kind == "wrong secret":
        token = token[:13] + world.join_token()[13:]
    elif kind == "other prefix":
        token = world.api_token("admin")
    elif kind == "unknown":
        token = "gsj_" + "x" * 58
    elif kind == "empty":
        token = " "
    with world.unchanged():
        body = problem(register(world, join_token=token), 401, "join-token-refused")
    assert token.strip() not in str(body) or not token.strip()


def test_refusals_of_join_tokens_dont_tell_why(world: World) -> None:
    expired = world.join_token(hours=1)
    later(3601)
    bodies = {
        refusal_of(register(world, join_token=token)) for token in (expired, "gsj_" + "x" * 58, "nonsense")
    }
    assert len(bodies) == 1


def test_a_join_token_for_one_worker_enrols_one_though_two_come_at_once(world: World) -> None:
    token = world.join_token(uses=1)
    nonces = ["first-machine", "second-machine"]
    answers = at_once(*[lambda n=n: register(world, nonce=n, machine_id=n, join_token=token) for n in nonces])
    assert sorted(answer.status_code for answer in answers) == [201, 401]
    assert len(world.rows("workers")) == 1


def test_said_twice_before_the_key_was_used_it_is_the_same_worker_with_a_fresh_key(world: World) -> None:
    first = as_worker(world, register(world))
    second = as_worker(world, register(world))
    assert (second.id, second.code) == (first.id, first.code)
    assert second.key != first.key
    problem(first.sync(), 401, "unauthorized")
    problem(second.sync(), 403, "worker-pending")
    assert len(world.rows("workers")) == 1


def test_a_lost_answer_doesnt_cost_the_join_token(world: World) -> None:
    """The agent repeats what it got no answer to: the token was used up by the very same registration."""
    token = world.join_token(uses=1)
    first = register(world, join_token=token)
    again = register(world, join_token=token)
    assert again.status_code == 201, again.json
    assert (again.json["worker_id"], again.json["status"]) == (first.json["worker_id"], "approved")
    problem(register(world, nonce="another-nonce", join_token=token), 401, "join-token-refused")


def test_a_pending_worker_that_comes_again_with_a_join_token_is_approved(world: World) -> None:
    first = register(world)
    again = register(world, join_token=world.join_token())
    assert (again.json["worker_id"], again.json["status"]) == (first.json["worker_id"], "approved")


def test_another_organisations_join_token_never_approves_a_worker_here(world: World) -> None:
    pending = register(world)
    token = world.join_token(organisation_id=world.other_organisation())
    enrolled = register(world, join_token=token)
    assert enrolled.json["worker_id"] != pending.json["worker_id"]
    shown = world.api("viewer", "GET", f"/workers/{pending.json['worker_id']}").json
    assert shown["status"] == "pending"


def test_after_its_first_sync_the_same_machine_is_a_new_worker(world: World) -> None:
    first = as_worker(world, register(world, join_token=world.join_token()))
    assert first.sync(tools=TOOLS).status_code == 200
    second = as_worker(world, register(world))
    assert second.id != first.id
    assert first.sync().status_code == 200


def test_another_nonce_is_another_worker(world: World) -> None:
    first = as_worker(world, register(world))
    second = as_worker(world, register(world, nonce="something-else"))
    assert second.id != first.id
    problem(first.sync(), 403, "worker-pending")


def test_a_revoked_worker_that_comes_again_is_a_new_one(world: World) -> None:
    first = as_worker(world, register(world))
    assert world.api("admin", "POST", f"/workers/{first.id}/revoke").status_code == 200
    assert as_worker(world, register(world)).id != first.id


def test_past_the_cap_nobody_else_waits_for_approval(new_world: Callable[..., World]) -> None:
    world = new_world(pending_workers=2)
    for nonce in ("machine-1", "machine-2"):
        assert register(world, nonce=nonce).status_code == 201
    with world.unchanged():
        answer = register(world, nonce="machine-3")
        problem(answer, 429, "too-many")
        assert answer.headers["Retry-After"]
    assert register(world, nonce="machine-2").status_code == 201, "one that waits already may ask again"


def test_strangers_who_wait_dont_keep_out_a_machine_with_a_join_token(
    new_world: Callable[..., World],
) -> None:
    world = new_world(pending_workers=1)
    assert register(world, nonce="a-stranger").status_code == 201
    assert register(world, join_token=world.join_token()).status_code == 201


def test_a_flood_of_registrations_from_one_address_is_slowed_down(new_world: Callable[..., World]) -> None:
    world = new_world(registrations_per_minute=3)
    answers = [register(world) for _ in range(4)]
    assert [answer.status_code for answer in answers] == [201, 201, 201, 429]
    problem(answers[-1], 429, "too-many")


LONG = "x" * 256
SCHEMA = {"type": "object"}


NONSENSE: dict[str, list[Any]] = {
    "name": [
        "two\nlines",
        "a\x1b[31mred",
        "c1\x9bcontrol",
        "dis\u202eguised",
        "\x7f",
        "  ",
        "",
        LONG,
        None,
        5,
    ],
    "hostname": [
        LONG,
        ["a"],
        "h\x1b]0;title\x07",
    ],
    "platform": [
        "Debian\n12",
    ],
    "agent_version": [
        "0\r1",
    ],
    "machine_id": [
        "short",
        "x" * 129,
    ],
    "nonce": [
        "",
        12345678,
    ],
    "slots": [
        0,
        -1,
        1001,
        "2",
        1.5,
        True,
        10**30,
    ],
    "plan_limit": [
        0,
    ],
    "labels": [
        {"with space": "1"},
        {"": "1"},
        {"a": "two words"},
        {"a": "x" * 256},
        {"a": "\n"},
        {"a": 1},
        {"a": None},
        {f"l{number}": "" for number in range(65)},
        ["gpu"],
    ],
    "join_token": [
        5,
        "x" * 129,
    ],
    "tools": [
        [{"name": "Shell"}],
        [{"name": "a" * 65}],
        ["../../etc"],
        [5],
        {"shell": 1},
        [{"name": "t", "version": 0}],
        ["shell", "shell"],
        ["t"] * 201,
        [{"name": "t", "schema": {"type": "string"}}],
        [{"name": "t", "schema": {**SCHEMA, "$ref": "http://192.0.2.1/"}}],
        [{"name": "t", "schema": {**SCHEMA, "properties": {"a": {"pattern": "(a+)+$"}}}}],
        [{"name": "t", "schema": {**SCHEMA, "properties": {"a": {"$dynamicRef": "#"}}}}],
        [{"name": "t", "schema": {**SCHEMA, "properties": {"a": True}}}],
        [{"name": "t", "schema": {**SCHEMA, "properties": ["a"]}}],
        [{"name": "t", "schema": {**SCHEMA, "properties": {"a": {"type": ["string", "null"]}}}}],
        [{"name": "t", "schema": {**SCHEMA, "properties": {"a": {"type": {}}}}}],
        [{"name": "t", "schema": {**SCHEMA, "oneOf": 5}}],
        [{"name": "t", "schema": {**SCHEMA, "oneOf": None}}],
        [{"name": "t", "schema": {**SCHEMA, "oneOf": {}}}],
        [{"name": "t", "schema": {**SCHEMA, "oneOf": [{"required": "abc"}]}}],
        [{"name": "t", "schema": {**SCHEMA, "oneOf": [{"not": {}}]}}],
        [{"name": "t", "schema": {**SCHEMA, "required": "abc"}}],
        [{"name": "t", "schema": {**SCHEMA, "properties": {"a": {"minLength": "3"}}}}],
        [{"name": "t", "schema": {**SCHEMA, "properties": {"a": {"maximum": "3"}}}}],
        [{"name": "t", "schema": {**SCHEMA, "properties": {"a": {"enum": 5}}}}],
        [{"name": "t", "schema": {**SCHEMA, "properties": {"a": {"title": 5}}}}],
        [{"name": "t", "schema": {**SCHEMA, "properties": {"a": {"x-widget": {}}}}}],
        [{"name": "t", "schema": {**SCHEMA, "properties": {"a": {"x-secret": "no"}}}}],
        [{"name": "t", "schema": {**SCHEMA, "x-secret": True}}],
        [
            {
                "name": "t",
                "schema": {
                    **SCHEMA,
                    "properties": {"a": {**SCHEMA, "properties": {"b": {"x-secret": True}}}},
                },
            }
        ],
        [{"name": "t", "schema": {**SCHEMA, "items": []}}],
    ],
}


@pytest.mark.parametrize("field", NONSENSE)
def test_what_makes_no_sense_is_refused_by_field_and_leaves_nothing(world: World, field: str) -> None:
    for value in NONSENSE[field]:
        with world.unchanged():
            body = problem(register(world, **{field: value}), 422, "invalid")
        assert body["errors"][0]["field"].split(".")[0] == field, value


def test_a_schema_nested_too_deep_is_refused(world: World) -> None:
    schema: dict[str, Any] = {"type": "object"}
    for _ in range(8):
        schema = {"type": "object", "properties": {"a": schema}}
    problem(register(world, tools=[{"name": "t", "schema": schema}]), 422, "invalid")


@pytest.mark.parametrize("field", ["name", "machine_id", "nonce"])
def test_what_is_required_is_named_when_it_is_missing(world: World, field: str) -> None:
    said = {name: value for name, value in MACHINE.items() if name != field}
    body = problem(world.app.test_client().post("/api/v1/workers/register", json=said), 422, "invalid")
    assert [row["field"] for row in body["errors"]] == [field]


def test_a_newer_agent_may_say_more_than_we_understand(world: World) -> None:
    assert register(world, favourite_colour="blue").status_code == 201


def test_bare_names_of_tools_will_do(world: World) -> None:
    answer = register(world, tools=["shell"], join_token=world.join_token())
    assert world.api("viewer", "GET", f"/workers/{answer.json['worker_id']}").json["tools"] == ["shell"]


def test_the_answer_with_the_key_is_never_cached_and_the_key_is_stored_nowhere(world: World) -> None:
    answer = register(world)
    assert answer.headers["Cache-Control"] == "no-store"
    assert answer.json["api_key"][13:] not in repr(world.stored())
