"""Everything is reached with the keyboard, and focus goes where one expects it."""

from __future__ import annotations

import pytest
from playwright.sync_api import Locator, Page, expect

from tests.browser import tasks
from tests.browser.people import Visits
from tests.stack import Stack, eventually

pytestmark = pytest.mark.browser


def tab_to(page: Page, wanted: Locator, most: int = 40) -> None:
    for _ in range(most):
        page.keyboard.press("Tab")
        if wanted.evaluate("el => el === document.activeElement"):
            return
    raise AssertionError(f"{wanted} isn't reached within {most} steps")


def has_ring(focused: Locator) -> bool:
    return bool(
        focused.evaluate(
            "el => { const s = getComputedStyle(el); return s.outlineStyle !== 'none' || s.boxShadow !== 'none' }"
        )
    )


def test_the_first_stop_skips_to_the_content(visits: Visits, stack: Stack) -> None:
    page = visits.page("operator")
    page.goto("/tasks")
    page.keyboard.press("Tab")
    skip = page.get_by_role("link", name="Skip to content")
    expect(skip).to_be_focused()
    expect(skip).to_be_in_viewport()
    page.keyboard.press("Enter")
    expect(page.locator("#main")).to_be_focused()
    page.keyboard.press("Tab")
    expect(page.locator("#main a:visible").first).to_be_focused()
    new = page.locator("#main").get_by_role("link", name="New task").first  # without tasks there is another
    tab_to(page, new, 3)
    eventually(lambda: has_ring(new), what="a ring around it")
    page.keyboard.press("Enter")
    expect(page.get_by_role("heading", name="New task")).to_be_visible()


def test_a_task_is_submitted_without_a_mouse(visits: Visits, stack: Stack) -> None:
    page = visits.page("operator")
    page.goto("/tasks/new")
    tab_to(page, page.get_by_label("Script"))
    page.keyboard.type("echo by hand")
    tab_to(page, page.get_by_role("button", name="Submit task"))
    page.keyboard.press("Enter")
    expect(page.locator("#L1")).to_contain_text("by hand")


def test_a_dialog_opens_with_enter_holds_the_focus_and_gives_it_back(visits: Visits, stack: Stack) -> None:
    page = visits.page("operator")
    tasks.open_task(page, stack.submit("sleep 300"))
    expect(tasks.pill(page)).to_have_text("Running")
    stop = page.get_by_role("link", name="Cancel…")
    tab_to(page, stop)
    page.keyboard.press("Enter")
    dialog = page.get_by_role("dialog")
    expect(dialog).to_be_visible()
    assert dialog.evaluate("el => el.contains(document.activeElement)")
    page.keyboard.press("Escape")
    expect(dialog).to_be_hidden()
    expect(stop).to_be_focused()
    page.keyboard.press("Enter")
    expect(dialog).to_be_visible()
    tab_to(page, dialog.get_by_role("button", name="Cancel the task"), 4)
    page.keyboard.press("Enter")
    expect(tasks.pill(page)).to_have_text("Cancelled")


def test_focus_stays_on_a_row_that_is_sent_again(visits: Visits, stack: Stack) -> None:
    task_id = stack.submit("true", name="has the focus")
    stack.ended(task_id)
    page = visits.page("operator")
    page.goto("/tasks")
    row = page.locator(f"#t-{task_id}")
    row.focus()
    stack.submit("true", name="comes above it")
    expect(page.locator("#task-rows")).to_contain_text("comes above it")
    expect(row).to_be_focused()


def test_the_log_is_scrolled_with_the_keys(visits: Visits, stack: Stack) -> None:
    task_id = stack.submit("seq 1 500")
    stack.ended(task_id)
    page = visits.page("viewer")
    tasks.open_task(page, task_id)
    tab_to(page, page.get_by_role("log"))
    page.keyboard.press("Home")
    expect(page.locator("#L1")).to_be_in_viewport()
    page.keyboard.press("End")
    expect(page.locator("#L500")).to_be_in_viewport()
