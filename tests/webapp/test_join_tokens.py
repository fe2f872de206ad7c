"""Join tokens, made and ended by programs; and what the page says of them."""

from __future__ import annotations

from typing import Any

from tests.world import World, problem

NEW = {"name": "the rack", "uses": 2, "hours": 24, "labels": {"site": "attic"}, "slots": 3}


def make(world: World, role: Any = "admin", **wish: Any) -> Any:
    return world.api(role, "POST", "/join-tokens", json={**NEW, **wish})


def listed(world: World, query: str = "", organisation_id: str | None = None) -> Any:
    return world.api("admin", "GET", f"/join-tokens{query}", organisation_id).json


def test_one_is_made_shown_once_listed_used_and_revoked(world: World) -> None:
    made = make(world)
    assert made.status_code == 201
    token = made.json["token"]
    worker = world.registered(join_token=token)
    [row] = listed(world)["items"]
    assert {**made.json, "uses_left": 1, "workers": [worker.id]} == {**row, "token": token}
    assert token not in str(listed(world))
    page = world.browser("admin").get("/settings/join-tokens").get_data(as_text=True)
    assert "lab-01" in page
    assert token not in page
    assert world.api("admin", "DELETE", f"/join-tokens/{row['id']}").status_code == 204
    problem(world.api("admin", "DELETE", f"/join-tokens/{row['id']}"), 404, "not-found")
    assert listed(world)["items"] == []
    body = {"name": "late", "machine_id": "late-machine", "nonce": "late-nonce", "join_token": token}
    answer = world.app.test_client().post("/api/v1/workers/register", json=body)
    problem(answer, 401, "join-token-refused")
    assert worker.sync().status_code == 200, "who has joined stays"
    assert [len(world.audited(f"join-token.{verb}")) for verb in ("create", "revoke")] == [1, 1]


def test_what_is_left_out_is_for_one_machine_within_a_day(world: World) -> None:
    made = world.api("admin", "POST", "/join-tokens", json={"name": "one"}).json
    facts = (made["uses_left"], made["slots"], made["approves"], made["admins_only"], made["labels"])
    assert facts == (1, None, True, False, {})
    assert made["expires_at"]


def test_one_for_ever_that_only_announces(world: World) -> None:
    made = make(world, uses=None, hours=None, approves=False).json
    assert (made["uses_left"], made["expires_at"]) == (None, None)
    worker = world.registered(join_token=made["token"])
    assert world.api("viewer", "GET", f"/workers/{worker.id}").json["status"] == "pending"
    assert listed(world)["items"][0]["workers"] == [worker.id]


NONSENSE: dict[str, list[Any]] = {
    "name": ["", " ", "a\nb", "x" * 256, 5, None],
    "uses": [0, -1, 1_000_001, 1.5, "2"],
    "hours": [0, -1, 1e9, "1"],
    "labels": [{"a b": ""}, ["a"], {"a": 5}],
    "slots": [0, 1001, "2"],
    "approves": ["no", 0],
    "admins_only": [1],
    "organisation_id": ["x"],
}


def test_what_makes_no_sense_is_refused_by_field_and_makes_nothing(world: World) -> None:
    world.api_token("admin")
    with world.unchanged():
        for field, values in NONSENSE.items():
            for value in values:
                body = problem(make(world, **{field: value}), 422, "invalid")
                assert body["errors"][0]["field"].split(".")[0] == field, (field, value)


def test_its_answer_isnt_kept_for_a_repeated_request(world: World) -> None:
    world.api_token("admin")
    with world.unchanged():
        answer = world.api("admin", "POST", "/join-tokens", json=NEW, headers={"Idempotency-Key": "k1"})
        problem(answer, 422, "invalid")


def test_only_admins_of_its_organisation_see_and_end_it(world: World) -> None:
    token_id = make(world).json["id"]
    others = world.other_organisation()
    world.api_token("approver")
    assert listed(world, organisation_id=others)["items"] == []
    with world.unchanged():
        for method, path in (("GET", ""), ("POST", ""), ("DELETE", f"/{token_id}")):
            address = f"/api/v1/join-tokens{path}"
            problem(world.app.test_client().open(address, method=method, json={}), 401, "unauthorized")
            problem(world.api("approver", method, f"/join-tokens{path}", json={}), 403, "forbidden")
        problem(world.api("admin", "DELETE", f"/join-tokens/{token_id}", others), 404, "not-found")


def test_the_list_comes_in_pages(world: World) -> None:
    made = {make(world).json["id"] for _ in range(3)}
    first = listed(world, "?limit=2")
    rest = listed(world, f"?limit=2&after={first['next']}")
    assert (len(first["items"]), len(rest["items"]), rest["next"]) == (2, 1, None)
    assert {row["id"] for row in first["items"] + rest["items"]} == made
