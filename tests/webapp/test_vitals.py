"""Vitals over the last day: sampled by housekeeping, kept a day, drawn with their holes."""

from __future__ import annotations

import re
from typing import Any

from tests.webapp.pages.forms import text_of
from tests.world import WorkerOf, World, later
from webapp import charts
from webapp.database import release
from webapp.workers import presence, vitals

GB = 10**9
SAID = {
    "cpu_percent": 12.5,
    "memory_percent": 40.0,
    "disk_free_bytes": 100 * GB,
    "load_1m": 0.5,
    "disk_total_bytes": 250 * GB,
    "memory_total_bytes": 16 * GB,
}


def sample(world: World) -> None:
    with world.app.app_context():
        vitals.sample()
        release()


def remove_old(world: World) -> bool:
    with world.app.app_context():
        try:
            return vitals.remove_old()
        finally:
            release()


def stored(world: World) -> list[dict[str, Any]]:
    return sorted(world.rows("worker_vitals"), key=lambda row: (row["at"], row["worker_id"]))


def five_minutes(world: World, *workers: WorkerOf, **said: Any) -> None:
    later(300)
    for worker in workers:
        worker.sync(metrics={**SAID, **said})
    sample(world)


def gauges(world: World, worker: WorkerOf) -> Any:
    return world.browser("viewer").get(f"/workers/{worker.id}")


def lines(page: Any) -> list[str]:
    """The paths of the pictures' lines, without their areas and base lines."""
    found = re.search(r'<section id="gauges".*?</section>', page.text, re.DOTALL)
    assert found
    return re.findall(r'<path d="([^"]*)"', found[0])


def test_each_that_was_heard_is_written_down_in_one_statement(world: World) -> None:
    workers = [world.worker(f"lab-{number}") for number in range(3)]
    five_minutes(world, *workers[:2])
    with world.statements() as said:
        five_minutes(world, *workers[:2], cpu_percent=99.0)
    assert sum("INSERT INTO worker_vitals" in each for each in said) == 1
    rows = stored(world)
    assert {row["worker_id"] for row in rows} == {worker.id for worker in workers[:2]}
    assert [row["cpu_percent"] for row in rows] == [12.5, 12.5, 99.0, 99.0]
    assert [rows[0][name] for name in vitals.NAMES] == [SAID[name] for name in vitals.NAMES]


def test_one_that_has_fallen_silent_or_measures_nothing_leaves_a_hole(world: World) -> None:
    silent, mute = world.worker("silent"), world.worker("mute")
    five_minutes(world, silent)
    later(300)
    mute.sync()
    sample(world)
    assert [row["worker_id"] for row in stored(world)] == [silent.id]


def test_one_that_was_removed_meanwhile_keeps_none_of_the_others_out(world: World) -> None:
    gone, stays = world.worker("gone"), world.worker("stays")
    five_minutes(world, gone, stays)
    world.api("admin", "POST", f"/workers/{gone.id}/revoke")
    left = presence._presences[gone.id]
    world.api("admin", "DELETE", f"/workers/{gone.id}")
    assert {row["worker_id"] for row in stored(world)} == {stays.id}
    presence._presences[gone.id] = left  # a call of its that was on its way
    five_minutes(world, stays)
    assert [row["worker_id"] for row in stored(world)] == [stays.id, stays.id]
    presence.forget(gone.id)


def test_what_is_older_than_a_day_goes_in_batches(world: World, monkeypatch: Any) -> None:
    monkeypatch.setattr(vitals, "BATCH", 2)
    worker = world.worker()
    for _ in range(3):
        five_minutes(world, worker)
    later(24 * 3600 - 300)
    assert remove_old(world) is True
    assert len(stored(world)) == 1
    assert remove_old(world) is False
    assert len(stored(world)) == 1
    later(301)
    assert remove_old(world) is False
    assert stored(world) == []


def test_its_page_draws_them_with_their_holes(world: World) -> None:
    worker = world.worker()
    for cpu in (10.0, 20.0):
        five_minutes(world, worker, cpu_percent=cpu)
    later(3600)
    for cpu in (30.0, 90.0, 40.0):
        five_minutes(world, worker, cpu_percent=cpu)
    page = gauges(world, worker)
    assert "CPU over the last 24 hours: 10 % to 90 %" in page.text
    assert "Disk free of 250 GB over the last 24 hours: 100 GB to 100 GB" in page.text
    assert "CPU 40 %" in text_of(page)
    assert "Memory, 16.0 GB 40 % 6.4 GB" in text_of(page)
    assert "Disk free of 250 GB 100 GB 60 % used" in text_of(page)
    cpu_line, *others = lines(page)
    assert len(others) == 3
    assert cpu_line.count("M") == 2


def test_they_are_there_after_a_restart_of_the_server(world: World) -> None:
    worker = world.worker()
    for cpu in (10.0, 20.0, 33.0):
        five_minutes(world, worker, cpu_percent=cpu)
    presence.forget(worker.id)
    page = gauges(world, worker)
    assert "CPU over the last 24 hours: 10 % to 33 %" in page.text
    assert "CPU 33 %" in text_of(page)


def test_one_that_fell_silent_shows_what_it_said_for_a_day(world: World) -> None:
    worker = world.worker("lab-01")
    five_minutes(world, worker)
    assert "12 %" in text_of(world.browser("viewer").get("/workers"))
    later(3600)
    assert "CPU 12 %" in text_of(gauges(world, worker))
    assert "12 %" not in text_of(world.browser("viewer").get("/workers"))
    later(25 * 3600)
    assert '<section id="gauges" hx-swap-oob="true" hidden>' in gauges(world, worker).text


def test_an_unchanged_day_is_the_same_picture(world: World) -> None:
    worker = world.worker()
    for _ in range(3):
        five_minutes(world, worker)
    presence.forget(worker.id)
    one = lines(gauges(world, worker))
    assert one == lines(gauges(world, worker))


def test_before_anything_was_measured_there_is_no_picture(world: World) -> None:
    page = gauges(world, world.worker())
    assert '<section id="gauges" hx-swap-oob="true" hidden>' in page.text


def test_a_day_of_samples_is_a_page_of_some_kilobytes(world: World) -> None:
    worker = world.worker()
    for number in range(288):
        five_minutes(world, worker, cpu_percent=float(number % 100), load_1m=number / 10)
    page = gauges(world, worker)
    assert len(page.data) < 50_000


# ---- the path


def test_neighbours_far_apart_arent_joined() -> None:
    drawn = charts.trace([(0, 0), (1, 10), (2, 10), (9, 5), (20, 5), (21, 5)], 2.5, 14, 10)
    assert drawn.line == "M0 12 1 2 2 2 M9 7h1 M20 7 21 7"
    assert drawn.area == "M0 12 1 2 2 2 V14 H0Z M20 7 21 7 V14 H20Z"


def test_without_values_there_is_no_path() -> None:
    assert charts.trace([], 2.5, 14, 10) == charts.Trace("", "")
