"""The log in the page of a task: live, safe, findable, never too long."""

from __future__ import annotations

import re
import sys
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import psutil
import pytest
from playwright.sync_api import Page, expect

from tests.browser import tasks
from tests.browser.people import Visits
from tests.stack import Stack

pytestmark = pytest.mark.browser

SCRIPT = '<script>window.pwned = 1</script><img src=x onerror="window.pwned = 2">'
HTMX = '<b hx-get="/logout" hx-trigger="load">bold</b>'
SWAP = '<i hx-swap-oob="true" id="nav">gone</i>'
HOSTILE = rf"""printf '%s\n' '{SCRIPT}' '{HTMX}'
printf '\033]0;stolen title\007\033[2J\033[1;1Hafter the escapes\n'
printf 'user\342\200\256gnp.exe\n\033]8;;javascript:alert(1)\033\\link\033]8;;\033\\\n'
echo '{SWAP}'"""
COLOURS = r"printf '\033[31mred\033[0m plain \033[1;32mbold green\033[0m \033[7minverse\033[27m \033[95mbright\033[39m\n'"


@pytest.fixture(scope="module")
def long_task(shared_stack: Stack) -> str:
    """5,000 lines, ended."""
    task_id = shared_stack.submit('for i in $(seq 1 5000); do echo "line number $i ."; done', name="long")
    assert shared_stack.ended(task_id)["status"] == "completed"
    return task_id


def gate_of(stack: Stack, name: str) -> Path:
    return Path(tasks.waiting_script(stack, name)[1])


def test_colours_become_classes(visits: Visits, stack: Stack) -> None:
    page = visits.page("viewer")
    task_id = stack.submit(COLOURS)
    tasks.open_task(page, task_id)
    line = page.locator("#L1 > span")
    expect(line).to_have_text("red plain bold green inverse bright")
    expect(line.locator(".a31")).to_have_text("red")
    expect(line.locator(".a1.a32")).to_have_text("bold green")
    expect(line.locator(".a7")).to_have_text("inverse")
    expect(line.locator(".a35")).to_have_text("bright")
    assert line.locator("[style]").count() == 0
    red, plain = (
        page.locator(selector).evaluate("el => getComputedStyle(el).color")
        for selector in ("#L1 .a31", "#L1")
    )
    assert red != plain


def test_what_a_task_prints_is_text_live_and_after_loading(visits: Visits, stack: Stack) -> None:
    wait, gate = tasks.waiting_script(stack, "hostile")
    page = visits.page("viewer")
    task_id = stack.submit(f"{wait}\n{HOSTILE}\necho end")
    tasks.open_task(page, task_id)
    expect(tasks.pill(page)).to_have_text("Running")
    Path(gate).touch()
    expect(page.get_by_text("end", exact=True)).to_be_visible()
    expect(tasks.pill(page)).to_have_text("Completed")
    for _ in ("came live", "was there from the start"):
        shown = tasks.texts(page)
        assert shown == [SCRIPT, HTMX, "after the escapes", "user<U+202E>gnp.exe", "link", SWAP, "end"]
        assert page.evaluate("window.pwned") is None
        assert page.locator("#log").locator("script, img, b, i, [hx-get], a[href^=javascript]").count() == 0
        expect(page.locator("#nav")).to_contain_text("Dashboard")
        assert "stolen" not in page.title()
        page.reload()


def test_a_line_is_linked_to_and_marked(visits: Visits, stack: Stack) -> None:
    task_id = stack.submit("seq 1 5")
    stack.ended(task_id)
    page = visits.page("viewer")
    tasks.open_task(page, task_id)
    plain = page.locator("#L2").evaluate("el => getComputedStyle(el).backgroundColor")
    page.locator("#L3 > a").click()
    expect(page).to_have_url(re.compile(r"#L3$"))
    expect(page.locator("#L3")).not_to_have_css("background-color", plain)
    tasks.open_task(page, task_id, "#L4")
    expect(page.locator("#L4:target")).to_be_visible()


