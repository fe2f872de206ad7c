"""Every page, empty and full, wide and narrow, light and dark: usable by everybody, not wider than its window, light."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from playwright.sync_api import Page, expect

from tests.browser import tasks
from tests.browser.conftest import end_all
from tests.browser.looks import axe_findings, too_wide
from tests.browser.people import DESKTOP, PHONE, RAIL, People, Visits
from tests.stack import Stack, eventually, running_stack

pytestmark = [pytest.mark.browser, pytest.mark.slow, pytest.mark.timeout(300)]

LOOKS = {
    "wide-light": (DESKTOP, False),
    "wide-dark": (DESKTOP, True),
    "rail-light": (RAIL, False),
    "phone-light": (PHONE, False),
    "phone-dark": (PHONE, True),
}
SETTINGS = ("", "/tokens", "/members", "/join-tokens", "/credentials", "/audit", "/retention")
REFUSED = ("/nowhere", "/tasks/not-an-id")
TEST_RUN = r"""for i in $(seq 1 40); do
printf 'tests/test_%02d.py \033[32m....................\033[0m [%3d%%]\n' $i $((i * 2)); done
printf '\033[1;31mE   AssertionError: 3 != 4\033[0m\n\033[33m1 failed\033[0m\n'; """

# How far things jumped since `since`. What is told late counts by when it happened.
WATCH_SHIFTS = """(() => {
  const seen = [];
  const keep = (list) => seen.push(...list);
  const observer = new PerformanceObserver((list) => keep(list.getEntries()));
  observer.observe({type: "layout-shift", buffered: true});
  window.shift = () => {
    keep(observer.takeRecords());
    return seen.filter((each) => !each.hadRecentInput && each.startTime > window.since)
      .reduce((sum, each) => sum + each.value, 0);
  };
})()"""
# What is in the document now has been painted.
PAINTED = (
    "() => new Promise((done) => requestAnimationFrame(() => requestAnimationFrame(() => setTimeout(done))))"
)


@pytest.fixture
def stack(shared_stack: Stack) -> Stack:
    """Here what runs goes on running: it is what the pages show."""
    return shared_stack


def submit_one_of_each(stack: Stack, wait: str) -> dict[str, str]:
    ids = {
        "completed task": stack.submit("echo done", name="git gc"),
        "failed task": stack.submit(TEST_RUN + "exit 1", name="pytest -q", max_retries=0),
        "task without a log": stack.submit(tool="noop", input={"message": "done"}),
    }
    for task_id in ids.values():
        stack.ended(task_id)
    ids["waiting task"] = stack.submit("true", name="train", labels={"gpu": "a100"})
    ids["running task"] = stack.submit(TEST_RUN + wait, name="make check", locks=["deploy/prod", "db"])
    stack.running(ids["running task"])
    ids["task that waits for a lock"] = stack.submit("true", name="deploy", locks=["deploy/prod"])
    return ids


def project_in_error(stack: Stack) -> str:
    """A clone from where no remote is. Returns the project's id."""
    wish = {"git_url": "https://127.0.0.1:1/team/app.git", "worker_id": stack.worker("agent-1")["id"]}
    answer = stack.api("POST", "/projects/clone", json={"name": "app", **wish})
    assert answer.status_code == 202, answer.text
    stack.ended(answer.json()["task_id"])
    return str(answer.json()["project_id"])


@pytest.fixture(scope="module")
def full(shared_stack: Stack, people: People) -> Iterator[dict[str, str]]:
    """A server on which something of every kind has happened: {what it is: its page}."""
    wait, gate = tasks.waiting_script(shared_stack, "every-page")
    people.session("viewer"), people.session("operator")
    people.admin.post("/settings/tokens", page="/settings/tokens", name="nightly backup", days="90")
    people.admin.post("/workers/add", page="/workers/add", name="the attic", labels="site=attic", life="ten")
    credential = {"kind": "made", "name": "deploy key", "host": "git.example"}
    people.admin.post("/settings/credentials", page="/settings/credentials", **credential)
    ids = submit_one_of_each(shared_stack, wait)
    project = project_in_error(shared_stack)
    pending = shared_stack.start_agent("stranger", join=False)
    stranger = eventually(lambda: shared_stack.worker("stranger"), what="the stranger to ask")["id"]
    yield {
        **{what: f"/tasks/{task_id}" for what, task_id in ids.items()},
        "task with a search": f"/tasks/{ids['failed task']}?find=test_0",
        "dashboard": "/",
        "tasks": "/tasks",
        "locks": "/locks",
        "tasks, none found": "/tasks?q=no-such-task",
        "new task": "/tasks/new",
        "run again with changes": f"/tasks/new?from={ids['failed task']}",
        "workers": "/workers",
        "workers, none found": "/workers?q=no-such-worker",
        "projects": "/projects",
        "projects, none found": "/projects?q=no-such-project",
        "project": f"/projects/{project}",
        "clone": "/projects/new",
        "worker": f"/workers/{shared_stack.worker('agent-1')['id']}",
        "pending worker": f"/workers/{stranger}",
        "add a worker": "/workers/add",
        **{f"api, {about}": f"/api/docs?about={about}" for about in ("tasks", "agents")},
        **{f"settings{path}": f"/settings{path}" for path in SETTINGS},
    }
    Path(gate).touch()
    end_all(shared_stack)
    for deleting in shared_stack.api("DELETE", f"/projects/{project}").json()["task_ids"]:
        shared_stack.ended(deleting)
    pending.kill()
    people.admin.post(f"/workers/{stranger}/revoke")
    people.admin.post(f"/workers/{stranger}/remove")


