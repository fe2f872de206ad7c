"""A page offers what its reader may do, and nothing else."""

from __future__ import annotations

import pytest
from playwright.sync_api import Page, expect

from tests.browser import tasks
from tests.browser.people import Visits
from tests.stack import Stack

pytestmark = pytest.mark.browser

# Everybody may sign out, and change their own password and tokens.
OWN = ("/logout", "/settings/password", "/settings/tokens")
CHANGES = """[...document.querySelectorAll("form, [formaction]")]
  .filter((el) => el.matches("[formaction]") || (el.method === "post" && el.querySelector("button:not([formaction])")))
  .map((el) => new URL(el.getAttribute("formaction") ?? el.action, location.href).pathname)"""


def pages_of(stack: Stack) -> list[str]:
    task_id = stack.submit("sleep 300", name="somebody’s")
    stack.running(task_id)
    return [
        "/",
        "/tasks",
        f"/tasks/{task_id}",
        "/workers",
        f"/workers/{stack.worker('agent-1')['id']}",
        "/settings",
    ]


def what_changes(page: Page) -> set[str]:
    """Where the forms and buttons of a page lead that change something."""
    return {path for path in page.evaluate(CHANGES) if not path.startswith(OWN)}


def test_a_viewer_reads_and_finds_nothing_that_changes_anything(visits: Visits, stack: Stack) -> None:
    page = visits.page("viewer")
    for path in pages_of(stack):
        page.goto(path)
        expect(page.locator(".account")).to_contain_text("Viewer")
        assert what_changes(page) == set(), path
        for words in ("New task", "Add a worker", "Cancel…", "Run again", "Approve", "Revoke…"):
            expect(page.locator("button, .btn").filter(has_text=words)).to_have_count(0)


def test_a_viewer_is_refused_what_they_ask_for_by_address(visits: Visits) -> None:
    visits.expect_noise("status of 403")
    page = visits.page("viewer")
    for path in ("/tasks/new", "/workers/add", "/settings/members", "/settings/audit"):
        page.goto(path)
        expect(page.get_by_role("heading", name="Not with your role")).to_be_visible()
        expect(page.get_by_text("yours is viewer")).to_be_visible()


def test_an_operator_works_with_tasks_and_not_with_workers_or_people(visits: Visits, stack: Stack) -> None:
    visits.expect_noise("status of 403")
    page = visits.page("operator")
    paths = pages_of(stack)
    for path in paths:
        page.goto(path)
        changed = what_changes(page)
        assert all(each.startswith("/tasks/") for each in changed), (path, changed)
    tasks.open_task(page, paths[2].rsplit("/", 1)[1])
    expect(page.get_by_role("link", name="Cancel…")).to_be_visible()
    page.goto("/settings")
    tabs = page.get_by_role("navigation", name="Settings")
    expect(tabs.get_by_role("link")).to_have_text(["Account", "API tokens", "Credentials", "Retention"])
    page.goto("/settings/members")
    expect(page.get_by_role("heading", name="Not with your role")).to_be_visible()


def test_an_admin_finds_it_all(visits: Visits, stack: Stack) -> None:
    page = visits.page("admin")
    page.goto(f"/workers/{stack.worker('agent-1')['id']}")
    assert any(path.endswith("/change") for path in what_changes(page))
    page.goto("/settings")
    expect(page.get_by_role("navigation", name="Settings").get_by_role("link")).to_have_count(7)
