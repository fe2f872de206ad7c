"""A repository's life as people see it: cloned from a real remote by a real agent, pulled, deleted, forgotten."""

from __future__ import annotations

import re
import secrets
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from playwright.sync_api import Locator, Page, expect

from tests.browser import tasks
from tests.browser.looks import axe_findings, too_wide
from tests.browser.people import DESKTOP, PHONE, People, Visits
from tests.git.http_remote import HttpRemote
from tests.stack import Process, Stack, running_stack

pytestmark = [pytest.mark.browser, pytest.mark.slow, pytest.mark.timeout(300)]

BIG = 6_000_000
# How long a person without a script goes on looking.
PATIENCE_S = 60.0


@pytest.fixture
def git_stack(tmp_path: Path) -> Iterator[Stack]:
    """It allows plain http, which the tests' own remote speaks."""
    with running_stack(tmp_path, git_schemes="https,ssh,http") as started:
        yield started


def start_agent(stack: Stack, name: str = "agent-1") -> Process:
    return stack.start_agent(name, disk_floor_bytes=0)


def row(page: Page, worker: str = "agent-1") -> Locator:
    return page.locator("#places tbody tr").filter(has_text=worker)


def head(page: Page) -> Locator:
    return page.locator("#project-head .pill")


def usable(page: Page) -> None:
    """On a screen and on a phone, as it is now."""
    for size in (PHONE, DESKTOP):
        page.set_viewport_size({"width": size[0], "height": size[1]})
        assert [*too_wide(page), *axe_findings(page)] == []


def fill_form(page: Page, url: str) -> None:
    page.get_by_label("URL").fill(url)
    page.locator("#name").fill("garden")


def cloned(page: Page, url: str) -> None:
    """By the form, and then whole."""
    page.goto("/projects/new")
    fill_form(page, url)
    page.get_by_role("button", name="Clone", exact=True).click()
    expect(head(page)).to_have_text("Active")


def test_clone_progress_active_pull_and_delete(
    git_stack: Stack, new_visits: Callable[[People], Visits], http_remote: HttpRemote
) -> None:
    start_agent(git_stack)
    repository = http_remote.filled("garden")
    repository.commit({"big.bin": secrets.token_bytes(BIG)}, "A large file")
    page = new_visits(People(git_stack)).page("operator")
    look_up_branches(page, http_remote.url(repository))
    http_remote.ways.bytes_per_second = BIG // 4
    page.get_by_role("button", name="Clone", exact=True).click()
    watch_progress(page)
    http_remote.ways.bytes_per_second = None
    expect(head(page)).to_have_text("Active")
    for words in ("A large file", "clean"):
        expect(row(page)).to_contain_text(words)
    expect(page.locator("#commits")).to_contain_text("Commit 1")
    expect(page.locator("#project-tasks")).to_contain_text("clone operator-1_garden")
    tasks.assert_not_reloaded(page)
    usable(page)
    repository.commit({"seeds.txt": "beans\n"}, "Beans by the fence")
    row(page).get_by_role("button", name="Pull").click()
    expect(row(page)).to_contain_text("Beans by the fence")
    expect(head(page)).to_have_text("Active")
    delete_what_was_changed(page, git_stack.folder / "agent-1" / "projects" / "operator-1_garden")
    page.get_by_role("link", name="Delete…").click()
    page.get_by_role("dialog").get_by_role("button", name="Delete the project").click()
    expect(page.locator("#project-rows")).to_contain_text("No projects yet")


def look_up_branches(page: Page, url: str) -> None:
    """By the form, which is loaded once."""
    page.goto("/projects")
    page.get_by_role("link", name="Clone a repository").first.click()
    fill_form(page, url)
    tasks.mark(page)
    page.get_by_role("button", name="Look up branches").click()
    expect(page.locator("#looked-up")).to_contain_text("has 2 branches and 1 tag")
    choices = ["main, the remote’s default", "main", "topic/two"]
    expect(page.locator("#branch option")).to_have_text(choices)
    tasks.assert_not_reloaded(page)
    usable(page)


def watch_progress(page: Page) -> None:
    expect(page.locator("h1")).to_have_text("garden")
    tasks.mark(page)
    expect(head(page)).to_have_text("Syncing")
    expect(row(page).locator("progress[value]")).to_be_visible()
    expect(row(page)).to_contain_text(re.compile(r"receiving.*, \d+ %"))
    expect(page).to_have_title(re.compile(r"^Syncing \d+ %: garden"))