@pytest.fixture(scope="module")
def empty(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Stack]:
    with running_stack(tmp_path_factory.mktemp("empty")) as started:
        yield started


def problems(page: Page, path: str) -> list[str]:
    page.goto(path)
    expect(page.locator("h1").first).to_be_visible()
    return [f"{path}: {each}" for each in (*too_wide(page), *axe_findings(page))]


@pytest.mark.parametrize("look", LOOKS)
def test_every_page_is_usable_and_fits(visits: Visits, full: dict[str, str], look: str) -> None:
    size, dark = LOOKS[look]
    visits.expect_noise("status of 40[34]")
    page = visits.page("admin", size=size, dark=dark)
    found = [each for path in (*full.values(), *REFUSED) for each in problems(page, path)]
    if look == "wide-light":
        viewer = visits.page("viewer")
        found += [each for path in ("/tasks/new", "/settings", "/workers") for each in problems(viewer, path)]
    found += problems(visits.page(None, size=size, dark=dark), "/login")
    assert found == []


@pytest.mark.parametrize("look", ["wide-light", "phone-dark"])
def test_every_empty_page_says_what_to_do_next(
    empty: Stack, new_visits: Callable[[People], Visits], look: str
) -> None:
    size, dark = LOOKS[look]
    page = new_visits(People(empty)).page("admin", size=size, dark=dark)
    paths = ("/", "/tasks", "/locks", "/tasks/new", "/workers", "/projects", "/projects/new")
    paths += ("/settings/join-tokens", "/settings/tokens")
    found = []
    for path in paths:
        found += problems(page, path)
        expect(page.locator("main .btn:visible").first).to_be_visible()
    assert found == []


@pytest.mark.parametrize("dialog", ["break", "cancel", "delete", "force-finish", "open", "revoke"])
def test_every_dialog_is_usable(
    request: pytest.FixtureRequest, visits: Visits, full: dict[str, str], stack: Stack, dialog: str
) -> None:
    page = visits.page("admin", size=PHONE)
    if dialog == "open":
        worker = stack.worker("agent-1")["id"]
        visits.people.admin.post(f"/workers/{worker}/close")
        request.addfinalizer(lambda: visits.people.admin.post(f"/workers/{worker}/open"))
    shown_on = {"break": "locks", "delete": "project", "open": "worker", "revoke": "worker"}
    page.goto(full[shown_on.get(dialog, "running task")])
    if dialog == "break":
        page.get_by_role("checkbox", name="Select db").check()
    page.locator(f"a[href='#{dialog}']").click()
    expect(page.get_by_role("dialog")).to_be_in_viewport(ratio=1)
    assert axe_findings(page) == []


def weight(page: Page, path: str) -> float:
    """Bytes over the wire, headers and all, of a first visit."""
    wire = page.context.new_cdp_session(page)
    wire.send("Network.enable")
    received: list[float] = []
    wire.on("Network.loadingFinished", lambda event: received.append(event["encodedDataLength"]))
    page.goto(path, wait_until="networkidle")
    assert len(received) >= 5, path
    return sum(received)


def test_a_first_visit_weighs_less_than_100_kb(visits: Visits, full: dict[str, str]) -> None:
    heavy = {}
    for name in (
        "dashboard",
        "tasks",
        "running task",
        "new task",
        "workers",
        "worker",
        "add a worker",
        "projects",
        "project",
        "clone",
        "api, tasks",
    ):
        if (weighs := weight(visits.page("admin"), full[name])) >= 100_000:
            heavy[name] = weighs
    assert heavy == {}


def test_a_row_that_changes_shifts_nothing(visits: Visits, full: dict[str, str], stack: Stack) -> None:
    page = visits.page("admin")
    page.add_init_script(WATCH_SHIFTS)
    page.goto(full["running task"])
    expect(page.locator("#L42")).to_be_attached()
    page.goto("/tasks")
    task_id = stack.submit("sleep 300", name="changes its row")
    row = page.get_by_role("row").filter(has_text="changes its row")
    expect(row.locator(".st")).to_have_text("Running")
    page.evaluate(PAINTED)
    page.evaluate("window.since = performance.now()")
    stack.api("POST", f"/tasks/{task_id}/cancel")
    expect(row.locator(".st")).to_have_text("Cancelled")
    page.evaluate(PAINTED)
    assert page.evaluate("window.shift()") < 0.01


def test_the_theme_is_switched_and_kept(visits: Visits) -> None:
    page = visits.page("viewer")
    page.goto("/")
    light = page.locator("html").evaluate("el => getComputedStyle(el).backgroundColor")
    page.get_by_role("button", name="Switch between light and dark").click()
    expect(page.locator("html")).not_to_have_css("background-color", light)
    page.goto("/tasks")
    expect(page.locator("html")).to_have_attribute("data-theme", re.compile("dark"))
