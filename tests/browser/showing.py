"""The made-up garage in front of a browser: its pages as they are at one moment, which lasts."""

from __future__ import annotations

import re
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from playwright.sync_api import Browser, BrowserContext, Page, expect
from werkzeug.serving import make_server

from tests.garage import NOW, Garage, at
from webapp import clock


@contextmanager
def served(garage: Garage) -> Iterator[str]:
    """Its address. The server is this process, so that the clock stands where a test puts it."""
    server = make_server("127.0.0.1", 0, garage.world.app, threaded=True)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    yield f"http://127.0.0.1:{server.server_port}"
    server.shutdown()


class Showing:
    """Windows of an admin. Their sockets are open, and nothing comes."""

    def __init__(self, garage: Garage, url: str, browser: Browser) -> None:
        self.garage, self.url, self._browser = garage, url, browser
        self._contexts: list[BrowserContext] = []

    def page(self, size: tuple[int, int], **options: Any) -> Page:
        viewport = {"width": size[0], "height": size[1]}
        context = self._browser.new_context(
            base_url=self.url,
            viewport=viewport,  # type: ignore[arg-type]
            timezone_id="UTC",
            **options,
        )
        self._contexts.append(context)
        cookie = self.garage.admin.get_cookie("gsw_session")
        assert cookie
        context.add_cookies([{"name": cookie.key, "value": cookie.value, "url": self.url}])
        page = context.new_page()
        page.route_web_socket(re.compile("/ws/page"), lambda socket: None)
        return page

    def visit(self, page: Page, path: str) -> None:
        """At the same moment each time."""
        at(NOW)
        page.goto(path)
        expect(page.locator("h1").first).to_be_visible()

    def close(self) -> None:
        for context in self._contexts:
            context.close()
        clock.reset()
