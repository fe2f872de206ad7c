"""Everything is reached with the keyboard, and focus goes where one expects it."""

from __future__ import annotations

import pytest
from playwright.sync_api import Locator, Page, expect

from tests.browser import tasks
from tests.browser.looks import axe_findings
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


def test_keys_lead_to_pages_through_a_list_and_are_shown(visits: Visits, stack: Stack) -> None:
    for name in ("first by keys", "second by keys"):
        stack.ended(stack.submit(name=name))
    page = visits.page("operator")
    page.goto("/")
    page.keyboard.press("g")
    page.keyboard.press("t")
    expect(page.get_by_role("heading", name="Tasks", level=1)).to_be_visible()
    page.keyboard.press("j")
    expect(page.get_by_role("link", name="second by keys", exact=True)).to_be_focused()
    page.keyboard.press("j")
    first = page.get_by_role("link", name="first by keys", exact=True)
    expect(first).to_be_focused()
    page.keyboard.press("x")
    expect(page.get_by_label("Select first by keys")).to_be_checked()
    page.keyboard.press("k")
    page.keyboard.press("/")
    search = page.locator("main input[type=search]")
    expect(search).to_be_focused()
    page.keyboard.type("gw jx?")  # what is typed is text
    expect(search).to_have_value("gw jx?")
    expect(page.get_by_role("dialog")).to_have_count(0)
    first.focus()
    page.keyboard.press("Control+j")
    page.keyboard.press("Alt+x")
    expect(first).to_be_focused()
    expect(page.get_by_label("Select first by keys")).to_be_checked()
    page.keyboard.press("Enter")
    expect(page.get_by_role("heading", name="first by keys")).to_be_visible()


def test_a_question_mark_shows_the_keys_which_can_be_turned_off(visits: Visits, stack: Stack) -> None:
    page = visits.page("viewer")
    page.goto("/tasks")
    page.keyboard.press("?")
    dialog = page.get_by_role("dialog", name="Keys")
    expect(dialog).to_contain_text("Next row")
    assert axe_findings(page) == []
    page.keyboard.press("j")  # does nothing behind a dialog
    page.keyboard.press("Escape")
    expect(dialog).to_be_hidden()
    page.get_by_role("button", name="Keys").click()
    dialog.get_by_label("Keys are on").uncheck()
    dialog.get_by_role("button", name="Close").click()
    page.reload()
    page.keyboard.press("?")
    page.keyboard.press("g")
    page.keyboard.press("w")
    expect(page.get_by_role("heading", name="Tasks", level=1)).to_be_visible()
    expect(page.get_by_role("dialog")).to_have_count(0)


def test_keys_follow_a_log_and_step_through_what_was_found(visits: Visits, stack: Stack) -> None:
    page = visits.page("viewer")
    tasks.open_task(page, stack.submit("seq 1 300; sleep 300"))
    expect(page.locator("#L300")).to_be_in_viewport()
    page.keyboard.press("f")
    expect(page.get_by_label("Follow")).not_to_be_checked()
    page.keyboard.press("/")
    page.keyboard.type("29")
    expect(page.locator("#find-count")).to_have_text("1 of 13")
    page.get_by_role("log").focus()
    page.keyboard.press("n")
    expect(page.locator("#L129[aria-current]")).to_be_in_viewport()
    page.keyboard.press("p")
    expect(page.locator("#L29[aria-current]")).to_be_in_viewport()
