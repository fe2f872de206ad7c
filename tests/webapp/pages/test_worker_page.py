"""One worker's page: what it runs, how it does, and taking it out of service for a while."""

from __future__ import annotations

from typing import Any

import pytest

from tests.webapp.pages.forms import press, text_of, toast
from tests.webapp.test_throughput import ended_tasks
from tests.world import World, later

PLAN = {"name": "plan", "slot_class": "plan"}
APPLY = {"name": "apply", "slot_class": "exclusive"}


def words(world: World, path: str, role: Any = "admin") -> str:
    return text_of(world.browser(role).get(path))


def test_slots_are_shown_by_kind(world: World) -> None:
    worker = world.worker(slots=4, plan_limit=2, tools=["shell", PLAN, APPLY])
    path = f"/workers/{worker.id}"
    assert "4 slots free 0 of 4 tasks 0 of 2 plans 0 of 1 exclusive" in words(world, path)
    held: list[str] = []
    for tool in ("plan", "apply"):
        world.queued_task(tool=tool, input={})
        held.append(worker.sync(held=held).json["offers"][0]["attempt_id"])
    worker.sync(held=held)
    assert "2 slots free" in words(world, path)
    assert "2 of 4 tasks 1 of 2 plans 1 of 1 exclusive" in words(world, path)


def test_its_history_begins_with_how_often_it_went_well_and_how_long_it_took(world: World) -> None:
    worker = world.worker()
    path = f"/workers/{worker.id}"
    two_days = 2 * 24 * 3600
    ended_tasks(world, *({"ago_s": 60, "took_s": took} for took in (10, 20, 30)), worker_id=worker.id)
    ended_tasks(world, {"ago_s": 60, "took_s": 40, "status": "failed"}, worker_id=worker.id)
    ended_tasks(world, *({"ago_s": two_days, "took_s": 60} for _ in range(4)), worker_id=worker.id)
    ended_tasks(world, {"ago_s": 60, "took_s": 1})  # elsewhere
    said = words(world, path)
    assert "Last 24 hours 75.0 % completed 3 of 4 that ended, half within 20 s" in said
    assert "Last 7 days 87.5 % completed 7 of 8 that ended, half within 40 s" in said
    assert "Last 24 hours" not in words(world, f"/workers/{world.worker('new').id}")


def test_a_drain_is_given_with_its_reason_and_its_time(world: World) -> None:
    worker = world.worker("nas")
    worker.sync()
    client, path = world.browser("admin"), f"/workers/{worker.id}"
    assert "Until somebody resumes it For 30 minutes" in text_of(client.get(path))
    press(client, f"{path}/drain", note="New disk", for_s="3600")
    said = text_of(client.get(path))
    assert "New disk. It holds no task and takes none: the machine can be switched off." in said
    assert "it takes work again by itself" in said
    assert "Change drain…" in said
    assert "nas New disk. Holds no task any more, back" in words(world, "/workers")
    press(client, f"{path}/drain", note="New disk, and a fan", for_s="")
    assert "it stays so until somebody resumes it." in text_of(client.get(path))
    press(client, f"{path}/drain", note="", for_s="1800")
    later(1801)
    worker.sync()
    assert "Told to drain" not in text_of(client.get(path))
    assert "Online" in text_of(client.get(path))


@pytest.mark.parametrize(
    "fields",
    [{"for_s": "soon"}, {"for_s": "0"}, {"for_s": "9" * 5000}, {"note": "x" * 501}, {"note": "a\nb"}],
)
def test_a_drain_that_makes_no_sense_is_refused(world: World, fields: dict[str, str]) -> None:
    worker = world.worker()
    client = world.browser("admin")
    client.get("/settings")
    for path in (f"/workers/{worker.id}/drain", "/workers/drain"):
        answer = press(client, path, id=worker.id, **fields)
        assert answer.status_code == 422
    assert world.audited("worker.drain") == []


