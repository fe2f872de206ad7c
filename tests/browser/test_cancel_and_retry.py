"""Tasks are cancelled and run again, one or many."""

from __future__ import annotations

import re

import pytest
from playwright.sync_api import expect

from tests.browser import tasks
from tests.browser.people import Visits
from tests.stack import Stack

pytestmark = pytest.mark.browser


def test_a_running_task_is_cancelled_through_the_dialog_that_says_what_is_lost(
    visits: Visits, stack: Stack
) -> None:
    page = visits.page("operator")
    watcher = visits.page("viewer")
    task_id = stack.submit("echo begun; sleep 300", name="long walk")
    for each in (page, watcher):
        tasks.open_task(each, task_id)
        expect(each.locator("#L1")).to_contain_text("begun")
    tasks.mark(watcher)
    page.get_by_role("link", name="Cancel…").click()
    dialog = page.get_by_role("dialog")
    expect(dialog).to_contain_text("What it has done so far is lost. The log stays.")
    dialog.get_by_role("link", name="Let it run").click()
    expect(dialog).to_be_hidden()
    expect(tasks.pill(page)).to_have_text("Running")
    page.get_by_role("link", name="Cancel…").click()
    dialog.get_by_role("button", name="Cancel the task").click()
    for each in (page, watcher):
        tasks.expect_state(each, "Cancelled", "^Cancelled: long walk", "idle")
        assert tasks.texts(each) == ["begun"]
    tasks.assert_not_reloaded(watcher)
    assert stack.task(task_id)["status"] == "cancelled"


def test_a_task_is_run_again_as_it_was_or_with_changes(visits: Visits, stack: Stack) -> None:
    task_id = stack.submit("echo first", name="again", labels={})
    stack.ended(task_id)
    page = visits.page("operator")
    tasks.open_task(page, task_id)
    page.get_by_role("button", name="Run again").click()
    expect(page.locator(".toast")).to_contain_text("Submitted again")
    expect(page).not_to_have_url(re.compile(task_id))
    tasks.expect_state(page, "Completed", "^Done: again", "idle")
    expect(page.get_by_role("link", name=task_id[:13])).to_be_visible()
    page.get_by_role("link", name="Run again with changes").click()
    expect(page.get_by_label("Script")).to_have_value("echo first")
    page.get_by_label("Script").fill("echo second")
    page.get_by_role("button", name="Submit task").click()
    expect(page.locator("#L1")).to_contain_text("second")


def test_ticks_survive_what_happens_meanwhile_and_all_ticked_are_cancelled(
    visits: Visits, stack: Stack
) -> None:
    names = [f"bulk-{number}" for number in range(3)]
    ids = [stack.submit(name=name, labels={"gpu": "none-has-this"}) for name in names]
    page = visits.page("operator")
    page.goto("/tasks")
    bar = page.locator("[data-bulk-bar]")
    expect(bar).to_be_hidden()
    for name in names[:2]:
        page.get_by_label(f"Select {name}").check()
    expect(bar).to_contain_text("2 selected")
    stack.submit("true", name="came meanwhile")
    expect(page.locator("#task-rows")).to_contain_text("came meanwhile")
    assert [page.get_by_label(f"Select {name}").is_checked() for name in names] == [True, True, False]
    expect(bar).to_contain_text("2 selected")
    page.get_by_role("link", name="Cancel…").click()
    page.get_by_role("dialog").get_by_role("button", name="Cancel them").click()
    expect(page.locator(".toast")).to_contain_text("2 tasks cancelled.")
    assert [stack.task(task_id)["status"] for task_id in ids] == ["cancelled", "cancelled", "queued"]
    expect(page.get_by_role("row", name="bulk-0").locator(".st")).to_have_text("Cancelled")


def test_all_on_the_page_are_run_again(visits: Visits, stack: Stack) -> None:
    for number in range(2):
        stack.ended(stack.submit("true", name=f"encore-{number}"))
    page = visits.page("operator")
    page.goto("/tasks?q=encore")
    page.get_by_label("Select all").check()
    expect(page.locator("[data-bulk-bar]")).to_contain_text("2 selected")
    page.get_by_role("button", name="Run again").click()
    expect(page.locator(".toast")).to_contain_text("2 tasks submitted again.")
    expect(page).to_have_url(re.compile("q=encore"))
    expect(page.locator("#task-rows tbody tr")).to_have_count(4)
    expect(page.locator("#task-rows .st-completed")).to_have_count(4)


def test_an_admin_force_finishes_a_task_and_says_why(visits: Visits, stack: Stack) -> None:
    page, watcher = visits.page("admin"), visits.page("operator")
    task_id = stack.submit("echo begun; sleep 300", name="never answers")
    for each in (page, watcher):
        tasks.open_task(each, task_id)
        expect(each.locator("#L1")).to_contain_text("begun")
    expect(watcher.get_by_role("link", name="Force-finish…")).to_have_count(0)
    page.get_by_role("link", name="Force-finish…").click()
    dialog = page.get_by_role("dialog")
    expect(dialog).to_contain_text("The worker may still be running it.")
    dialog.get_by_role("link", name="Go on waiting").click()
    expect(tasks.pill(page)).to_have_text("Running")
    page.get_by_role("link", name="Force-finish…").click()
    dialog.get_by_label("Why").fill("the machine was sold")
    dialog.get_by_role("button", name="Force-finish it").click()
    for each in (page, watcher):
        expect(tasks.pill(each)).to_have_text("Cancelled")
        expect(each.locator("#attempts")).to_contain_text("orce-finished by admin: the machine was sold.")
    expect(page.locator(".toast")).to_contain_text("may still be running it")


def test_the_pause_before_the_next_try_counts_down_in_the_list_and_on_the_page(
    visits: Visits, stack: Stack
) -> None:
    task_id = stack.submit("exit 3", name="tries again", retry_on=["exit_code"], retry_delay_s=3600)
    page = visits.page("operator")
    tasks.open_task(page, task_id)
    counting = re.compile(r"^in \d\d min$")  # at most 15 min, and a fifth more
    expect(page.locator("#task-head time[data-countdown]")).to_have_text(counting)
    expect(page.locator("#attempts time[data-countdown]")).to_have_text(counting)
    expect(page.locator("#attempts")).to_contain_text("The command ended with a status other than 0")
    page.goto("/tasks")
    row = page.get_by_role("row").filter(has_text="tries again")
    expect(row).to_contain_text(re.compile(r"exit code 3; next try in \d\d min"))
