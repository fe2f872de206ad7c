"""Admins approve, change, revoke and remove workers; everybody else looks."""

from __future__ import annotations

from typing import Any

import pytest

from tests.world import World, at_once, problem
from webapp.workers import tools

NO_SUCH = "00000000-0000-7000-8000-000000000000"


def act(
    world: World, worker_id: str, verb: str, role: Any = "admin", organisation_id: str | None = None
) -> Any:
    return world.api(role, "POST", f"/workers/{worker_id}/{verb}", organisation_id)


def change(world: World, worker_id: str, **wish: Any) -> Any:
    return world.api("admin", "PATCH", f"/workers/{worker_id}", json=wish)


def test_an_approved_worker_works_and_its_tools_are_known(world: World) -> None:
    worker = world.registered()
    assert world.api("viewer", "GET", "/tools").json["items"] == []
    answer = act(world, worker.id, "approve")
    assert (answer.status_code, answer.json["status"], answer.json["code"]) == (200, "approved", None)
    assert len(world.api("viewer", "GET", "/tools").json["items"]) == 2
    assert worker.sync().status_code == 200
    [entry] = world.audited("worker.approve")
    assert (entry["actor"], entry["target_id"], entry["address"]) == ("admin", worker.id, "127.0.0.1")


def test_what_was_said_already_is_a_409_that_changes_nothing(world: World) -> None:
    worker = world.worker()
    with world.unchanged():
        assert "approved" in problem(act(world, worker.id, "approve"), 409, "conflict")["detail"]
    act(world, worker.id, "revoke")
    with world.unchanged():
        problem(act(world, worker.id, "revoke"), 409, "conflict")
        problem(act(world, worker.id, "approve"), 409, "conflict")


def test_two_admins_who_approve_at_once_approve_once(world: World) -> None:
    worker = world.registered()
    world.api_token("admin")
    answers = at_once(*[lambda: act(world, worker.id, "approve")] * 3)
    assert sorted(answer.status_code for answer in answers) == [200, 409, 409]
    assert len(world.audited("worker.approve")) == 1


def test_a_worker_that_may_work_is_revoked_before_it_is_removed(world: World) -> None:
    worker = world.worker()
    offer = world.running_task(worker)
    worker.send_log(offer, b"what it did\n")
    worker.report(offer)
    with world.unchanged():
        problem(world.api("admin", "DELETE", f"/workers/{worker.id}"), 409, "conflict")
    act(world, worker.id, "revoke")
    assert world.api("admin", "DELETE", f"/workers/{worker.id}").status_code == 204
    problem(world.api("admin", "GET", f"/workers/{worker.id}"), 404, "not-found")
    problem(world.api("admin", "DELETE", f"/workers/{worker.id}"), 404, "not-found")
    assert world.rows("worker_keys") == []
    task = world.task(offer["task_id"])
    assert (task["status"], task["attempts"][0]["worker"]) == ("completed", "lab-01"), "its history stays"
    assert world.log_of(offer).data == b"what it did\n"


def test_a_change_is_kept_and_what_is_left_out_stays(world: World) -> None:
    worker = world.worker(labels={"site": "attic"})
    shown = change(world, worker.id, name="renamed", labels={"gpu": "3060"}, slots=5).json
    assert (shown["name"], shown["labels"], shown["slots"]) == (
        "renamed",
        {"site": "attic", "gpu": "3060"},
        5,
    )
    [entry] = world.audited("worker.change")
    assert "lab-01" in str(entry["before"])
    assert "renamed" in str(entry["after"])
    with world.unchanged():
        assert change(world, worker.id).json["name"] == "renamed"
        assert change(world, worker.id, name="renamed", slots=5).status_code == 200


def test_a_name_that_a_person_gave_outlives_the_agents_next_start(world: World) -> None:
    worker = world.worker()
    change(world, worker.id, name="renamed", slots=5)
    worker.sync(tools=[], slots=1)
    shown = world.api("viewer", "GET", f"/workers/{worker.id}").json
    assert (shown["name"], shown["slots"]) == ("renamed", 5)
    assert change(world, worker.id, slots=None).json["slots"] == 1, "the agent's own again"


NONSENSE: dict[str, list[Any]] = {
    "name": ["", " ", "a\nb", "x" * 256, 5],
    "labels": [{"a b": ""}, ["a"], {"a": 5}],
    "slots": [0, 1001, "2", 1.5],
    "admins_only": ["no", 0],
    "status": ["approved"],
    "organisation_id": ["x"],
}


@pytest.mark.parametrize("field", NONSENSE)
def test_a_change_that_makes_no_sense_is_refused_by_field(world: World, field: str) -> None:
    worker = world.worker()
    for value in NONSENSE[field]:
        with world.unchanged():
            body = problem(change(world, worker.id, **{field: value}), 422, "invalid")
        assert body["errors"][0]["field"].split(".")[0] == field


