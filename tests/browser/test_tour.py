"""The pictures of docs/tour.md: every page of a made-up garage, wide and on a phone. `GSW_SCREENSHOTS=1` makes them anew."""

from __future__ import annotations

import os
import re
import threading
from collections.abc import Iterator
from contextlib import contextmanager

import pytest
from playwright.sync_api import Browser, Page, expect
from werkzeug.serving import make_server

from tests.browser import pictures
from tests.browser.looks import FONTS, too_wide
from tests.browser.people import PHONE
from tests.garage import NOW, Garage, at
from tests.stack import ROOT
from tests.world import World, migrate, settings_for
from webapp import clock, create_app

pytestmark = [pytest.mark.browser, pytest.mark.slow, pytest.mark.timeout(300)]

TOUR, PICTURES = ROOT / "docs" / "tour.md", ROOT / "docs" / "images" / "tour"
SIZES = {"wide": (1280, 800), "phone": PHONE}
MOST_FILES, MOST_BYTES = 40, 60_000


@contextmanager
def served(world: World) -> Iterator[str]:
    server = make_server("127.0.0.1", 0, world.app, threaded=True)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    yield f"http://127.0.0.1:{server.server_port}"
    server.shutdown()


@pytest.fixture(scope="module")
def garage(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Garage]:
    folder = tmp_path_factory.mktemp("garage")
    settings = settings_for(folder, registrations_per_minute=1000)
    migrate(settings)
    yield Garage(World(create_app(settings)))
    clock.reset()


@pytest.fixture(scope="module")
def url(garage: Garage) -> Iterator[str]:
    with served(garage.world) as url:
        yield url


@pytest.fixture
def pages(chromium: Browser, garage: Garage, url: str) -> Iterator[dict[str, Page]]:
    """A window of each size, of somebody who may do everything."""
    made = {}
    for name, (width, height) in SIZES.items():
        size = {"width": width, "height": height}
        context = chromium.new_context(base_url=url, viewport=size, bypass_csp=True, timezone_id="UTC")  # type: ignore[arg-type]
        cookie = garage.admin.get_cookie("gsw_session")
        assert cookie
        context.add_cookies([{"name": cookie.key, "value": cookie.value, "url": url}])
        page = context.new_page()
        page.route_web_socket(re.compile("/ws/page"), lambda socket: None)  # open, and nothing comes
        made[name] = page
    yield made
    for page in made.values():
        page.context.close()


def visit(page: Page, path: str) -> None:
    at(NOW)
    page.goto(path)
    page.add_style_tag(content=FONTS)
    expect(page.locator("h1").first).to_be_visible()
    if "find=" in path:
        expect(page.locator("#find-count")).to_contain_text("lines")


def test_every_page_is_in_the_tour_wide_and_on_a_phone(garage: Garage, pages: dict[str, Page]) -> None:
    wrong = []
    for name, path in garage.pages().items():
        for size, page in pages.items():
            visit(page, path)
            wrong += [f"{name}, {size}: {each}" for each in too_wide(page)]
            if os.environ.get("GSW_SCREENSHOTS") == "1":
                pictures.take(page, PICTURES / f"{name}-{size}.png")
    assert wrong == []
    wanted = {f"{name}-{size}.png" for name in garage.pages() for size in SIZES}
    assert {path.name for path in PICTURES.glob("*.png")} == wanted
    assert set(re.findall(r"\(images/tour/([^)]+)\)", TOUR.read_text())) == wanted


def test_the_pictures_are_few_and_small() -> None:
    sizes = [path.stat().st_size for path in PICTURES.glob("*.png")]
    assert 0 < len(sizes) <= MOST_FILES
    assert sum(sizes) / len(sizes) <= MOST_BYTES
