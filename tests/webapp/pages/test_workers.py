"""Workers: the list, one of them, and what admins do with them."""

from __future__ import annotations

import re
from typing import Any

import pytest

from tests.webapp.pages.forms import field_error, press, text_of, toast
from tests.world import World, later

METRICS = {"cpu_percent": 62.0, "memory_percent": 48.5, "disk_free_bytes": 114_000_000_000, "load_1m": 1.0}


def rows(answer: Any) -> list[str]:
    return re.findall(r'id="w-[^"]+" href="[^"]+" title="([^"]*)"', answer.text)


def test_without_any_it_says_what_to_do(world: World) -> None:
    assert 'href="/workers/add"' in world.browser("admin").get("/workers").text
    assert "Ask an admin" in text_of(world.browser("operator").get("/workers"))


def test_each_is_shown_with_its_vitals(world: World) -> None:
    worker = world.worker("lab-01", labels={"site": "lab"})
    worker.sync(metrics=METRICS)
    later(61)
    worker.sync(metrics={**METRICS, "cpu_percent": 12.0})
    page = world.browser("viewer").get("/workers")
    words = text_of(page)
    assert "1 worker 0 of 2 slots in use" in words
    assert "Online" in words
    assert "site=lab" in words
    assert "12 %" in words
    assert "114 GB" in words
    assert 'aria-label="CPU of lab-01, last hour"' in page.text


def test_a_figure_that_nobody_measured_isnt_drawn(world: World) -> None:
    world.worker("lab-01")
    assert 'class="spark"' not in world.browser("viewer").get("/workers").text


@pytest.mark.parametrize(
    ("query", "found"),
    [
        ("q=GPU-", ["gpu-box"]),
        ("q=noop", ["gpu-box", "lab-01"]),
        ("label=gpu%3D3060", ["gpu-box"]),
        ("status=revoked", ["old"]),
        ("status=pending", ["new"]),
        ("q=nothing-like-that", []),
    ],
)
def test_a_filter_narrows_it(world: World, query: str, found: list[str]) -> None:
    world.worker("gpu-box", labels={"gpu": "3060"})
    world.worker("lab-01")
    world.registered("new", tools=[])
    old = world.worker("old", tools=[])
    press(world.browser("admin"), f"/workers/{old.id}/revoke")
    assert rows(world.browser("viewer").get(f"/workers?{query}")) == found


def test_a_silent_one_with_work_is_told_from_one_without(world: World) -> None:
    worker = world.worker("busy-one")
    world.running_task(worker)
    world.worker("idle-one")
    later(100)
    words = text_of(world.browser("viewer").get("/workers"))
    assert "busy-one Doesn’t answer, with work on it." in words
    assert "idle-one" in words
    assert "Offline" in words


def test_as_many_queries_for_many_as_for_one(world: World) -> None:
    world.worker()
    client = world.browser("viewer")
    with world.statements() as few:
        client.get("/workers")
    for number in range(8):
        world.worker(f"lab-{number}")
    with world.statements() as many:
        client.get("/workers")
    assert len(many) == len(few)


# ---- pending ones


def test_a_pending_one_shows_its_code_and_is_approved(world: World) -> None:
    worker = world.registered("attic")
    client = world.browser("admin")
    page = client.get("/workers")
    assert worker.code in text_of(page)
    assert f'form="act" formaction="/workers/{worker.id}/approve"' in page.text
    assert press(client, f"/workers/{worker.id}/approve", back="list").location == "/workers"
    assert toast(client, "/workers") == "attic is approved. It starts working by itself."
    assert worker.sync().status_code == 200


def test_the_same_machine_again_is_pointed_out(world: World) -> None:
    world.worker("lab-01", machine_id="the-same-machine")
    world.registered("lab-02", machine_id="the-same-machine")
    words = text_of(world.browser("admin").get("/workers"))
    assert "It says it is the same machine as lab-01" in words


def test_a_refused_one_may_not_call_any_more(world: World) -> None:
    worker = world.registered()
    press(world.browser("admin"), f"/workers/{worker.id}/revoke")
    assert worker.sync().status_code == 403


def test_the_ticked_ones_are_revoked_or_approved(world: World) -> None:
    one, two, new = world.worker("a"), world.worker("b"), world.registered("c")
    client = world.browser("admin")
    press(client, "/workers/approve", id=[new.id, one.id])
    assert toast(client, "/workers") == "1 worker approved. a is approved, not pending."
    press(client, "/workers/revoke", id=[one.id, two.id])
    assert toast(client, "/workers") == "2 workers revoked."
    assert [worker.sync().status_code for worker in (one, two, new)] == [403, 403, 200]


# ---- one worker


def test_its_page_shows_what_is_known(world: World) -> None:
    worker = world.worker("lab-01")
    offer = world.running_task(worker, name="goes on")
    worker.report(world.running_task(worker, name="has ended"))
    page = world.browser("admin").get(f"/workers/{worker.id}")
    words = text_of(page)
    assert "<title>Busy: lab-01" in page.text
    assert "Running now" in words
    assert "goes on" in words
    assert "History" in words
    assert "has ended" in words
    assert f"gsw_{worker.key[4:12]}…" in words
    assert worker.key not in page.text
    assert "worker.approve" in words
    assert offer["task_id"] in page.text


