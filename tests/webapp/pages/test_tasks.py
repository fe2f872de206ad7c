"""The list of tasks: what it shows, to whom, and what can be done with many at once."""

from __future__ import annotations

import re
from html import unescape
from typing import Any

import pytest

from tests.webapp.pages.forms import press, text_of, toast
from tests.world import World, later


def rows(answer: object) -> list[str]:
    """The names in the list, from the top."""
    return re.findall(r'class="cut" id="t-[^"]+" href="[^"]+" title="([^"]*)"', answer.text)


def ways(answer: Any) -> dict[str, str]:
    """{newer, newest, older: where it leads}, as far as the page offers them."""
    return {
        name: unescape(href)
        for name, href in re.findall(r'id="(newe\w+|older)"[^>]* href="([^"]+)"', answer.text)
    }


def test_the_newest_is_on_top(world: World) -> None:
    world.worker()
    for name in ("first", "second", "third"):
        world.queued_task(name=name)
    assert rows(world.browser("viewer").get("/tasks")) == ["third", "second", "first"]


def test_without_any_it_says_what_to_do(world: World) -> None:
    assert "No tasks yet" in text_of(world.browser("operator").get("/tasks"))
    assert 'href="/tasks/new"' in world.browser("operator").get("/tasks").text


@pytest.mark.parametrize(
    ("query", "found"),
    [
        ("q=BACK", ["backup"]),
        ("q=%25", []),
        ("tool=noop", ["idle"]),
        ("status=waiting", ["idle", "backup"]),
        ("status=failed", []),
        ("status=nonsense", ["idle", "backup"]),
        ("since=hour", ["idle", "backup"]),
        ("worker=nobody", []),
        ("label=os", ["backup"]),
        ("label=os=linux", ["backup"]),
        ("label=os=linux&tool=noop", []),
        ("label=gpu", []),
        ("label=%22%5D%27", []),
        ("label=a+b", []),
    ],
)
def test_a_filter_narrows_it(world: World, query: str, found: list[str]) -> None:
    world.worker()
    world.queued_task(name="backup", labels={"os": "linux"})
    world.queued_task(name="idle", tool="noop", input={})
    assert rows(world.browser("viewer").get(f"/tasks?{query}")) == found


def test_a_filter_that_finds_nothing_leads_back_to_all(world: World) -> None:
    world.worker()
    world.queued_task()
    answer = world.browser("viewer").get("/tasks?q=nothing-like-that")
    assert "No task like that" in text_of(answer)
    assert 'href="/tasks">All tasks' in answer.text


