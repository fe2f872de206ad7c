"""A machine that was installed anew is recognised, and takes its former worker's place with one click."""

from __future__ import annotations

import re
from typing import Any

from tests.world import WorkerOf, World, later, problem

MACHINE = "0123456789abcdef"
CSRF = re.compile(r'name="csrf_token"[^>]*value="([^"]+)"')


def press(world: World, worker_id: str, former_id: str, role: Any = "admin") -> Any:
    browser = world.browser(role)
    page = browser.get(f"/workers/{worker_id}").get_data(as_text=True)
    found = CSRF.search(page) or CSRF.search(browser.get("/settings").get_data(as_text=True))
    assert found
    data = {"csrf_token": found[1], "former": former_id}
    return browser.post(f"/workers/{worker_id}/replace", data=data)


def page_of(world: World, worker: WorkerOf, role: Any = "admin") -> str:
    return str(world.browser(role).get(f"/workers/{worker.id}").get_data(as_text=True))


def former(world: World) -> WorkerOf:
    """One that people have said a lot of, and that is away now."""
    worker = world.worker("old-name", machine_id=MACHINE)
    wish = {"name": "the rack", "labels": {"site": "attic", "gpu": "3060"}, "slots": 7, "admins_only": True}
    assert world.api("admin", "PATCH", f"/workers/{worker.id}", json=wish).status_code == 200
    drain = {"note": "new disk"}
    assert world.api("admin", "POST", f"/workers/{worker.id}/drain", json=drain).status_code == 200
    later(120)
    return worker


def shown(world: World, worker: WorkerOf) -> dict[str, Any]:
    return dict(world.api("viewer", "GET", f"/workers/{worker.id}").json)


def test_one_that_waits_takes_the_place_of_its_former_self(world: World) -> None:
    old = former(world)
    offer_key = old.key
    new = world.registered("debian", machine_id=MACHINE)
    assert "the same machine as" in page_of(world, new)
    assert "the same machine as" in world.browser("viewer").get("/workers").get_data(as_text=True)
    assert press(world, new.id, old.id).status_code == 302
    kept = shown(world, new)
    facts = (kept["status"], kept["name"], kept["labels"], kept["slots"], kept["admins_only"])
    assert facts == ("approved", "the rack", {"site": "attic", "gpu": "3060"}, 7, True)
    assert kept["drain_note"] == "new disk"
    assert shown(world, old)["status"] == "revoked"
    problem(old.sync(), 403, "worker-revoked")
    assert (new.sync().status_code, old.key) == (200, offer_key)
    assert "the same machine as" not in page_of(world, new)
    done = [len(world.audited(f"worker.{verb}")) for verb in ("replace", "revoke")]
    assert done == [1, 1]


def test_one_that_came_with_a_join_token_does_so_afterwards_and_its_tokens_labels_are_newer(
    world: World,
) -> None:
    old = former(world)
    token = world.join_token(labels={"site": "cellar"}, slots=3)
    new = world.registered("debian", machine_id=MACHINE, join_token=token)
    assert "take the other one’s place" in page_of(world, new)
    press(world, new.id, old.id)
    kept = shown(world, new)
    assert (kept["labels"], kept["slots"], kept["name"]) == ({"site": "cellar", "gpu": "3060"}, 3, "the rack")
    assert shown(world, old)["status"] == "revoked"


def test_what_the_former_one_held_is_released(world: World) -> None:
    old = world.worker(machine_id=MACHINE)
    offer = world.running_task(old)
    new = world.registered(machine_id=MACHINE)
    press(world, new.id, old.id)
    assert world.task(offer["task_id"])["status"] == "failed"


def test_a_copy_of_a_machine_that_is_there_is_told_from_a_new_installation(world: World) -> None:
    old = world.worker("the rack", machine_id=MACHINE)
    new = world.registered("debian", machine_id=MACHINE)
    later(5)
    old.sync()
    page = page_of(world, new)
    assert "which has called since then" in page
    assert "systemd-machine-id-setup" in page
    assert "replace-open" not in page
    assert "the same machine" not in page_of(world, old), "it was there first"
    world.api("admin", "POST", f"/workers/{new.id}/approve")
    assert "the same machine" not in page_of(world, new), "two agents of one machine are no news"


def test_a_revoked_one_is_replaced_too_while_the_new_one_waits(world: World) -> None:
    old = former(world)
    world.api("admin", "POST", f"/workers/{old.id}/revoke")
    new = world.registered("debian", machine_id=MACHINE)
    assert "which was revoked" in page_of(world, new)
    press(world, new.id, old.id)
    assert (shown(world, new)["status"], shown(world, new)["name"]) == ("approved", "the rack")


def test_only_the_same_machine_is_replaced_and_once(world: World) -> None:
    old, new = former(world), world.registered("debian", machine_id=MACHINE)
    others = world.join_token(organisation_id=world.other_organisation())
    theirs = world.registered(machine_id=MACHINE, join_token=others)
    before = {row["id"]: row["status"] for row in world.rows("workers")}
    another = world.worker("another")
    wrong = {another.id: 409, new.id: 409, "": 404, theirs.id: 404}
    for worker_id, status in wrong.items():
        assert press(world, new.id, worker_id).status_code == status
        assert {row["id"]: row["status"] for row in world.rows("workers")} == {
            **before,
            another.id: "approved",
        }
    for _ in range(2):
        assert press(world, new.id, old.id).status_code == 302
    assert len(world.audited("worker.revoke")) == 1


def test_who_may_not_replace(world: World) -> None:
    old, new = former(world), world.registered(machine_id=MACHINE)
    assert press(world, new.id, old.id, "operator").status_code == 403
    assert "replace-open" not in page_of(world, new, "operator")
    assert shown(world, new)["status"] == "pending"