def test_its_page_says_of_each_tool_its_version_and_why_one_doesnt_work(world: World) -> None:
    works = {"works": True, "version": "GNU bash, version 5.2", "signed_in": None, "problem": ""}
    broken = {"works": False, "version": "", "signed_in": False, "problem": "not signed in: run it once"}
    tools = [{"name": "shell", "found": works}, {"name": "ollama", "found": broken}, {"name": "noop"}]
    worker = world.worker(tools=tools)
    client = world.browser("viewer")
    words = text_of(client.get(f"/workers/{worker.id}"))
    assert "shell GNU bash, version 5.2 ollama" in words
    assert "ollama doesn’t work: not signed in: run it once noop" in words
    worker.sync(tools=[{"name": "ollama", "found": {**works, "version": "1.2", "signed_in": True}}])
    live = text_of(client.get(f"/live?view=worker&worker={worker.id}"))
    assert "ollama 1.2, signed in" in live
    assert "doesn’t work" not in live


def test_the_audit_log_is_for_admins(world: World) -> None:
    worker = world.worker()
    assert "worker.approve" not in world.browser("operator").get(f"/workers/{worker.id}").text


def test_it_can_be_renamed_relabelled_and_resized(world: World) -> None:
    worker = world.worker("lab-01")
    client = world.browser("admin")
    path = f"/workers/{worker.id}"
    press(client, f"{path}/change", name="attic", labels="site=attic quiet", slots="5")
    words = text_of(client.get(path))
    assert "attic" in words
    assert "site=attic" in words
    assert "0 of 5" in words


def test_slots_that_are_left_alone_stay_what_the_agent_says(world: World) -> None:
    worker = world.worker("lab-01", slots=2)
    press(world.browser("admin"), f"/workers/{worker.id}/change", name="new name", labels="", slots="2")
    (row,) = world.rows("workers")
    assert (row["name"], row["slots_set"]) == ("new name", None)


@pytest.mark.parametrize(
    ("fields", "field"),
    [
        ({"name": ""}, "name"),
        ({"labels": "a=b=c"}, "labels"),
        ({"slots": "many"}, "slots"),
        ({"slots": "9" * 5000}, "slots"),
    ],
)
def test_a_wrong_change_is_said_beside_its_field(world: World, fields: dict[str, str], field: str) -> None:
    worker = world.worker("lab-01")
    said = {"name": "lab-01", "labels": "", "slots": "2", **fields}
    answer = press(world.browser("admin"), f"/workers/{worker.id}/change", **said)
    assert answer.status_code == 422
    assert field_error(answer, field)
    assert "Nothing was changed." in text_of(answer)


def test_the_one_beside_the_server_serves_admins_until_it_is_opened(world: World) -> None:
    token = world.join_token(admins_only=True)
    worker = world.registered("local", join_token=token)
    world.queued_task(name="an operator's")
    assert worker.sync().json["offers"] == []
    client = world.browser("admin")
    path = f"/workers/{worker.id}"
    assert "It serves admins only." in text_of(client.get(path))
    assert "Every operator may then run anything there" in text_of(client.get(path))
    press(client, f"{path}/open")
    assert worker.take()
    press(client, f"{path}/close")
    assert "It serves admins only." in text_of(client.get(path))


def test_a_revoked_one_can_be_removed_and_its_tasks_keep_its_name(world: World) -> None:
    worker = world.worker("lab-01")
    offer = world.running_task(worker)
    worker.report(offer)
    client = world.browser("admin")
    assert press(client, f"/workers/{worker.id}/remove").status_code == 409
    press(client, f"/workers/{worker.id}/revoke")
    assert press(client, f"/workers/{worker.id}/remove").location == "/workers"
    assert client.get(f"/workers/{worker.id}").status_code == 404
    page = client.get(f"/tasks/{offer['task_id']}")
    assert page.status_code == 200
    assert "lab-01" in text_of(page)
    assert client.get("/tasks").status_code == 200


@pytest.mark.parametrize("verb", ["approve", "revoke", "remove", "open", "close", "change"])
def test_only_admins_of_the_same_organisation_may(world: World, verb: str) -> None:
    worker = world.registered()
    with world.app.app_context():
        pass
    operator = world.browser("operator")
    stranger = world.browser("admin", world.other_organisation())
    assert press(operator, f"/workers/{worker.id}/{verb}", name="x").status_code == 403
    assert press(stranger, f"/workers/{worker.id}/{verb}", name="x").status_code == 404
    assert stranger.get(f"/workers/{worker.id}").status_code == 404
    assert f"/{verb}" not in operator.get(f"/workers/{worker.id}").text
    assert [row["status"] for row in world.rows("workers")] == ["pending"]
