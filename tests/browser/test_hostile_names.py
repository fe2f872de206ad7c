"""Names from outside are text, and break neither the page nor its layout."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
from playwright.sync_api import Page, expect

from tests.browser.looks import too_wide
from tests.browser.people import DESKTOP, PHONE, Visits
from tests.stack import Stack

pytestmark = pytest.mark.browser

LONG = "w" * 255
MARKUP = (
    '<script>window.pwned=1</script><img src=x onerror=window.pwned=1><b hx-get="/logout" hx-trigger="load">'
)
BIDI = "echo invoice\u202efdp.exe \u2066left\u2069"
SCRIPT = {"script": "true"}
NAMES = (LONG, MARKUP)


@pytest.fixture
def hostile_pages(stack: Stack) -> Iterator[list[str]]:
    """Pages that show each name: of the worker, of waiting and of ended tasks, of labels."""
    worker = stack.worker("agent-1")
    ids = [stack.submit("exit 1", name=name, max_retries=0) for name in NAMES]
    ids += [stack.submit(name=LONG, labels={"l" * 63: "v" * 255})]
    for task_id in ids[:2]:
        stack.ended(task_id)
    # A name with such characters is refused, but a task without one is called by what it runs.
    assert (
        stack.api("POST", "/tasks", json={"tool": "shell", "input": SCRIPT, "name": BIDI}).status_code == 422
    )
    ids += [stack.submit(BIDI)]
    stack.ended(ids[-1])
    changed = stack.api(
        "PATCH", f"/workers/{worker['id']}", json={"name": MARKUP + "w" * (255 - len(MARKUP))}
    )
    assert changed.status_code == 200, changed.text
    yield [
        "/",
        "/tasks",
        "/workers",
        f"/workers/{worker['id']}",
        "/tasks/new",
        *(f"/tasks/{each}" for each in ids),
    ]
    stack.api("PATCH", f"/workers/{worker['id']}", json={"name": "agent-1"})


@pytest.mark.parametrize("size", [DESKTOP, PHONE], ids=["desktop", "phone"])
def test_a_name_is_shown_as_it_is_and_does_nothing(
    visits: Visits, hostile_pages: list[str], size: tuple[int, int]
) -> None:
    page = visits.page("admin", size=size)
    for path in hostile_pages:
        page.goto(path)
        expect(page.locator("h1")).to_be_visible()
        assert too_wide(page) == [], path
        assert page.evaluate("window.pwned") is None
        assert page.locator("main").locator("script, img, [hx-get]").count() == 0
    page.goto("/tasks")
    for name in NAMES:
        assert_shown(page, name)


def assert_shown(page: Page, name: str) -> None:
    links = page.locator("#task-rows a.cut")
    assert name in links.evaluate_all("all => all.map((link) => link.title)")
    one_line = links.first.evaluate("link => link.getBoundingClientRect().height")
    assert one_line < 60