# ---- several at once


def test_the_ticked_ones_are_drained_with_a_reason(world: World) -> None:
    one, two = world.worker("a"), world.worker("b")
    client = world.browser("admin")
    answer = press(
        client,
        "/workers/drain",
        id=[one.id, two.id],
        note="Moving house",
        for_s="86400",
        q="a",
        status="online",
    )
    assert answer.location == "/workers?q=a&status=online"
    assert toast(client, "/workers") == "2 workers told to drain."
    for worker in (one, two):
        shown = world.api("viewer", "GET", f"/workers/{worker.id}").json
        assert shown["drain_note"] == "Moving house"
        assert shown["drain_until"]


def labels_of(world: World, *names: str) -> list[dict[str, str]]:
    items = world.api("viewer", "GET", "/workers").json["items"]
    return [next(item["labels"] for item in items if item["name"] == name) for name in names]


def test_the_ticked_ones_are_given_labels_and_lose_others(world: World) -> None:
    one, two, other = world.worker("a"), world.worker("b"), world.worker("c")
    client = world.browser("admin")
    press(client, "/workers/label", id=[one.id, two.id], labels="site=attic, old quiet")
    assert toast(client, "/workers") == "2 workers labelled."
    assert labels_of(world, "a", "b", "c") == [{"site": "attic", "old": "", "quiet": ""}] * 2 + [{}]
    press(client, "/workers/label", id=[one.id, other.id], labels="site=cellar -old -never-had-it")
    assert labels_of(world, "a", "b", "c") == [
        {"site": "cellar", "quiet": ""},
        {"site": "attic", "old": "", "quiet": ""},
        {"site": "cellar"},
    ]
    assert len(world.audited("worker.change")) == 4
    with world.unchanged():
        press(client, "/workers/label", id=[one.id], labels="site=cellar -old")


def test_a_label_that_an_agent_brings_isnt_taken_from_it_and_the_others_go_on(world: World) -> None:
    brings, other = world.worker("brings", labels={"os": "linux"}), world.worker("other")
    client = world.browser("admin")
    press(client, "/workers/label", id=[brings.id, other.id], labels="site=attic -os")
    assert toast(client, "/workers") == (
        "1 worker labelled. brings brings os itself: change it in its agent’s settings."
    )
    assert labels_of(world, "brings", "other") == [{"os": "linux"}, {"site": "attic"}]


@pytest.mark.parametrize(
    "said", ["", "  ", "a=b=c", "-", "--", "-site=attic", "bad key=\x07", "é", "site -site", "-é"]
)
def test_words_that_are_no_labels_change_nothing(world: World, said: str) -> None:
    worker = world.worker()
    client = world.browser("admin")
    client.get("/settings")
    press(client, "/workers/label", id=worker.id, labels=said)
    assert toast(client, "/workers").startswith("Nothing was changed: ")
    assert world.audited("worker.change") == []
    assert labels_of(world, "lab-01") == [{}]


def test_too_many_labels_are_refused_for_that_worker(world: World) -> None:
    worker = world.worker()
    client = world.browser("admin")
    press(client, "/workers/label", id=worker.id, labels=" ".join(f"a{number}" for number in range(60)))
    press(client, "/workers/label", id=worker.id, labels=" ".join(f"b{number}" for number in range(10)))
    assert toast(client, "/workers") == "lab-01: at most 64 labels."
    assert len(labels_of(world, "lab-01")[0]) == 60


def test_only_admins_label_and_only_their_own(world: World) -> None:
    others = world.other_organisation()
    theirs = world.registered("theirs", join_token=world.join_token(organisation_id=others))
    client = world.browser("admin")
    press(client, "/workers/label", id=theirs.id, labels="mine")
    assert "There is no such worker here" in toast(client, "/workers")
    assert press(world.browser("approver"), "/workers/label", id=theirs.id, labels="mine").status_code == 403
    assert world.audited("worker.change") == []