def test_a_worker_that_isnt_here_is_a_404(world: World) -> None:
    theirs = world.registered(
        "theirs", join_token=world.join_token(organisation_id=world.other_organisation())
    )
    world.api_token("admin")
    with world.unchanged():
        for worker_id in (NO_SUCH, theirs.id, "nonsense"):
            for verb in ("approve", "revoke"):
                problem(act(world, worker_id, verb), 404, "not-found")
            problem(change(world, worker_id, name="x"), 404, "not-found")
            problem(world.api("admin", "GET", f"/workers/{worker_id}"), 404, "not-found")
            problem(world.api("admin", "DELETE", f"/workers/{worker_id}"), 404, "not-found")


def names(world: World, query: str = "") -> list[str]:
    answer = world.api("viewer", "GET", f"/workers?{query}")
    assert answer.status_code == 200, answer.json
    return [row["name"] for row in answer.json["items"]]


def test_the_list_is_of_ones_own_organisation_in_the_order_in_which_they_came(world: World) -> None:
    for name in ("b", "a", "c"):
        world.registered(name)
    world.registered("theirs", join_token=world.join_token(organisation_id=world.other_organisation()))
    assert names(world) == ["b", "a", "c"]


@pytest.mark.parametrize("read_at_once", [1, 2, 250])
def test_pages_follow_without_gap_or_repeat_also_of_few_among_many(
    world: World, monkeypatch: pytest.MonkeyPatch, read_at_once: int
) -> None:
    monkeypatch.setattr("webapp.workers.listing.READ_AT_ONCE", read_at_once)
    for number in range(7):
        world.registered(f"n{number}", labels={"even": ""} if number % 2 == 0 else {})
    for query, found in (("", range(7)), ("label=even&", range(0, 7, 2))):
        seen: list[str] = []
        after = ""
        while after is not None:
            page = world.api("viewer", "GET", f"/workers?{query}limit=2&after={after}").json
            assert len(page["items"]) <= 2
            seen += [row["name"] for row in page["items"]]
            after = page["next"]
        assert seen == [f"n{number}" for number in found]


def test_filters_narrow_the_list(world: World) -> None:
    world.worker("attic", labels={"site": "Attic", "gpu": ""}).sync()
    world.worker("cellar", labels={"site": "cellar"}, platform="macOS 14")
    world.registered("stranger")
    act(world, world.worker("gone").id, "revoke")
    assert names(world, "status=online") == ["attic"]
    assert names(world, "status=pending") == ["stranger"]
    assert names(world, "status=approved") == ["attic", "cellar"]
    assert names(world, "status=revoked") == ["gone"]
    assert names(world, "label=site") == ["attic", "cellar"]
    assert names(world, "label=site=attic") == ["attic"]
    assert names(world, "label=site=att") == []
    assert names(world, "q=MACOS") == ["cellar"]
    assert names(world, "q=%25") == []
    assert names(world, "status=approved&label=gpu&q=attic") == ["attic"]


@pytest.mark.parametrize("path", ["/workers", "/tasks", "/agents/connected"])
def test_a_page_that_cant_be_says_what_to_send(world: World, path: str) -> None:
    for query in (
        "after=x",
        "after=1",
        f"after={NO_SUCH}x",
        "limit=0",
        "limit=201",
        "limit=-1",
        "limit=many",
    ):
        body = problem(world.api("viewer", "GET", f"{path}?{query}"), 422, "invalid")
        assert body["errors"][0]["field"] == query.partition("=")[0]
        if query.startswith("after"):
            assert "leave it out for the first page" in body["detail"]
    for query in ("status=sleepy", "label=a b", "label==x"):
        if path != "/agents/connected":
            problem(world.api("viewer", "GET", f"{path}?{query}"), 422, "invalid")


def test_tools_and_locks_come_in_pages_by_name(world: World) -> None:
    world.worker(tools=["c", "a", "b"])
    for name in ("c", "a", "b"):
        world.queued_task(tool="a", input={}, locks=[f"lock/{name}"])
        world.queued_task(tool="a", input={}, locks=[f"lock/{name}"])
    worker = world.worker("runs", tools=["a"], slots=9)
    assert len(worker.sync().json["offers"]) == 3
    for path, names in (("/tools", ["a", "b", "c"]), ("/locks", ["lock/a", "lock/b", "lock/c"])):
        first = world.api("viewer", "GET", f"{path}?limit=2").json
        second = world.api("viewer", "GET", f"{path}?limit=2&after={first['next']}").json
        assert [row["name"] for row in first["items"] + second["items"]] == names
        assert (first["next"], second["next"]) == (names[1], None)


def test_tools_come_in_pages_also_where_the_database_sorts_names_in_its_own_way(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    world.worker(tools=["a1", "a_b"])
    as_sorted = tools.catalogue  # in many a language `_` comes before digits
    monkeypatch.setattr(tools, "catalogue", lambda organisation_id: as_sorted(organisation_id)[::-1])
    first = world.api("viewer", "GET", "/tools?limit=1").json
    second = world.api("viewer", "GET", f"/tools?limit=1&after={first['next']}").json
    assert {row["name"] for row in first["items"] + second["items"]} == {"a1", "a_b"}


def test_no_answer_about_a_worker_holds_its_key(world: World) -> None:
    worker = world.worker()
    shown = world.api("admin", "GET", f"/workers/{worker.id}").get_data(as_text=True)
    shown += world.api("admin", "GET", "/workers").get_data(as_text=True)
    assert worker.key not in shown
    assert worker.key[4:12] not in shown
