"""Workers come, are approved, and serve: seen from an open page."""

from __future__ import annotations

import re
from collections.abc import Callable

import pytest
from playwright.sync_api import expect

from tests.browser import tasks
from tests.browser.looks import axe_findings, too_wide
from tests.browser.people import DESKTOP, PHONE, People, Visits
from tests.stack import Stack, eventually

pytestmark = pytest.mark.browser


@pytest.mark.slow
def test_a_machine_that_asks_appears_with_its_code_is_approved_and_comes_online_live(
    own_stack: Stack, new_visits: Callable[[People], Visits]
) -> None:
    page = new_visits(People(own_stack)).page("admin")
    page.goto("/workers")
    expect(page.get_by_text("No workers yet")).to_be_visible()
    tasks.mark(page)
    agent = own_stack.start_agent("newcomer", join=False)
    asks = page.locator("#pending li")
    expect(asks).to_contain_text("newcomer")
    expect(page.locator("#nav-workers .count.needs")).to_contain_text("1")
    code = asks.locator("b.mono").inner_text()
    assert re.fullmatch(r"\w{3}-\w{3}", code)
    eventually(lambda: code in agent.output(), what="the same code in the agent's terminal")
    tasks.assert_not_reloaded(page)
    asks.get_by_role("button", name="Approve").click()
    expect(page.locator(".toast")).to_contain_text("newcomer is approved")
    tasks.mark(page)
    row = page.locator("#worker-rows tbody tr").filter(has_text="newcomer")
    expect(row.locator(".st")).to_have_text("Online")
    expect(page.locator("#pending")).to_be_hidden()
    expect(row).to_contain_text("shell")
    agent.kill()
    tasks.assert_not_reloaded(page)


@pytest.mark.slow
def test_the_first_steps_lead_from_an_empty_server_to_the_dashboard(
    own_stack: Stack, new_visits: Callable[[People], Visits]
) -> None:
    page = new_visits(People(own_stack)).page("admin")
    page.goto("/")
    expect(page.get_by_role("heading", name="Nothing runs here yet")).to_be_visible()
    page.locator("#step-worker").click()
    page.get_by_role("textbox", name="Whom it is for").fill("the attic")
    page.get_by_role("textbox", name="Labels").fill("site=attic")
    page.get_by_label("Approve by itself").uncheck()
    page.get_by_role("button", name="Make a line to paste").click()
    found = re.match(r"AGENT_JOIN_TOKEN=(gsj_\S+) python3 -c ", page.locator("#line").inner_text())
    assert found
    page.locator("#by-hand summary").click()
    assert [*too_wide(page), *axe_findings(page)] == []
    page.set_viewport_size({"width": PHONE[0], "height": PHONE[1]})
    assert too_wide(page) == []
    page.set_viewport_size({"width": DESKTOP[0], "height": DESKTOP[1]})
    tasks.mark(page)
    agent = own_stack.start_agent("attic", join=False, join_token=found[1])
    arrived = page.locator("#arrived")
    expect(arrived.locator(".st")).to_have_text("Pending")
    code = arrived.locator("b.mono").inner_text()
    eventually(lambda: code in agent.output(), what="the same code in the agent's terminal")
    tasks.assert_not_reloaded(page)
    arrived.get_by_role("button", name="Approve").click()
    expect(page.locator(".toast")).to_contain_text("attic is approved")
    expect(arrived.locator(".st")).to_have_text("Online")
    page.get_by_role("link", name="Submit it to the new worker").click()
    expect(page.get_by_label("Script")).to_have_value("uname -a")
    page.get_by_role("button", name="Submit task").click()
    expect(page.locator("#L1")).to_contain_text("Linux")
    page.get_by_role("link", name="Dashboard").click()
    expect(page.locator("#stat-workers")).to_contain_text("1 of 1")


def test_a_worker_for_admins_only_says_so_and_an_admin_opens_it_up(visits: Visits, stack: Stack) -> None:
    worker = stack.worker("agent-1")["id"]
    page = visits.page("admin")
    page.goto(f"/workers/{worker}")
    page.get_by_role("button", name="Close to operators").click()
    expect(page.locator(".notice")).to_contain_text("It serves admins only.")
    operator = visits.page("operator")
    operator.goto("/tasks/new")
    operator.get_by_label("Script").fill("echo served")
    operator.get_by_role("button", name="Submit task").click()
    expect(tasks.pill(operator)).to_have_text("Queued")
    expect(operator.locator("#why")).to_contain_text(re.compile("admin", re.IGNORECASE))
    page.get_by_role("link", name="Open to operators…").click()
    dialog = page.get_by_role("dialog")
    expect(dialog).to_contain_text("Every operator may then run anything there")
    dialog.get_by_role("button", name="Open to operators").click()
    expect(page.locator(".notice")).to_have_count(0)
    expect(tasks.pill(operator)).to_have_text("Completed")
    expect(operator.locator("#L1")).to_contain_text("served")


def test_a_workers_page_shows_live_what_runs_there(visits: Visits, stack: Stack) -> None:
    worker = stack.worker("agent-1")["id"]
    page = visits.page("viewer")
    page.goto(f"/workers/{worker}")
    expect(page.locator("#worker-head .pill")).to_have_text("Online")
    tasks.mark(page)
    task_id = stack.submit("sleep 300", name="a long one")
    expect(page.locator("#on-worker")).to_contain_text("a long one")
    expect(page.locator("#worker-head .pill")).to_have_text("Busy")
    stack.api("POST", f"/tasks/{task_id}/cancel")
    expect(page.locator("#worker-history")).to_contain_text("a long one")
    expect(page.locator("#worker-head .pill")).to_have_text("Online")
    tasks.assert_not_reloaded(page)


def test_labels_of_the_ticked_are_changed_and_enter_does_no_harm(visits: Visits, stack: Stack) -> None:
    """Enter in a dialog's field presses that dialog's button, not the first one of the list's form."""
    stack.worker("agent-1")
    page = visits.page("admin")
    page.goto("/workers")
    row = page.locator("#worker-rows tbody tr").filter(has_text="agent-1")
    row.get_by_role("checkbox").check()
    page.get_by_role("link", name="Labels…").click()
    field = page.get_by_role("dialog").get_by_label("Give and take away")
    field.fill("from=browser")
    field.press("Enter")
    expect(page.locator(".toast")).to_contain_text("1 worker labelled.")
    expect(row).to_contain_text("from=browser")
    row.get_by_role("checkbox").check()
    page.get_by_role("link", name="Labels…").click()
    page.get_by_role("dialog").get_by_label("Give and take away").fill("-from")
    page.get_by_role("button", name="Change labels").click()
    expect(page.locator(".toast")).to_contain_text("1 worker labelled.")
    expect(row).not_to_contain_text("from=browser")