def delete_what_was_changed(page: Page, folder: Path) -> None:
    """The worker finds what exists nowhere else, so the question is asked twice."""
    (folder / "seeds.txt").write_text("beans, and peas\n")
    (folder / "<b hx-get=x>.txt").write_text("mine\n")
    dialog = page.get_by_role("dialog")
    row(page).get_by_role("link", name="Delete on agent-1…").click()
    expect(dialog).to_contain_text("looks first")
    dialog.get_by_role("button", name="Delete the files").click()
    tasks.mark(page)
    expect(row(page).locator(".bad")).to_be_visible()
    expect(head(page)).to_have_text("Active")
    assert folder.is_dir()
    row(page).get_by_role("link", name="Delete on agent-1…").click()
    expect(dialog).to_contain_text("2 changed files, never committed, are lost")
    expect(dialog.locator("code")).to_contain_text(["operator-1_garden", "seeds.txt"])
    tasks.assert_not_reloaded(page)
    usable(page)
    dialog.get_by_role("button", name="Delete anyway").click()
    expect(page.locator("#places")).to_contain_text("It is on no worker now")
    assert not folder.exists()


def test_a_worker_that_goes_away_is_said_at_once_and_its_checkout_forgotten(
    git_stack: Stack, new_visits: Callable[[People], Visits], http_remote: HttpRemote
) -> None:
    agent = start_agent(git_stack)
    page = new_visits(People(git_stack)).page("operator")
    cloned(page, http_remote.url(http_remote.filled("garden")))
    tasks.mark(page)
    row(page).get_by_role("link", name="Delete on agent-1…").click()
    dialog = page.get_by_role("dialog")
    expect(dialog).to_contain_text("Delete garden from agent-1?")
    agent.kill()
    expect(row(page)).to_contain_text("agent-1 is offline.", timeout=90_000)
    for button in row(page).get_by_role("button").all():
        expect(button).to_be_disabled()
    expect(dialog).to_be_hidden()  # the question that was asked isn't one any more
    row(page).get_by_role("link", name="Forget on agent-1…").click()
    expect(dialog).to_contain_text("Its files stay on that machine")
    tasks.assert_not_reloaded(page)
    usable(page)
    dialog.get_by_role("button", name="Forget it").click()
    expect(page.locator("#places")).to_contain_text("It is on no worker now")
    assert (git_stack.folder / "agent-1" / "projects" / "operator-1_garden").is_dir()
    page.goto("/projects/new")
    expect(page.locator("#worker option")).to_be_disabled()
    expect(page.locator("#worker-h")).to_have_text("agent-1 is offline.")


def test_all_of_it_works_without_a_script(
    git_stack: Stack, new_visits: Callable[[People], Visits], http_remote: HttpRemote
) -> None:
    start_agent(git_stack)
    page = new_visits(People(git_stack)).page("operator", script=False)
    page.goto("/projects/new")
    fill_form(page, http_remote.url(http_remote.filled("garden")))
    page.get_by_role("button", name="Look up branches").click()
    button = page.get_by_role("button", name="See whether it has answered")
    choice = page.locator("select#branch")
    until = time.monotonic() + PATIENCE_S
    while time.monotonic() < until:
        expect(button.or_(choice)).to_be_visible()
        if choice.is_visible():
            break
        button.click()
    choice.select_option("topic/two")
    page.get_by_role("button", name="Clone", exact=True).click()
    expect_reloaded(page, "Active")
    expect(row(page)).to_contain_text("On the side")
    row(page).get_by_role("link", name="Delete on agent-1…").click()
    delete = page.get_by_role("button", name="Delete the files")
    reload_until(page, delete.is_enabled)  # the clone's task ends a moment after its checkout is there
    delete.click()
    expect_reloaded(page, "On no worker")


def expect_reloaded(page: Page, word: str) -> None:
    reload_until(page, lambda: word in head(page).inner_text())
    expect(head(page)).to_have_text(word)


def reload_until(page: Page, is_so: Callable[[], bool]) -> None:
    """As a person without a script looks: again and again."""
    until = time.monotonic() + PATIENCE_S
    while not is_so() and time.monotonic() < until:
        page.reload()