def test_older_ones_are_on_the_next_page(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("webapp.tasks.list_pages.PAGE", 2)
    world.worker()
    for name in "abcdefg":
        world.queued_task(name=name)
    client = world.browser("viewer")
    page = client.get("/tasks?q=&tool=shell")
    assert rows(page) == ["g", "f"]
    assert set(ways(page)) == {"older"}
    for found in (["e", "d"], ["c", "b"]):
        page = client.get(ways(page)["older"])
        assert rows(page) == found
        assert set(ways(page)) == {"older", "newer", "newest"}
    last = client.get(ways(page)["older"])
    assert (rows(last), set(ways(last))) == (["a"], {"newer", "newest"})
    assert ways(last)["newest"] == "/tasks?tool=shell"
    for found in (["c", "b"], ["e", "d"], ["g", "f"]):
        last = client.get(ways(last)["newer"])
        assert rows(last) == found
    assert set(ways(last)) == {"older"}


def test_a_page_before_which_little_is_left_is_the_first_one(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Not half a page, which would go on growing while new ones come."""
    monkeypatch.setattr("webapp.tasks.list_pages.PAGE", 2)
    world.worker()
    ids = [world.queued_task(name=name) for name in "abc"]
    page = world.browser("viewer").get(f"/tasks?before={ids[1]}")
    assert (rows(page), set(ways(page))) == (["c", "b"], {"older"})
    for cursor in ("after=zzz", "before=zzz", "before=0", f"after={ids[0]}", "after=0&before=0"):
        assert world.browser("viewer").get(f"/tasks?{cursor}").status_code == 200


def test_another_organisations_tasks_arent_in_it(world: World) -> None:
    world.worker()
    world.queued_task(name="ours")
    stranger = world.browser("admin", world.other_organisation())
    assert rows(stranger.get("/tasks")) == []


def test_a_page_takes_as_many_queries_for_many_tasks_as_for_one(world: World) -> None:
    worker = world.worker(slots=50)
    client = world.browser("viewer")
    world.running_task(worker)
    with world.statements() as few:
        client.get("/tasks")
    for _ in range(12):
        world.queued_task()
    with world.statements() as many:
        client.get("/tasks")
    assert len(many) == len(few)


def test_names_from_outside_are_text(world: World) -> None:
    world.worker()
    world.queued_task(name="<b hx-get=/evil hx-trigger=load>x</b>")
    page = world.browser("viewer").get("/tasks").text
    assert "<b hx-get" not in page
    assert "&lt;b hx-get=/evil" in page


# ---- many at once


def test_the_ticked_ones_are_cancelled(world: World) -> None:
    world.worker()
    ids = [world.queued_task(), world.queued_task()]
    left = world.queued_task()
    client = world.browser("operator")
    assert press(client, "/tasks/cancel", id=ids).location == "/tasks"
    assert toast(client, "/tasks") == "2 tasks cancelled."
    assert [world.task(task_id)["status"] for task_id in [*ids, left]] == ["cancelled", "cancelled", "queued"]


def test_one_that_has_ended_doesnt_stop_the_others(world: World) -> None:
    world.worker()
    ended, waiting = world.queued_task(), world.queued_task()
    client = world.browser("operator")
    press(client, "/tasks/cancel", id=[ended])
    press(client, "/tasks/cancel", id=[ended, waiting])
    assert toast(client, "/tasks") == "1 task cancelled. 1 task not: This task has ended already: cancelled."
    assert world.task(waiting)["status"] == "cancelled"


def test_the_ticked_ones_run_again_as_new_tasks(world: World) -> None:
    world.worker()
    old = world.queued_task(name="backup")
    client = world.browser("operator")
    press(client, "/tasks/cancel", id=[old])
    press(client, "/tasks/retry", id=[old], status="cancelled")
    assert world.task(old)["status"] == "cancelled"
    again = world.api("viewer", "GET", "/tasks?status=queued").json["items"]
    assert [(task["name"], task["retry_of"]) for task in again] == [("backup", old)]


def test_one_comes_back_to_the_same_filter(world: World) -> None:
    answer = press(world.browser("operator"), "/tasks/cancel", status="failed", q="x", label="a=b", evil="y")
    assert answer.location == "/tasks?status=failed&q=x&label=a%3Db"


def test_filters_stay_in_the_address_and_are_cleared_at_once(world: World) -> None:
    worker = world.worker(labels={"site": "attic"})
    page = world.browser("viewer").get(f"/tasks?status=failed&q=x&label=site&worker={worker.id}&since=day")
    assert '<option value="site=attic">' in page.text
    tab = re.search(r'id="tab-running" href="([^"]+)"', page.text)
    assert tab
    assert unescape(tab[1]) == f"/tasks?status=running&q=x&worker={worker.id}&label=site&since=day"
    assert 'href="/tasks?status=failed">Clear</a>' in page.text
    assert ">Clear</a>" not in world.browser("viewer").get("/tasks?status=failed").text


@pytest.mark.parametrize("path", ["/tasks/cancel", "/tasks/retry"])
def test_a_viewer_changes_nothing(world: World, path: str) -> None:
    world.worker()
    task_id = world.queued_task()
    client = world.browser("viewer")
    assert press(client, path, id=[task_id]).status_code == 403
    assert world.task(task_id)["status"] == "queued"
    assert "data-bulk" not in client.get("/tasks").text.replace("data-bulk-bar", "")


def test_another_organisations_task_is_as_if_it_werent_there(world: World) -> None:
    world.worker()
    task_id = world.queued_task()
    stranger = world.browser("admin", world.other_organisation())
    press(stranger, "/tasks/cancel", id=[task_id])
    assert "There is no such task here" in toast(stranger, "/tasks")
    assert world.task(task_id)["status"] == "queued"


def test_a_failed_one_says_why_in_its_row(world: World) -> None:
    worker = world.worker()
    offer = world.running_task(worker, max_retries=0)
    worker.report(offer, "failed", failure_class="exit_code", exit_code=3, error="exit code 3: no space left")
    later(1)
    assert "exit code 3: no space left" in text_of(world.browser("viewer").get("/tasks"))
