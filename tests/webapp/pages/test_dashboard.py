"""The dashboard: what needs a person, what runs, how it went."""

from __future__ import annotations

import re
from datetime import timedelta
from html import unescape
from typing import Any

from tests.webapp.pages.forms import text_of
from tests.webapp.test_throughput import ended_tasks
from tests.world import WorkerOf, World, later
from webapp import clock
from webapp.database import transaction
from webapp.workers.models import Worker

QUERIES = 13


def test_the_first_time_it_leads_to_the_first_task(world: World) -> None:
    page = world.browser("admin").get("/")
    assert "Nothing runs here yet" in text_of(page)
    assert 'href="/workers/add"' in page.text


def test_a_viewer_isnt_offered_what_only_admins_may(world: World) -> None:
    page = world.browser("viewer").get("/")
    assert 'href="/workers/add"' not in page.text
    assert 'href="/tasks/new"' not in page.text


def test_a_pending_worker_needs_somebody(world: World) -> None:
    world.registered("attic")
    page = world.browser("admin").get("/")
    assert "1 worker waits for approval: attic" in text_of(page)
    assert "<title>0 running, 1 need you" in page.text


def test_it_counts_what_runs_waits_and_failed(world: World) -> None:
    worker = world.worker(slots=1)
    offer = world.running_task(worker, max_retries=0)
    worker.report(offer, "failed", failure_class="exit_code", exit_code=1, error="exit code 1")
    world.running_task(worker, name="goes on")
    world.queued_task(name="waits")
    page = world.browser("viewer").get("/")
    words = text_of(page)
    assert "Workers online 1 of 1 1 busy" in words
    assert "Tasks running 1 of 1 slot " in words
    assert "Tasks waiting 1 oldest" in words
    assert "Failed in 24 h 1 of 1 last one" in words
    assert "favicon-running" in page.text


def test_what_ended_is_drawn_by_the_hour(world: World) -> None:
    worker = world.worker(slots=9)
    for outcome in ("completed", "completed", "failed"):
        offer = world.running_task(worker, max_retries=0)
        said = {"failure_class": "exit_code", "exit_code": 1} if outcome == "failed" else {}
        worker.report(offer, outcome, **said)
        later(3600)
    page = world.browser("viewer").get("/")
    assert "Tasks finished per hour in the last 24 hours: 2 completed, 1 failed" in page.text
    assert page.text.count('class="no"') == 2  # one column, and the legend
    assert page.text.count('class="ok"') == 3


def test_what_ended_a_day_ago_isnt(world: World) -> None:
    worker = world.worker()
    worker.report(world.running_task(worker))
    later(25 * 3600)
    page = world.browser("viewer").get("/")
    assert "Finished per hour" not in page.text


def test_a_few_queries_do_however_many_tasks_there_are(world: World) -> None:
    worker = world.worker(slots=9)
    client = world.browser("viewer")
    worker.report(world.running_task(worker))
    with world.statements() as few:
        client.get("/")
    for _ in range(4):
        world.running_task(worker)
    for _ in range(8):
        world.queued_task()
        world.registered()
    with world.statements() as many:
        client.get("/")
    assert len(few) == len(many) <= QUERIES, many


def test_another_organisation_sees_nothing_of_it(world: World) -> None:
    worker = world.worker("secret-machine")
    world.running_task(worker, name="secret work")
    page = world.browser("admin", world.other_organisation()).get("/").text
    assert "secret" not in page


# ---- what needs a person


def needs(world: World) -> str:
    page = world.browser("admin").get("/")
    found = re.search(r'<section id="needs".*?</section>', page.text, re.DOTALL)
    assert found
    return " ".join(unescape(re.sub(r"<[^>]+>", " ", found[0])).split())


def of_worker(world: World, worker: WorkerOf, **values: Any) -> None:
    with world.app.app_context(), transaction() as session:
        for name, value in values.items():
            setattr(session.get_one(Worker, worker.id), name, value)


def test_where_nothing_needs_anybody_it_isnt_shown(world: World) -> None:
    world.running_task(world.worker())
    assert needs(world) == ""


