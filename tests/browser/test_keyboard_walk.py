"""From the first to the last stop of every page with the Tab key: each is seen, in the page's order, and none holds on."""

from __future__ import annotations

import pytest
from playwright.sync_api import Page

from tests.browser.showing import Showing

pytestmark = [pytest.mark.browser, pytest.mark.slow, pytest.mark.timeout(300)]

WIDE, TALL_PHONE = (1280, 800), (390, 1400)
# What a mouse reaches. Of radio buttons that belong together the keyboard reaches one.
MARK = """() => {
  const stops = [...document.querySelectorAll("a[href], button, input, select, textarea, summary, [tabindex='0']")];
  const isMet = (el) => el.checkVisibility({ visibilityProperty: true }) && !el.disabled && el.tabIndex >= 0
    && el.type !== "hidden" && (el.type !== "radio" || el.checked);
  window.stops = stops.filter(isMet);
  window.walk = [];
  document.addEventListener("focusin", ({ target }) => {
    const style = getComputedStyle(target);
    const around = target.matches("input, select, textarea") ? getComputedStyle(target.parentElement) : style;
    const hasLine = (each) => each.outlineStyle !== "none" && parseFloat(each.outlineWidth) > 0;
    const isSeen = (each) => hasLine(each) || each.boxShadow !== "none";
    const what = target.outerHTML.slice(0, 120);
    window.walk.push({ at: window.stops.indexOf(target), what, isSeen: isSeen(style) || isSeen(around) });
  });
  return window.stops.length;
}"""
MISSED = """() => window.stops.filter((el, at) => !window.walk.some((step) => step.at === at))
  .map((el) => el.outerHTML.slice(0, 120))"""
# Behind the last stop come the browser's own, or the first one again where it has none.
IS_ROUND = """() => document.activeElement === document.body
  || (window.walk.length > 1 && document.activeElement === window.stops[0])"""


def walk(page: Page, path: str) -> list[str]:
    """What is wrong with the way through the page that is open."""
    count = page.evaluate(MARK)
    is_round = False
    for _ in range(count + 12):  # boxes that scroll are stops of their own
        page.keyboard.press("Tab")
        if is_round := bool(page.evaluate(IS_ROUND)):
            break
    steps = page.evaluate("window.walk")
    found = [f"no ring: {step['what']}" for step in steps if not step["isSeen"]]
    known = [step["at"] for step in steps if step["at"] >= 0]
    way = known[:-1] if known[-1:] == [0] else known
    if way != sorted(way):
        found.append(f"not in the page's order: {way}")
    if not is_round:
        found.append(f"it doesn't end, but stays at {steps[-1]['what']}")
    if "skip" not in steps[0]["what"]:
        found.append(f"begins with {steps[0]['what']}")
    return [
        f"{path}: {each}" for each in [*found, *(f"not reached: {each}" for each in page.evaluate(MISSED))]
    ]


@pytest.mark.parametrize("size", [WIDE, TALL_PHONE])
def test_every_page_is_walked_with_the_keyboard(showing: Showing, size: tuple[int, int]) -> None:
    page, found = showing.page(size), []
    for path in showing.garage.pages().values():
        showing.visit(page, path)
        found += walk(page, path)
    assert found == []
