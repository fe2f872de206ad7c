"""Keys on the pages: what is shown of them, and the button that has an agent exchange its own."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest

from tests.webapp.pages.forms import press, text_of, toast
from tests.world import WorkerOf, World, later

pytestmark = pytest.mark.parametrize("new_settings", ["sqlite"], indirect=True)
DAY_S = 24 * 3600


def words(world: World, path: str, role: Any = "admin") -> str:
    return text_of(world.browser(role).get(path))


def page(worker: WorkerOf) -> str:
    return f"/workers/{worker.id}"


def test_a_key_is_exchanged_from_its_page_and_each_state_is_shown(world: World) -> None:
    worker = world.worker("nas")
    worker.sync()
    client = world.browser("admin")
    said = words(world, page(worker))
    assert f"Key gsw_{worker.key[4:12]}… Made" in said
    assert "Ends not by itself Last used" in said
    assert "from 127.0.0.1" in said
    press(client, f"{page(worker)}/rotate-key")
    assert "nas gets itself a fresh key when its agent calls next." in toast(client, page(worker))
    assert "Waits for the agent." in words(world, page(worker))
    assert 'id="rotate"' not in client.get(page(worker)).text
    fresh = worker.call("POST", f"/workers/{worker.id}/rotate-key").json["api_key"]
    said = words(world, page(worker))
    assert "fresh, not used yet" in said
    assert "24 hours after the fresh one is used" in said
    replace(worker, key=fresh).sync()
    said = words(world, page(worker))
    assert "Waits for the agent." not in said
    assert f"gsw_{worker.key[4:12]}… the one before" in said
    later(DAY_S + 60)
    assert (
        worker.key[4:12] not in words(world, page(worker)).partition("Announce")[0].partition("Worker key")[2]
    )


def test_several_are_exchanged_from_the_list(world: World) -> None:
    workers = [world.worker(name) for name in ("lab-01", "lab-02")]
    pending = world.registered("lab-03")
    client = world.browser("admin")
    ids = [worker.id for worker in [*workers, pending]]
    press(client, "/workers/rotate-key", id=ids)
    said = toast(client, "/workers")
    assert "2 workers told to get a fresh key." in said
    assert "lab-03 is pending" in said
    for worker in workers:
        assert worker.sync().json["rotate_key"] is True


def test_an_old_key_is_said_quietly_until_a_fresh_one_is_there(world: World) -> None:
    worker = world.worker("nas")
    later(89 * DAY_S)
    worker.sync()
    for path in (page(worker), "/workers", "/"):
        assert "due for a fresh one" not in words(world, path)
    later(2 * DAY_S)
    worker.sync()
    assert "This key is more than 90 days old." in words(world, page(worker))
    assert "Its key is due for a fresh one" in words(world, "/workers")
    assert "The key of nas is due for a fresh one." in words(world, "/")
    fresh = worker.call("POST", f"/workers/{worker.id}/rotate-key").json["api_key"]
    replace(worker, key=fresh).sync()
    for path in (page(worker), "/workers", "/"):
        assert "due for a fresh one" not in words(world, path)


def test_nobody_is_reminded_where_that_is_off(new_world: Any) -> None:
    world = new_world(key_reminder_days=0)
    worker = world.worker("nas")
    later(400 * DAY_S)
    worker.sync()
    assert "days old" not in words(world, page(worker))
    assert "due for a fresh one" not in words(world, "/")


def test_who_only_reads_sees_the_keys_and_no_button(world: World) -> None:
    worker = world.worker("nas")
    client = world.browser("operator")
    shown = client.get(page(worker)).text
    assert f"gsw_{worker.key[4:12]}…" in shown
    assert 'id="rotate"' not in shown
    assert press(client, f"{page(worker)}/rotate-key").status_code == 403
    assert press(client, "/workers/rotate-key", id=worker.id).status_code == 403
    assert "rotate_key" not in worker.sync().json