def test_a_link_to_a_line_far_up_opens_the_log_around_it(visits: Visits, long_task: str) -> None:
    page = visits.page("viewer")
    page.goto(f"/tasks/{long_task}#L1234")
    expect(page.locator("#L1234:target")).to_be_in_viewport()
    expect(page).to_have_url(re.compile(r"\?attempt=1&line=1234#L1234$"))
    assert page.locator("#log .ln[id]").count() == 2000
    page.get_by_role("link", name="Go to the end").click()
    expect(page.locator("#L5000")).to_be_in_viewport()
    page.get_by_role("textbox", name="Go to line").fill("77")
    page.keyboard.press("Enter")
    expect(page.locator("#L77:target")).to_be_in_viewport()


def test_a_line_that_is_not_there_leads_to_the_last_before_it_and_is_asked_for_once(
    visits: Visits, long_task: str
) -> None:
    page = visits.page("viewer")
    asked: list[str] = []
    page.on("request", lambda request: asked.append(request.url) if "/log/window" in request.url else None)
    page.goto(f"/tasks/{long_task}#L99999")
    expect(page.locator("#L5000:target")).to_be_in_viewport()
    page.get_by_role("textbox", name="Go to line").fill("77777")
    page.keyboard.press("Enter")
    page.wait_for_load_state("networkidle")
    expect(page.locator("#L5000:target")).to_be_in_viewport()
    assert ["line=99999" in asked[0], "line=77777" in asked[1], len(asked)] == [True, True, 2]


def test_the_page_holds_2000_lines_and_older_ones_on_demand(visits: Visits, long_task: str) -> None:
    page = visits.page("viewer")
    tasks.open_task(page, long_task)
    numbers = [number for number, _ in tasks.numbered_lines(page)]
    assert numbers == list(range(3001, 5001))
    page.get_by_role("link", name="Show the 3000 lines before this").click()
    expect(page.locator("#L3000")).to_be_in_viewport()
    assert [number for number, _ in tasks.numbered_lines(page)] == list(range(1001, 3001))
    page.get_by_role("link", name="Show the 1000 lines before this").click()
    expect(page.locator("#L1")).to_contain_text("line number 1")


def test_parts_of_a_log_come_in_place_and_what_the_person_has_set_stays(
    visits: Visits, long_task: str
) -> None:
    page = visits.page("viewer")
    tasks.open_task(page, long_task)
    tasks.mark(page)
    page.get_by_label("Wrap").check()
    page.get_by_role("link", name="Show the 3000 lines before this").focus()
    page.keyboard.press("Enter")
    expect(page.locator("#L3000")).to_be_in_viewport()
    expect(page.get_by_role("log")).to_be_focused()
    page.get_by_role("link", name="Show the lines after this").click()
    expect(page.locator("#L3001")).to_be_in_viewport()
    assert [number for number, _ in tasks.numbered_lines(page)] == list(range(3001, 5001))
    expect(page.get_by_label("Wrap")).to_be_checked()
    tasks.assert_not_reloaded(page)


def test_who_reads_an_old_part_is_left_there_until_they_follow_again(visits: Visits, stack: Stack) -> None:
    first, open_first = tasks.waiting_script(stack, "old-part-1")
    second, open_second = tasks.waiting_script(stack, "old-part-2")
    page = visits.page("viewer")
    tasks.open_task(page, stack.submit(f"seq 1 5000; {first}; seq 5001 5100; {second}; echo the end"))
    expect(page.locator("#L5000")).to_be_in_viewport()
    tasks.mark(page)
    page.get_by_role("textbox", name="Go to line").fill("20")
    page.keyboard.press("Enter")
    expect(page.locator("#L20")).to_be_in_viewport()
    expect(page.get_by_label("Follow")).not_to_be_checked()
    Path(open_first).touch()
    expect(page.locator("#log-facts")).to_contain_text("5100 lines")
    assert tasks.numbered_lines(page)[-1][0] < 5000
    page.get_by_label("Follow").check()
    expect(page.locator("#L5100")).to_be_in_viewport()
    Path(open_second).touch()
    expect(page.get_by_text("the end", exact=True)).to_be_in_viewport()
    numbers = [number for number, _ in tasks.numbered_lines(page)]
    assert numbers == list(range(numbers[0], 5102))
    tasks.assert_not_reloaded(page)