def test_what_is_wrong_with_machines_is_said_with_the_reason(world: World) -> None:
    set_aside, cloned, refuses, full, fine = (world.worker(name) for name in ("a", "b", "c", "d", "e"))
    of_worker(world, set_aside, quarantined_until=clock.now() + timedelta(minutes=5))
    of_worker(world, cloned, twin_seen_at=clock.now(), twin_address="192.0.2.9")
    set_aside.sync()
    refuses.sync(accepting=False, not_accepting="disk low: 1.2 GiB free of 2.0 GiB wanted")
    full.sync(metrics={"disk_free_bytes": 9 * 10**9, "disk_total_bytes": 238 * 10**9})
    fine.sync(metrics={"disk_free_bytes": 90 * 10**9, "disk_total_bytes": 238 * 10**9})
    said = needs(world)
    assert "a is set aside: attempts in a row failed there for reasons of the machine." in said
    assert "b was seen as two machines" in said
    assert "the other one called from 192.0.2.9" in said
    assert "c takes no new work: disk low: 1.2 GiB free of 2.0 GiB wanted." in said
    assert "d has little room left: 9.0 GB free of 238 GB." in said
    assert " e " not in said
    assert "0 running, 4 need you" in world.browser("admin").get("/").text


def test_more_than_a_few_are_counted(world: World) -> None:
    for number in range(5):
        world.worker(f"lab-{number}").sync(accepting=False, not_accepting="on holiday")
    said = needs(world)
    assert said.count("takes no new work: on holiday.") == 3
    assert "2 more workers take no new work or have little room left." in said


def test_one_that_drains_or_is_gone_needs_nobody(world: World) -> None:
    draining, silent = world.worker("draining"), world.worker("silent")
    for worker in (draining, silent):
        worker.sync(accepting=False, not_accepting="draining")
    world.api("admin", "POST", f"/workers/{draining.id}/drain")
    later(100)
    draining.sync(accepting=False, not_accepting="draining")
    assert needs(world) == ""


def test_tasks_that_no_worker_could_ever_take_are_named(world: World) -> None:
    worker = world.worker(slots=1)
    world.running_task(worker)
    world.queued_task(name="waits its turn")
    for number in range(5):
        world.queued_task(name=f"wants a gpu {number}", labels={"gpu": "4090"})
    said = needs(world)
    assert "5 tasks no worker here could ever take: wants a gpu" in said
    assert said.count("wants a gpu") == 3
    assert "waits its turn" not in said
    assert "Tasks waiting 6 5 that no worker can take" in text_of(world.browser("viewer").get("/"))
    world.worker("gpu-box", labels={"gpu": "4090"})
    assert needs(world) == ""


def test_others_tasks_arent_among_them(world: World) -> None:
    others = world.other_organisation()
    world.registered("theirs", join_token=world.join_token(organisation_id=others))
    wish = {"tool": "shell", "input": {"script": "true"}, "labels": {"gpu": "x"}}
    assert world.api("operator", "POST", "/tasks", others, json=wish).status_code == 201
    assert needs(world) == ""


# ---- what failed, and how long things take


def test_what_failed_is_listed_with_its_reason(world: World) -> None:
    worker = world.worker("nas")
    for number in range(7):
        offer = world.running_task(worker, name=f"restic {number}", max_retries=0)
        worker.report(offer, "failed", failure_class="exit_code", exit_code=3, error="repository is locked")
    worker.report(world.running_task(worker, name="fine"))
    page = world.browser("viewer").get("/")
    found = re.search(r'<section id="failed".*?</section>', page.text, re.DOTALL)
    assert found
    assert re.findall(r"restic \d(?=</a>)", found[0]) == [f"restic {number}" for number in (6, 5, 4, 3, 2)]
    assert "repository is locked" in found[0]
    assert ">All 7</a>" in found[0]
    assert "fine" not in found[0]
    later(25 * 3600)
    assert 'id="failed" hx-swap-oob="true" hidden' in world.browser("viewer").get("/").text


def test_a_week_is_drawn_by_six_hours(world: World) -> None:
    worker = world.worker()
    worker.report(world.running_task(worker))
    later(3 * 86400)
    worker.report(world.running_task(worker))
    client = world.browser("viewer")
    day, week = client.get("/"), client.get("/?over=week")
    assert "Tasks finished per hour in the last 24 hours: 1 completed, 0 failed" in day.text
    assert 'href="/?over=week"' in day.text
    assert "Tasks finished per 6 hours in the last 7 days: 2 completed, 0 failed" in week.text
    assert "Duration in the last 7 days: half within" in week.text
    assert "Failed in 24 h 0 of 1" in text_of(week)
    live = client.get("/live?view=dashboard&over=week")
    assert "in the last 7 days: 2 completed" in live.text


def test_durations_are_the_median_and_what_nearly_all_stayed_within(world: World) -> None:
    ended_tasks(world, *({"ago_s": 5, "took_s": took} for took in (1, 2, 3, 4, 500)))
    words = text_of(world.browser("viewer").get("/"))
    assert "Median 3.0 s 95 % under 8 min 20 s" in words
