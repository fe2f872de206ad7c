"""The pictures of docs/tour.md: every page of a made-up garage, wide and on a phone. `GSW_SCREENSHOTS=1` makes them anew."""

from __future__ import annotations

import os
import re

import pytest
from playwright.sync_api import Page, expect

from tests.browser import pictures
from tests.browser.looks import FONTS, too_wide
from tests.browser.people import PHONE
from tests.browser.showing import Showing
from tests.stack import ROOT

pytestmark = [pytest.mark.browser, pytest.mark.slow, pytest.mark.timeout(300)]

TOUR, PICTURES = ROOT / "docs" / "tour.md", ROOT / "docs" / "images" / "tour"
SIZES = {"wide": (1280, 800), "phone": PHONE}
MOST_FILES, MOST_BYTES = 40, 60_000


@pytest.fixture
def pages(showing: Showing) -> dict[str, Page]:
    """A window of each size, of somebody who may do everything."""
    return {name: showing.page(size, bypass_csp=True) for name, size in SIZES.items()}


def test_every_page_is_in_the_tour_wide_and_on_a_phone(showing: Showing, pages: dict[str, Page]) -> None:
    garage, wrong = showing.garage, []
    for name, path in garage.pages().items():
        for size, page in pages.items():
            showing.visit(page, path)
            page.add_style_tag(content=FONTS)
            if "find=" in path:
                expect(page.locator("#find-count")).to_contain_text("lines")
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
