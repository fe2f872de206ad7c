"""Everything can be done where no script runs."""

from __future__ import annotations

import re

import pytest
from playwright.sync_api import expect

from tests.browser import tasks
from tests.browser.people import PHONE, People, Visits
from tests.stack import Stack

pytestmark = pytest.mark.browser


def test_sign_in_submit_read_the_log_and_cancel(visits: Visits, people: People, stack: Stack) -> None:
    page = visits.page(None, script=False)
    page.goto("/")
    page.get_by_label("Name").fill("admin")
    page.get_by_label("Password").fill(people.admin.password)
    page.get_by_role("button", name="Sign in").click()
    page.get_by_role("link", name="New task").first.click()
    page.get_by_label("Script").fill("seq 1 3; echo findme; sleep 300")
    page.get_by_role("button", name="Submit task").click()
    expect(page).to_have_url(re.compile(r"/tasks/[0-9a-f-]{36}$"))
    task_id = page.url.rsplit("/", 1)[1]
    stack.logged(task_id, b"findme")
    page.reload()
    expect(tasks.pill(page)).to_have_text("Running")
    expect(page.locator("#L3")).to_contain_text("3")
    expect(page.get_by_label("Follow")).to_have_count(1)
    expect(page.get_by_label("Follow")).to_be_hidden()  # nothing could follow here
    page.get_by_role("searchbox", name="Search the log").fill("findme")
    page.get_by_role("searchbox", name="Search the log").press("Enter")
    expect(page.locator(".ln.is-hit")).to_have_count(1)
    page.goto(f"/tasks/{task_id}")
    page.get_by_role("link", name="Cancel…").click()
    expect(page.locator("#cancel")).to_be_visible()
    page.get_by_role("button", name="Cancel the task").click()
    expect(page.locator(".toast")).to_contain_text("The worker is told to stop it.")
    assert stack.ended(task_id)["status"] == "cancelled"
    page.reload()
    expect(tasks.pill(page)).to_have_text("Cancelled")
    page.get_by_role("button", name="Sign out").click()
    expect(page.get_by_role("button", name="Sign in")).to_be_visible()


def test_many_are_cancelled_at_once(visits: Visits, stack: Stack) -> None:
    name, other = "plain-one", "plain-two"
    ids = [stack.submit(name=each, labels={"gpu": "none-has-this"}) for each in (name, other)]
    page = visits.page("operator", script=False)
    page.goto("/tasks")
    page.get_by_label(f"Select {name}").check()
    page.get_by_role("link", name="Cancel…").click()
    page.get_by_role("button", name="Cancel them").click()
    expect(page.locator(".toast")).to_contain_text("1 task cancelled.")
    assert [stack.task(task_id)["status"] for task_id in ids] == ["cancelled", "queued"]


def test_on_a_phone_the_account_is_behind_more(visits: Visits, people: People) -> None:
    page = visits.page(people.newcomer("on-the-move", "viewer"), size=PHONE, script=False)
    page.goto("/")
    expect(page.get_by_role("button", name="Sign out")).to_be_hidden()
    page.get_by_role("button", name="More").click()
    page.get_by_role("button", name="Sign out").click()
    expect(page.get_by_role("button", name="Sign in")).to_be_visible()
