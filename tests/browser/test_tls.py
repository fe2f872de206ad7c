"""The server over TLS, by itself and behind nginx: agents join, and pages live."""

from __future__ import annotations

import re
from collections.abc import Callable
from pathlib import Path

import pytest
from playwright.sync_api import Page, expect

from tests import certificates, nginx, services
from tests.browser import tasks
from tests.browser.people import People, Visits
from tests.stack import Stack, eventually, running_stack

pytestmark = [pytest.mark.browser, pytest.mark.slow, pytest.mark.timeout(300)]


def sockets_of(page: Page) -> list[str]:
    """Addresses of the page's sockets that have said something."""
    heard: list[str] = []
    page.on("websocket", lambda ws: ws.on("framereceived", lambda _: heard.append(ws.url)))
    return heard


def has_its_socket(stack: Stack, name: str) -> bool:
    worker_id = stack.worker(name)["id"]
    items = stack.api("GET", "/agents/connected").json()["items"]
    return any(item["agent_id"] == worker_id and item["connected"] for item in items)


def watch_a_task_run(page: Page, stack: Stack, url: str) -> None:
    """From an open page: it isn't loaded again, and what happens comes down its socket."""
    heard = sockets_of(page)
    wait, gate = tasks.waiting_script(stack, "on")
    task = stack.submit(f"{wait}; echo seen live")
    tasks.open_task(page, task)
    tasks.mark(page)
    expect(tasks.pill(page)).to_have_text("Running")
    eventually(lambda: page.title() and heard, what="the page's socket")  # asking lets Playwright hear
    Path(gate).touch()
    expect(tasks.pill(page)).to_have_text("Completed")
    expect(page.locator("#log")).to_contain_text("seen live")
    tasks.assert_not_reloaded(page)
    assert all(address.startswith(url.replace("https", "wss", 1)) for address in heard)


def test_a_page_lives_over_tls_with_a_certificate_of_our_own(
    tmp_path: Path, new_visits: Callable[[People], Visits]
) -> None:
    with running_stack(tmp_path, tls="self") as stack:
        stack.start_agent()
        page = new_visits(People(stack)).page("admin", ignore_https_errors=True)
        watch_a_task_run(page, stack, stack.url)
        assert f"--pin {stack.fingerprint}" in pasted_line(page)
        page.close()  # before its server: it would complain of that


def test_behind_nginx_an_agent_joins_works_and_has_its_socket_and_pages_live(
    tmp_path: Path, new_visits: Callable[[People], Visits]
) -> None:
    services.need("nginx")
    pair = certificates.make(tmp_path, "proxy")
    with (
        running_stack(tmp_path, trusted_proxies=1) as stack,
        nginx.in_front_of(stack.port, pair, tmp_path / "nginx") as url,
    ):
        agent = stack.start_agent("behind-proxy", server_url=url, pin=pair.pin)
        assert f"connected to {url}" in agent.output()
        eventually(lambda: has_its_socket(stack, "behind-proxy"), what="the control socket through nginx")
        page = new_visits(People(stack)).page("admin", url=url, ignore_https_errors=True)
        watch_a_task_run(page, stack, url)
        assert pasted_line(page).endswith(f"--server {url}")
        page.close()
        assert "[error]" not in (tmp_path / "nginx" / "error.log").read_text()


def pasted_line(page: Page) -> str:
    """Made by a form, whose `Origin` the server has to know as its own."""
    page.goto("/workers/add")
    page.get_by_role("button", name=re.compile("Make a line")).click()
    return page.locator("#line").inner_text()
