"""The dashboard: what needs a person, what runs, how it went."""

from __future__ import annotations

from tests.webapp.pages.forms import text_of
from tests.world import World, later

QUERIES = 12


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


def test_a_dozen_queries_do_however_many_tasks_there_are(world: World) -> None:
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
