"""What can be measured of how a page looks."""

from __future__ import annotations

from typing import Any

from axe_playwright_python.sync_playwright import Axe
from playwright.sync_api import Page

BAD = ("moderate", "serious", "critical")
# For pictures: the system's font on most machines looks like this one; on a bare server it would be whatever is there.
FONTS = ':root { --sans: Inter, "Liberation Sans", system-ui, sans-serif; }'


# What scrolls in a box of its own may be wider.
TOO_WIDE = """() => {
  const root = document.scrollingElement;
  if (root.scrollWidth <= innerWidth) return [];
  const scrolls = (el) => el && el !== root && (getComputedStyle(el).overflowX !== "visible" || scrolls(el.parentElement));
  return [`${root.scrollWidth - innerWidth} px too wide`, ...[...document.querySelectorAll("main *")]
    .filter((el) => el.getBoundingClientRect().right > innerWidth + 1 && !scrolls(el.parentElement))
    .slice(0, 8).map((el) => `${el.tagName}.${el.className}#${el.id}`)];
}"""


def too_wide(page: Page) -> list[str]:
    """By how much the page is wider than its window, and what makes it so."""
    return [str(each) for each in page.evaluate(TOO_WIDE)]


def axe_findings(page: Page) -> list[str]:
    """What keeps people from using the page, a line a finding."""
    found: list[dict[str, Any]] = Axe().run(page).response["violations"]
    return [
        f"{each['id']} ({each['impact']}): {[node['html'][:200] for node in each['nodes'][:3]]}"
        for each in found
        if each["impact"] in BAD
    ]
