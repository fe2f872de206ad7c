"""The list of tasks in front of a person: filters in the address, and nothing lost while tasks come and go."""

from __future__ import annotations

import re

import pytest
from playwright.sync_api import Page, expect

from tests.browser import tasks
from tests.browser.people import Visits
from tests.stack import Stack

pytestmark = [pytest.mark.browser, pytest.mark.slow]

NOBODYS = {"gpu": "none-has-this"}
# What the server sends again is another element, whatever it looks like.
NOTE_FILTERS = "document.querySelectorAll('.filters *').forEach((el) => { el.isStillThis = true; })"
SAME_FILTERS = "[...document.querySelectorAll('.filters *')].every((el) => el.isStillThis)"
PLACE = "el => el.getBoundingClientRect().top"


def arrives(page: Page, stack: Stack, name: str) -> None:
    """A task comes, and is in the list without a reload."""
    stack.submit(name=name, labels=NOBODYS)
    expect(page.locator("#task-rows")).to_contain_text(name)


def test_nothing_is_lost_while_tasks_come(visits: Visits, stack: Stack) -> None:
    for number in range(14):
        stack.submit(name=f"kept-{number}", labels=NOBODYS)
    page = visits.page("operator", size=(1000, 420))
    page.goto("/tasks?label=gpu")
    tasks.mark(page)
    page.get_by_label("Select kept-3").check()
    search = page.get_by_role("searchbox")
    search.fill("half a thought")
    page.get_by_label("Tool").select_option("shell")
    page.evaluate(NOTE_FILTERS)
    search.evaluate("el => el.setSelectionRange(4, 6)")
    arrives(page, stack, "came while typing")
    expect(search).to_be_focused()
    page.keyboard.type("my")
    expect(search).to_have_value("halfmy thought")

    link = page.get_by_role("link", name="kept-1", exact=True)
    link.focus()
    page.mouse.wheel(0, 200)
    page.wait_for_function("scrollY > 0")
    place = link.evaluate(PLACE)
    arrives(page, stack, "came while reading")
    expect(link).to_be_focused()
    assert link.evaluate(PLACE) == pytest.approx(place, abs=1), "what is being read stays where it is"
    expect(page.get_by_label("Select kept-3")).to_be_checked()
    expect(page.locator("[data-bulk-bar]")).to_contain_text("1 selected")
    expect(page.get_by_label("Tool")).to_have_value("shell")
    assert page.evaluate(SAME_FILTERS)
    tasks.assert_not_reloaded(page)


def test_filters_are_in_the_address_and_a_reload_keeps_them(visits: Visits, stack: Stack) -> None:
    wanted = stack.submit(name="find me", labels=NOBODYS)
    stack.submit(name="find me not", labels={"os": "none-has-this"})
    page = visits.page("viewer")
    page.goto("/tasks?status=waiting")
    page.get_by_role("searchbox").fill("find me")
    page.get_by_label("Label that it asks for").fill("gpu=none-has-this")
    page.get_by_label("Since").select_option("hour")
    page.keyboard.press("Tab")
    page.get_by_role("button", name="Filter").click()
    for part in ("status=waiting", "q=find\\+me", "label=gpu%3Dnone-has-this", "since=hour"):
        expect(page).to_have_url(re.compile(part))
    for _ in range(2):
        expect(page.locator("#task-rows tbody tr")).to_have_count(1)
        expect(page.locator(f"#t-{wanted}")).to_have_text("find me")
        expect(page.get_by_label("Since")).to_have_value("hour")
        page.reload()
    page.get_by_role("link", name="Clear").click()
    expect(page).to_have_url(re.compile(r"/tasks\?status=waiting$"))
    expect(page.locator("#task-rows")).to_contain_text("find me not")
