"""The dashboard changes while one looks at it."""

from __future__ import annotations

import re

import pytest
from playwright.sync_api import expect

from tests.browser import tasks
from tests.browser.people import Visits
from tests.stack import Stack

pytestmark = pytest.mark.browser


def test_the_counters_follow_a_task_from_waiting_to_its_failure(visits: Visits, stack: Stack) -> None:
    stack.ended(stack.submit("true"))
    page = visits.page("viewer")
    page.goto("/")
    tasks.mark(page)
    expect(page.locator("#stat-running .stat-n")).to_contain_text(re.compile("^0"))
    failed = page.locator("#stat-failed .stat-n").inner_text().split()[0]
    waits = stack.submit(name="waits", labels={"gpu": "none-has-this"})
    expect(page.locator("#stat-waiting .stat-n")).to_have_text("1")
    runs = stack.submit("sleep 300", name="shown as running")
    expect(page.locator("#stat-running .stat-n")).to_contain_text(re.compile("^1"))
    expect(page.locator("#running")).to_contain_text("shown as running")
    expect(page.locator("#nav-tasks .count")).to_contain_text("1")
    expect(page).to_have_title(re.compile("^1 running"))
    stack.api("POST", f"/tasks/{waits}/cancel")
    stack.api("POST", f"/tasks/{runs}/cancel")
    stack.submit("exit 1", name="goes wrong", max_retries=0)
    expect(page.locator("#stat-failed .stat-n")).to_contain_text(re.compile(f"^{int(failed) + 1}"))
    expect(page.locator("#stat-running .stat-n")).to_contain_text(re.compile("^0"))
    expect(page.locator("#latest")).to_contain_text("goes wrong")
    expect(page).to_have_title(re.compile("^Dashboard"))
    tasks.assert_not_reloaded(page)
