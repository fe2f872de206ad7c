"""The server goes away under an open page, or no WebSocket gets through: the page says so and misses nothing."""

from __future__ import annotations

import signal
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from playwright.sync_api import Page, expect

from tests.browser import tasks
from tests.browser.people import SOCKETS, People, Visits
from tests.browser.upgrade_proxy import UpgradeRefusingProxy
from tests.stack import Process, Stack, running_stack

pytestmark = [pytest.mark.browser, pytest.mark.slow, pytest.mark.timeout(150)]

BANNER = "#connection-lost"
COUNT = 'for i in $(seq 1 80); do echo "line $i of 80"; sleep 0.1; done'
COUNTED = [(number, f"line {number} of 80") for number in range(1, 81)]
OUTAGE = f"{SOCKETS}|Response Status Error|status of (401|403|502|503)|^htmx:(afterRequest|sendError)"


@pytest.fixture(scope="module")
def mortal(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Stack]:
    """Its server is stopped and killed, and is always there again when the next test begins."""
    with running_stack(tmp_path_factory.mktemp("mortal")) as started:
        started.start_agent()
        yield started


@pytest.fixture
def mortal_page(mortal: Stack, new_visits: Callable[[People], Visits]) -> Page:
    if server_of(mortal).process.poll() is not None:  # an earlier test failed while it was away
        mortal.start_server()
    visits = new_visits(People(mortal))
    visits.expect_noise(OUTAGE)
    return visits.page("admin")


@pytest.fixture
def counting_page(mortal: Stack, mortal_page: Page) -> Page:
    """A page in front of a task that counts."""
    tasks.open_task(mortal_page, mortal.submit(COUNT, name="count"))
    tasks.mark(mortal_page)
    expect(mortal_page.locator("#L10")).to_be_visible()
    return mortal_page


def server_of(stack: Stack) -> Process:
    assert stack.server is not None
    return stack.server


def expect_whole(page: Page) -> None:
    """The end is shown, with each line once, in the document that was open all the time."""
    expect(page.locator("#L80")).to_be_attached(timeout=60_000)
    tasks.expect_state(page, "Completed", "^Done: count", "idle")
    expect(page.locator(BANNER)).to_be_hidden(timeout=40_000)
    assert tasks.numbered_lines(page) == COUNTED
    tasks.assert_not_reloaded(page)


def test_a_page_survives_a_restart_of_the_server_without_a_lost_or_double_line(
    mortal: Stack, counting_page: Page
) -> None:
    server = server_of(mortal)
    server.signal(signal.SIGTERM)
    expect(counting_page.locator(BANNER)).to_be_visible()
    expect(counting_page.locator(BANNER)).to_contain_text("Connection lost.")
    server.process.wait(20)
    mortal.start_server()
    expect(counting_page.locator(BANNER)).to_be_hidden(timeout=40_000)
    expect_whole(counting_page)


def test_a_page_survives_a_killed_server_twice(mortal: Stack, counting_page: Page) -> None:
    for _ in range(2):
        server_of(mortal).kill()
        expect(counting_page.locator(BANNER)).to_be_visible()
        mortal.start_server()
        expect(counting_page.locator(BANNER)).to_be_hidden(timeout=40_000)
    expect_whole(counting_page)


def test_a_reader_stays_where_they_were_when_the_connection_comes_back(
    mortal: Stack, mortal_page: Page
) -> None:
    page = mortal_page
    wait, gate = tasks.waiting_script(mortal, "reader")
    tasks.open_task(page, mortal.submit(f"seq 1 300; {wait}; echo end"))
    expect(page.locator("#L300")).to_be_in_viewport()
    page.locator("#log").hover()
    page.mouse.wheel(0, -1500)
    expect(page.get_by_label("Follow")).not_to_be_checked()
    place = page.locator("#log").evaluate("log => log.scrollTop")
    server_of(mortal).kill()
    expect(page.locator(BANNER)).to_be_visible()
    mortal.start_server()
    expect(page.locator(BANNER)).to_be_hidden(timeout=40_000)
    Path(gate).touch()
    expect(page.locator("#L301")).to_be_attached()
    assert page.locator("#log").evaluate("log => log.scrollTop") == place


def test_where_no_socket_gets_through_the_page_polls_says_so_and_shows_all(
    visits: Visits, stack: Stack
) -> None:
    visits.expect_noise(OUTAGE)
    wait, gate = tasks.waiting_script(stack, "polling")
    with UpgradeRefusingProxy(stack.port).running() as proxy:
        page = visits.page("operator", url=proxy.url)
        tasks.open_task(page, stack.submit(f"seq 1 3; {wait}; seq 4 6", name="through a proxy"))
        tasks.mark(page)
        expect(page.locator(BANNER)).to_be_visible()
        expect(page.locator(BANNER)).to_contain_text("The page asks again every 5 s.")
        expect(page.locator("#L3")).to_be_visible()
        Path(gate).touch()
        expect(page.locator("#L6")).to_be_visible()
        tasks.expect_state(page, "Completed", "^Done: through a proxy", "idle")
        assert tasks.texts(page) == ["1", "2", "3", "4", "5", "6"]
        tasks.assert_not_reloaded(page)
        assert proxy.refused