def test_a_long_log_that_comes_live_never_holds_more_than_2000_lines(visits: Visits, stack: Stack) -> None:
    wait, gate = tasks.waiting_script(stack, "long-live")
    page = visits.page("viewer")
    task_id = stack.submit(f'{wait}; for i in $(seq 1 5000); do echo "line number $i"; done')
    tasks.open_task(page, task_id)
    expect(tasks.pill(page)).to_have_text("Running")
    Path(gate).touch()
    expect(page.locator("#L5000")).to_be_in_viewport()
    assert tasks.numbered_lines(page) == [(number, f"line number {number}") for number in range(3001, 5001)]
    expect(page.locator("#log-older")).to_have_text("Show the 3000 lines before this")


def test_the_download_is_what_was_printed_byte_for_byte(visits: Visits, stack: Stack) -> None:
    task_id = stack.submit(r"printf '\033[31mred\033[0m\r\nraw \377 bytes\n\000no end'")
    stack.ended(task_id)
    page = visits.page("viewer")
    tasks.open_task(page, task_id)
    with page.expect_download() as caught:
        page.get_by_role("link", name="Download").click()
    assert Path(caught.value.path()).read_bytes() == b"\x1b[31mred\x1b[0m\r\nraw \xff bytes\n\0no end"
    assert caught.value.suggested_filename.endswith("-1.log")


def test_search_finds_in_the_whole_log_and_steps_through_the_hits(visits: Visits, long_task: str) -> None:
    page = visits.page("viewer")
    tasks.open_task(page, long_task)
    tasks.mark(page)
    box, count = page.get_by_role("searchbox", name="Search the log"), page.locator("#find-count")
    box.fill("NUMBER 444")
    expect(page.get_by_role("list", name="Lines found").get_by_role("listitem")).to_have_count(11)
    expect(page.locator(".ln.is-hit")).to_have_count(10)
    expect(count).to_have_text("2 of 11")  # the first one that the page holds
    expect(page.locator("#L4440[aria-current]")).to_be_in_viewport()
    box.press("Enter")
    expect(count).to_have_text("3 of 11")
    expect(page.locator("#L4441[aria-current]")).to_be_in_viewport()
    page.locator("[data-hit='444']").click()
    expect(count).to_have_text("1 of 11")
    expect(page.locator("#L444[aria-current]")).to_be_in_viewport()
    assert tasks.numbered_lines(page)[0] == (1, "line number 1 .")
    assert tasks.numbered_lines(page)[-1] == (1443, "line number 1443 .")
    page.get_by_role("button", name="Previous line found").click()
    expect(count).to_have_text("11 of 11")
    expect(page.locator("#L4449[aria-current]")).to_be_in_viewport()
    tasks.assert_not_reloaded(page)
    page.reload()
    expect(count).to_have_text("11 lines")
    box.fill("number nobody has")
    expect(page.get_by_text("No line has “number nobody has”.")).to_be_visible()
    box.fill("")
    expect(page.locator("#log-hits")).to_be_hidden()


def test_what_comes_later_is_found_too(visits: Visits, stack: Stack) -> None:
    wait, gate = tasks.waiting_script(stack, "found-later")
    page = visits.page("viewer")
    tasks.open_task(page, stack.submit(f"echo needle 1; {wait}; echo hay; echo needle 2"))
    box = page.get_by_role("searchbox", name="Search the log")
    box.fill("needle")
    expect(page.locator("#find-count")).to_have_text("1 of 1")
    Path(gate).touch()
    expect(page.locator("#L3.is-hit")).to_be_attached()
    box.press("Enter")
    expect(page.locator("#find-count")).to_have_text("2 of 2")
    expect(page.locator("#L3[aria-current]")).to_be_in_viewport()


def test_long_lines_wrap_when_asked(visits: Visits, stack: Stack) -> None:
    task_id = stack.submit("head -c 600 /dev/zero | tr '\\0' 'x'; echo")
    stack.ended(task_id)
    page = visits.page("viewer")
    tasks.open_task(page, task_id)
    assert is_wider_than_its_box(page)
    page.get_by_label("Wrap").check()
    assert not is_wider_than_its_box(page)


def is_wider_than_its_box(page: Page) -> bool:
    return bool(page.locator("#log").evaluate("log => log.scrollWidth > log.clientWidth"))


