"""A task is made with the form."""

from __future__ import annotations

import re
from pathlib import Path

import pytest
from playwright.sync_api import Page, expect

from tests.browser import tasks
from tests.browser.people import Visits
from tests.stack import Stack

pytestmark = pytest.mark.browser


def open_form(page: Page) -> None:
    page.goto("/tasks")
    page.get_by_role("link", name="New task").first.click()
    expect(page.get_by_role("heading", name="New task")).to_be_visible()


def test_a_script_is_submitted_and_followed_line_by_line_to_its_end(visits: Visits, stack: Stack) -> None:
    first, open_first = tasks.waiting_script(stack, "first")
    second, open_second = tasks.waiting_script(stack, "second")
    page = visits.page("operator")
    open_form(page)
    page.get_by_label("Script").fill(f"echo one\n{first}\necho two\n{second}\necho three")
    page.get_by_role("textbox", name="Name").fill("count to three")
    page.get_by_role("button", name="Submit task").click()
    expect(page.get_by_role("heading", name="count to three")).to_be_visible()
    tasks.mark(page)
    tasks.expect_state(page, "Running", "^Running: count to three", "running")
    expect(page.locator("#L1")).to_contain_text("one")
    expect(page.locator("#L2")).to_have_count(0)
    Path(open_first).touch()
    expect(page.locator("#L2")).to_contain_text("two")
    Path(open_second).touch()
    expect(page.locator("#L3")).to_contain_text("three")
    tasks.expect_state(page, "Completed", "^Done: count to three", "idle")
    expect(page.locator("#attempts")).to_contain_text("completed")
    expect(page.locator("#log-foot")).to_contain_text("exit code 0")
    tasks.assert_not_reloaded(page)
    assert tasks.texts(page) == ["one", "two", "three"]
    expect(page.locator("#outcome")).to_be_hidden()  # there is no result but the log


def test_a_failure_turns_the_title_and_the_favicon_too(visits: Visits, stack: Stack) -> None:
    wait, gate = tasks.waiting_script(stack, "failure")
    page = visits.page("operator")
    tasks.open_task(page, stack.submit(f"{wait}; exit 3", name="goes wrong", max_retries=0))
    tasks.mark(page)
    tasks.expect_state(page, "Running", "^Running: goes wrong", "running")
    Path(gate).touch()
    tasks.expect_state(page, "Failed", "^Failed: goes wrong", "failed")
    expect(page.locator(".notice.is-bad")).to_contain_text("Exit code 3")
    tasks.assert_not_reloaded(page)


def test_labels_and_a_worker_by_name_decide_where_it_runs(visits: Visits, stack: Stack) -> None:
    page = visits.page("operator")
    open_form(page)
    page.get_by_label("Script").fill("true")
    page.get_by_role("textbox", name="Labels").fill("gpu=none-has-this")
    page.get_by_role("button", name="Submit task").click()
    expect(tasks.pill(page)).to_have_text("Queued")
    expect(page.locator("#why")).to_contain_text("agent-1")
    expect(page.locator("#why")).to_contain_text("gpu")
    open_form(page)
    page.get_by_label("Script").fill("true")
    page.get_by_label("One worker by name").check()
    page.get_by_role("combobox", name="Worker").select_option("agent-1")
    page.get_by_role("button", name="Submit task").click()
    expect(tasks.pill(page)).to_have_text("Completed")
    expect(page.get_by_text("one worker by name")).to_be_visible()


def test_what_is_wrong_is_said_beside_its_field_and_what_was_typed_stays(visits: Visits) -> None:
    visits.expect_noise("status of 422")
    page = visits.page("operator")
    open_form(page)
    page.get_by_role("textbox", name="Name").fill("kept as typed")
    page.get_by_role("textbox", name="Labels").fill("gpu=3060 =bad")
    page.locator("#advanced > summary").click()
    page.get_by_label("Time limit, minutes").fill("-5")
    page.get_by_role("button", name="Submit task").click()
    expect(page.get_by_role("alert")).to_contain_text("The task was not submitted.")
    for field in ("labels", "timeout"):
        expect(page.locator(f"#{field}")).to_have_attribute("aria-invalid", "true")
        expect(page.locator(f"#{field}-e")).to_be_visible()
    expect(page.get_by_role("textbox", name="Name")).to_have_value("kept as typed")
    expect(page.get_by_role("textbox", name="Labels")).to_have_value("gpu=3060 =bad")
    expect(page.get_by_label("Time limit, minutes")).to_have_value("-5")
    page.get_by_role("textbox", name="Labels").fill("")
    page.get_by_label("Time limit, minutes").fill("5")
    page.get_by_label("Script").fill("")
    page.get_by_role("button", name="Submit task").click()
    expect(page.locator("#oneOf-e")).to_be_visible()
    page.get_by_label("Script").fill("echo put right")
    page.get_by_role("button", name="Submit task").click()
    expect(page).to_have_url(re.compile(r"/tasks/[0-9a-f-]{36}$"))
    expect(tasks.pill(page)).to_have_text("Completed")
    expect(page.get_by_role("heading", name="kept as typed")).to_be_visible()


def test_a_secret_variable_is_typed_in_and_never_shown_again(visits: Visits, stack: Stack) -> None:
    page = visits.page("operator")
    open_form(page)
    page.get_by_label("Script").fill('echo "${#KEY} letters"')
    page.get_by_label("Environment").fill("KEY=canary-5512")
    page.get_by_role("button", name="Submit task").click()
    expect(page.locator("#L1")).to_contain_text("11 letters")
    assert "canary" not in page.content()
    page.get_by_role("link", name="Run again with changes").click()
    expect(page.get_by_label("Script")).to_have_value(re.compile("letters"))
    assert "canary" not in page.content()
