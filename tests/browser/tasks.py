"""What tests do and see on the pages of tasks."""

from __future__ import annotations

import re

from playwright.sync_api import Locator, Page, expect

from tests.stack import Stack

LINES = """[...document.querySelectorAll("#log .ln[id]")].map(
  (line) => [Number(line.id.slice(1)), line.lastElementChild.textContent])"""


def open_task(page: Page, task_id: str, query: str = "") -> None:
    page.goto(f"/tasks/{task_id}{query}")
    expect(page.locator("#task-head")).to_be_visible()


def mark(page: Page) -> None:
    """From now on `assert_not_reloaded` knows whether this is still the same document."""
    page.evaluate("window.marker = 1")


def assert_not_reloaded(page: Page) -> None:
    assert page.evaluate("window.marker") == 1, "the page was loaded again"


def pill(page: Page) -> Locator:
    return page.locator("#task-head .pill")


def numbered_lines(page: Page) -> list[tuple[int, str]]:
    return [(int(number), str(text)) for number, text in page.evaluate(LINES)]


def texts(page: Page) -> list[str]:
    return [text for _, text in numbered_lines(page)]


def expect_state(page: Page, word: str, title: str, favicon: str) -> None:
    expect(pill(page)).to_have_text(word)
    expect(page).to_have_title(re.compile(title))
    expect(page.locator("link[rel=icon]")).to_have_attribute("href", re.compile(f"favicon-{favicon}"))


def waiting_script(stack: Stack, name: str) -> tuple[str, str]:
    """A piece of shell that waits until the test lets it go on, and the file that does."""
    gate = stack.folder / f"go-{name}"
    return f"while [ ! -e {gate} ]; do sleep 0.05; done", str(gate)