def test_following_stops_on_reading_upwards_and_goes_on_at_the_end(visits: Visits, stack: Stack) -> None:
    first, open_first = tasks.waiting_script(stack, "scroll-1")
    second, open_second = tasks.waiting_script(stack, "scroll-2")
    page = visits.page("viewer")
    tasks.open_task(page, stack.submit(f"seq 1 200; {first}; seq 201 300; {second}; seq 301 400"))
    expect(page.locator("#L200")).to_be_in_viewport()
    page.locator("#log").hover()
    page.mouse.wheel(0, -900)
    expect(page.get_by_label("Follow")).not_to_be_checked()
    place = page.locator("#log").evaluate("log => log.scrollTop")
    Path(open_first).touch()
    expect(page.locator("#L300")).to_be_attached()
    assert page.locator("#log").evaluate("log => log.scrollTop") == place
    page.mouse.wheel(0, 9000)
    expect(page.get_by_label("Follow")).to_be_checked()
    Path(open_second).touch()
    expect(page.locator("#L400")).to_be_in_viewport()


def test_a_line_without_its_end_is_shown_as_it_grows(visits: Visits, stack: Stack) -> None:
    wait, gate = tasks.waiting_script(stack, "partial")
    page = visits.page("viewer")
    tasks.open_task(page, stack.submit(f"printf 'half a:'; {wait}; echo ' line'"))
    # With a letter at its end it would be held back now and then: a secret could begin with it.
    expect(page.locator("#log-partial")).to_contain_text("half a:")
    Path(gate).touch()
    expect(page.locator("#L1")).to_contain_text("half a: line")
    expect(page.locator("#log-partial")).to_be_hidden()


# A hundred megabytes in a hundred thousand lines and more, one of them of ten megabytes, coloured as builds are.
LARGE = r"""import sys
line = b"\033[32mok\033[0m %06d " + b"compiled a file with a long name, then another one " * 18 + b"\n"
for number in range(1, 95_001):
    sys.stdout.buffer.write(line % number)
    if number == 40_000:
        sys.stdout.buffer.write(b"x" * 10_000_000 + b"\n")
    if number == 60_000:
        sys.stdout.buffer.write(b"the only warning\n")
for number in range(5_000):
    sys.stdout.buffer.write(b"short %d\n" % number)
"""
WATCH_TASKS = """window.longest = 0; new PerformanceObserver((list) => {
  for (const each of list.getEntries()) window.longest = Math.max(window.longest, each.duration);
}).observe({type: "longtask", buffered: true});"""


def memory_of(stack: Stack) -> int:
    """What the server's processes hold, in bytes."""
    assert stack.server
    server = psutil.Process(stack.server.pid)
    return sum(each.memory_info().rss for each in (server, *server.children(recursive=True)))


def slowest_answer(stack: Stack, until: threading.Event) -> float:
    slowest = 0.0
    while not until.wait(0.05):
        began = time.monotonic()
        assert stack.api("GET", "/tasks?limit=1").ok
        slowest = max(slowest, time.monotonic() - began)
    return slowest


@pytest.mark.slow
@pytest.mark.timeout(400)
def test_a_log_of_a_hundred_megabytes_freezes_neither_page_nor_server(visits: Visits, stack: Stack) -> None:
    program = stack.folder / "large.py"
    program.write_text(LARGE)
    task_id = stack.submit(f"{sys.executable} {program}", name="large")
    assert stack.ended(task_id, 300)["status"] == "completed"
    page = visits.page("viewer")
    page.add_init_script(WATCH_TASKS)
    tasks.open_task(page, task_id)
    expect(page.locator("#log-facts")).to_contain_text("100002 lines")
    before, over = memory_of(stack), threading.Event()
    with ThreadPoolExecutor(1) as pool:
        asked = pool.submit(slowest_answer, stack, over)
        page.get_by_role("searchbox", name="Search the log").fill("the only WARNING")
        expect(page.locator("#find-count")).to_have_text("1 line", timeout=60_000)
        page.keyboard.press("Enter")
        expect(page.locator("#L60002[aria-current]")).to_be_in_viewport()
        page.get_by_role("textbox", name="Go to line").fill("40001")
        page.keyboard.press("Enter")
        expect(page.locator("#L40001")).to_contain_text("cut here, 10000000 bytes in all: download the log")
        page.get_by_role("link", name="Go to the end").click()
        expect(page.locator("#L100002")).to_be_in_viewport()
        over.set()
        slowest = asked.result(60)
    assert memory_of(stack) - before < 60_000_000
    assert slowest < 2, "others waited for their answers"
    assert page.evaluate("window.longest") < 2000
    assert page.locator("#log .ln").count() <= 2001
