"""Named locks and workers that drain, in a browser: pages change under the person's eyes, and are asked once."""

from __future__ import annotations

from pathlib import Path

import pytest
from playwright.sync_api import expect

from tests.browser import tasks
from tests.browser.people import Visits
from tests.stack import Stack

pytestmark = [pytest.mark.browser, pytest.mark.slow, pytest.mark.timeout(120)]


def test_a_lock_is_seen_waited_for_and_broken(visits: Visits, stack: Stack) -> None:
    wait, gate = tasks.waiting_script(stack, "locks")
    page = visits.page("admin")
    page.goto("/tasks")
    page.get_by_role("link", name="Locks").click()
    tasks.mark(page)
    holder = stack.submit(wait, name="deploy 41", locks=["browser/prod"])
    row = page.get_by_role("row").filter(has_text="browser/prod")
    expect(row.get_by_role("link", name="deploy 41")).to_be_visible()
    stack.submit("true", name="deploy 42", locks=["browser/prod"])
    expect(row.locator(".line li")).to_have_text(["deploy 42"])
    tasks.assert_not_reloaded(page)

    row.get_by_role("checkbox").check()
    page.get_by_role("link", name="Break lock…").click()
    dialog = page.get_by_role("dialog")
    dialog.get_by_role("link", name="Keep them").click()
    expect(dialog).to_be_hidden()
    page.get_by_role("link", name="Break lock…").click()
    page.get_by_role("button", name="Break them").click()
    expect(page.locator(".toast")).to_contain_text("1 lock broken.")
    tasks.open_task(page, holder)
    expect(page.locator("#task-head .notice")).to_contain_text("It runs without a lock that it asked for")
    Path(gate).touch()
    stack.ended(holder)


def test_a_task_that_waits_for_a_lock_says_so_and_starts_by_itself(visits: Visits, stack: Stack) -> None:
    wait, gate = tasks.waiting_script(stack, "waits-for-lock")
    holder = stack.submit(wait, name="has it", locks=["browser/db"])
    stack.running(holder)
    page = visits.page("operator")
    tasks.open_task(page, stack.submit("true", name="wants it", locks=["browser/db"]))
    expect(page.locator("#why")).to_contain_text("It waits for the lock browser/db: has it holds it.")
    tasks.mark(page)
    Path(gate).touch()
    expect(tasks.pill(page)).to_have_text("Completed")
    expect(page.locator("#why")).to_be_hidden()
    tasks.assert_not_reloaded(page)


def test_a_worker_is_drained_and_resumed_from_its_page(visits: Visits, stack: Stack) -> None:
    page = visits.page("admin")
    worker = stack.worker("agent-1")["id"]
    try:
        page.goto(f"/workers/{worker}")
        page.get_by_role("link", name="Drain…").click()
        dialog = page.get_by_role("dialog")
        dialog.get_by_label("Why").fill("New disk")
        dialog.get_by_label("How long").select_option("For an hour")
        dialog.get_by_role("button", name="Drain it").click()
        expect(page.locator(".toast")).to_contain_text("agent-1 drains: it takes no more work.")
        expect(page.locator("#worker-head .pill")).to_have_text("Draining")
        expect(page.locator("#worker-head .notice")).to_contain_text("New disk. It holds no task")
        tasks.mark(page)
        stack.api("POST", f"/workers/{worker}/resume")
        expect(page.locator("#worker-head .pill")).to_have_text("Online")
        expect(page.locator("#worker-head .notice")).to_have_count(0)
        tasks.assert_not_reloaded(page)
    finally:
        stack.api("POST", f"/workers/{worker}/resume")
