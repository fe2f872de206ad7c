"""What static/app.js adds to a page: in Chromium, with the real htmx, under a real content security policy."""

from __future__ import annotations

import re
from collections.abc import Iterator

import pytest
from playwright.sync_api import Browser, Page, expect

from tests.stack import eventually
from tests.static.live_page import LivePage

pytestmark = pytest.mark.browser

ROWS = """<form><p class="bulk" data-bulk-bar><b data-bulk-count></b></p>
<table class="rows"><thead><tr><th><input type="checkbox" data-do="pick-all" id="all" aria-label="All"></th></tr></thead>
<tbody id="rows"{oob}>{rows}</tbody></table></form>"""
ROW = (
    '<tr><td><input type="checkbox" data-bulk name="id" value="{0}" id="pick-{0}" aria-label="{0}"></td></tr>'
)
LOG = """<section class="log-box" id="log-of-a1"><header class="log-bar">
<form class="search"><input name="attempt" value="1" type="hidden"><input class="input" name="find" id="find" aria-label="Find"></form>
<output id="find-count"></output><span id="hit-steps" hidden><button data-log="next-hit">next</button></span>
<label class="toggle" data-needs-js hidden><input type="checkbox" name="follow" checked>Follow</label></header>
<div id="log-hits" data-next="1" data-whole hidden></div>
<div id="log-window"><div class="log" id="log" data-attempt="a1" data-follow tabindex="0" hx-disable hx-ignore>
<a class="log-more" id="log-older" href="/?view=log" hidden>older</a>{lines}</div>
<i id="log-offset" data-offset="{offset}"></i></div></section>"""


@pytest.fixture
def stub() -> Iterator[LivePage]:
    with LivePage().running() as page:
        yield page


@pytest.fixture
def page(chromium: Browser) -> Iterator[Page]:
    """A page that fails the test when the console says anything, a refused inline style included."""
    with chromium.new_context(viewport={"width": 1000, "height": 700}) as context:
        page = context.new_page()
        said: list[str] = []
        page.on("pageerror", lambda error: said.append(str(error)))
        page.on("console", lambda message: said.append(message.text))
        yield page
        expected = re.compile(
            r"WebSocket connection to|Failed to load resource|Response Status Error|^.object Event.$"
            r"|^htmx:(afterRequest|sendAbort)$"  # a poll that the page gave up because its socket opened
        )
        assert [text for text in said if not expected.search(text)] == []


def line(number: int, text: str = "") -> str:
    return f'<div class="ln" id="L{number}"><a href="#L{number}">{number}</a><span>{text or f"line {number}"}</span></div>'


def lines(first: int, last: int) -> str:
    return "".join(line(number) for number in range(first, last + 1))


def visit(page: Page, stub: LivePage, body: str) -> None:
    stub.body = body
    page.goto(stub.url)
    if not stub.refuses_sockets:
        stub.wait_for_socket()


def rows(*names: str, oob: bool = False) -> str:
    made = "".join(ROW.format(name) for name in names)
    return f'<tbody id="rows" hx-swap-oob="true">{made}</tbody>' if oob else ROWS.format(rows=made, oob="")


NOW, LATER = "2026-11-21T14:00:00Z", "2026-11-21T15:00:00Z"
COUNT_CLOSED = """window.closed_sockets = 0;
document.addEventListener("htmx:wsClose", () => { window.closed_sockets += 1; });"""


@pytest.mark.parametrize(
    ("moment", "text"),
    [
        ("2026-11-21T13:59:30Z", re.compile(r"^3\d s ago$")),
        ("2026-11-21T13:50:30Z", "9 min ago"),
        ("2026-11-21T08:30:00Z", "5 h ago"),
        ("2026-11-20T08:30:00Z", "1 day ago"),
        ("2026-11-12T08:30:00Z", "9 days ago"),
        ("2026-10-07T08:30:00Z", "6 weeks ago"),
        ("2025-10-07T08:30:00Z", "13 months ago"),
        ("2026-11-21T14:07:30Z", "in 7 min"),
    ],
)
def test_a_relative_time_is_told_by_the_servers_clock(
    page: Page, stub: LivePage, moment: str, text: str | re.Pattern[str]
) -> None:
    stub.root = f'data-now="{NOW}"'
    visit(page, stub, f'<time datetime="{moment}" data-relative>before</time>')
    expect(page.locator("main > time")).to_have_text(text)


@pytest.mark.parametrize(
    ("end", "text"),
    [
        ("14:00:24", "24 s"),
        ("14:02:04", "2 min 04 s"),
        ("14:41:10", "41 min"),
        ("16:05:00", "2 h 05 min"),
    ],
)
def test_a_duration_that_has_ended_counts_to_its_end(page: Page, stub: LivePage, end: str, text: str) -> None:
    visit(page, stub, f'<time datetime="{NOW}" data-elapsed data-until="2026-11-21T{end}Z"></time>')
    expect(page.locator("main > time")).to_have_text(text)


@pytest.mark.parametrize(
    ("moment", "text"),
    [
        ("2026-11-21T14:00:50Z", re.compile(r"^in [1-5]\d s$")),
        ("2026-11-21T14:05:30Z", re.compile(r"^in 5 min [0-3]\d s$")),
        ("2026-11-21T14:14:30Z", "in 14 min"),
        ("2026-11-21T13:59:59Z", "now"),
        ("2026-11-20T13:00:00Z", "now"),
    ],
)
def test_what_is_to_come_counts_down_by_the_servers_clock(
    page: Page, stub: LivePage, moment: str, text: str | re.Pattern[str]
) -> None:
    stub.root = f'data-now="{NOW}"'
    visit(page, stub, f'<time datetime="{moment}" data-countdown>at some time</time>')
    expect(page.locator("main > time")).to_have_text(text)


def test_a_countdown_goes_second_by_second_to_now_and_moves_nothing(page: Page, stub: LivePage) -> None:
    page.clock.install(time="2026-11-21T13:00:00Z")
    page.clock.pause_at("2026-11-21T14:00:01.500Z")
    page.add_init_script("""window.shift = 0; new PerformanceObserver((list) => {
      for (const each of list.getEntries()) window.shift += each.value;
    }).observe({type: "layout-shift", buffered: true});""")
    body = '<p>failed; next try <time datetime="2026-11-21T14:00:12Z" data-countdown>at 14:00:12</time> <b>after</b></p>'
    stub.body = body
    page.goto(stub.url)
    time, after = page.locator("time[data-countdown]"), page.locator("p b")
    expect(time).to_have_text("in 11 s")
    place = after.bounding_box()
    assert place is not None
    seen = []
    for _ in range(12):
        page.clock.run_for(1000)
        seen.append(time.text_content())
        # Digits differ by fractions of a pixel in some fonts: less than anybody sees.
        assert after.bounding_box() == pytest.approx(place, abs=0.5)
    assert seen == ["in 10 s", *(f"in \u2007{left} s" for left in range(9, 0, -1)), "now", "now"]
    assert page.evaluate("window.shift") < 0.001


@pytest.mark.slow
def test_a_running_duration_goes_on_by_itself(page: Page, stub: LivePage) -> None:
    stub.root = f'data-now="{NOW}"'
    visit(page, stub, '<time datetime="2026-11-21T13:59:57Z" data-elapsed></time>')
    expect(page.locator("main > time")).to_have_text(re.compile(r"^([6-9]|\d\d) s$|min"))


def test_ticks_focus_and_open_details_survive_a_swap(page: Page, stub: LivePage) -> None:
    visit(page, stub, rows("one", "two") + '<details id="d"><summary>More</summary>old</details>')
    page.get_by_label("two").check()
    page.locator("summary").click()
    page.locator("#pick-two").focus()
    stub.send(
        rows("one", "two", "three", oob=True)
        + '<details id="d" hx-swap-oob="true"><summary>More</summary>new</details>'
    )
    expect(page.get_by_text("new")).to_be_visible()
    expect(page.locator("#pick-two")).to_be_checked()
    expect(page.locator("#pick-two")).to_be_focused()
    expect(page.locator("#pick-one")).not_to_be_checked()


def test_the_bulk_bar_counts_and_goes_with_the_last_tick(page: Page, stub: LivePage) -> None:
    visit(page, stub, rows("one", "two"))
    bar = page.locator("[data-bulk-bar]")
    expect(bar).to_be_hidden()
    page.locator("#all").check()
    expect(bar).to_have_text("2 selected")
    page.get_by_label("two").uncheck()
    expect(bar).to_have_text("1 selected")
    expect(page.locator("#all")).not_to_be_checked()
    stub.send(rows("two", oob=True))  # the ticked row left the page
    expect(bar).to_be_hidden()
    stub.send(rows("one", "two", oob=True))
    expect(page.locator("#pick-one")).not_to_be_checked()


def test_a_fragment_sets_title_and_favicon(page: Page, stub: LivePage) -> None:
    visit(page, stub, '<i id="page-state"></i>')
    stub.send(
        '<i id="page-state" hx-swap-oob="true" data-title="Failed: a &lt;b&gt;" data-favicon="/static/favicon-failed.svg"></i>'
    )
    expect(page).to_have_title("Failed: a <b>")
    expect(page.locator("link[rel=icon]")).to_have_attribute("href", "/static/favicon-failed.svg")


def test_the_log_follows_its_end_until_someone_reads_upwards(page: Page, stub: LivePage) -> None:
    visit(page, stub, LOG.format(lines=lines(1, 100), offset=1000))
    assert at_end(page)
    stub.send(f'<div hx-swap-oob="beforeend:#log">{lines(101, 150)}</div>')
    expect(page.locator("#L150")).to_be_in_viewport()
    page.locator("#log").hover()
    page.mouse.wheel(0, -600)
    expect(page.get_by_label("Follow")).not_to_be_checked()
    place = page.locator("#log").evaluate("log => log.scrollTop")
    stub.send(f'<div hx-swap-oob="beforeend:#log">{lines(151, 160)}</div>')
    expect(page.locator("#L160")).to_be_attached()
    assert page.locator("#log").evaluate("log => log.scrollTop") == place
    page.get_by_label("Follow").check()
    expect(page.locator("#L160")).to_be_in_viewport()


def test_the_log_keeps_2000_lines_and_what_is_read_stays_in_place(page: Page, stub: LivePage) -> None:
    visit(page, stub, LOG.format(lines=lines(1, 1990), offset=1))
    page.get_by_label("Follow").uncheck()
    page.locator("#L1000").evaluate("line => line.scrollIntoView({block: 'start'})")
    top = page.locator("#L1000").evaluate("line => line.getBoundingClientRect().top")
    stub.send(f'<div hx-swap-oob="beforeend:#log">{lines(1991, 2110)}</div>')
    expect(page.locator(".ln")).to_have_count(2000)
    assert page.locator("#L1000").evaluate("line => line.getBoundingClientRect().top") == pytest.approx(
        top, abs=1
    )
    older = page.locator("#log-older")
    expect(older).to_have_text("Show the 110 lines before this")
    expect(older).to_have_attribute("href", re.compile(r"/\?view=log&before=111#L110$"))


def test_a_page_that_fell_far_behind_keeps_only_the_end_and_offers_what_it_missed(
    page: Page, stub: LivePage
) -> None:
    visit(page, stub, LOG.format(lines=lines(1, 300), offset=1))
    stub.send(f'<div hx-swap-oob="beforeend:#log">{lines(4001, 5000)}</div>')
    expect(page.locator("#L5000")).to_be_in_viewport()
    expect(page.locator(".ln")).to_have_count(1000)
    expect(page.locator("#log-older")).to_have_text("Show the 4000 lines before this")


def test_a_hole_in_the_log_itself_takes_nothing_away_from_the_page(page: Page, stub: LivePage) -> None:
    hole = '<div class="ln is-mark is-hole"><a></a><span>left out</span></div>'
    visit(page, stub, LOG.format(lines=lines(1, 300), offset=1))
    stub.send(f'<div hx-swap-oob="beforeend:#log">{hole}{lines(4001, 5000)}</div>')
    expect(page.locator("#L5000")).to_be_in_viewport()
    expect(page.locator(".ln[id]")).to_have_count(1300)
    expect(page.locator("#log-older")).to_be_hidden()
    stub.send(f'<div hx-swap-oob="beforeend:#log">{lines(5001, 6500)}</div>')
    expect(page.locator("#L6500")).to_be_in_viewport()
    expect(page.locator(".ln")).to_have_count(2000)
    expect(page.locator("#log-older")).to_have_text("Show the 4500 lines before this")


def test_an_empty_page_that_gets_only_the_end_offers_what_was_before(page: Page, stub: LivePage) -> None:
    visit(page, stub, LOG.format(lines="", offset=0))
    stub.send(f'<div hx-swap-oob="beforeend:#log">{lines(3001, 5000)}</div>')
    expect(page.locator("#log-older")).to_have_text("Show the 3000 lines before this")


def test_what_a_task_printed_is_never_acted_on(page: Page, stub: LivePage) -> None:
    visit(page, stub, LOG.format(lines="", offset=0))
    stub.send(f'<div hx-swap-oob="beforeend:#log">{line(1, "<b hx-get=/evil hx-trigger=load>x</b>")}</div>')
    expect(page.locator("#L1")).to_be_attached()
    page.wait_for_timeout(200)
    assert stub.pages_served == 1


def test_on_opening_the_page_says_how_far_its_log_is(page: Page, stub: LivePage) -> None:
    visit(page, stub, LOG.format(lines=lines(1, 3), offset=120))
    stub.send('<i id="log-offset" hx-swap-oob="true" data-offset="480"></i>')
    expect(page.locator("#log-offset")).to_have_attribute("data-offset", "480")
    stub.drop(1012)
    stub.wait_for_socket()
    expect_received(
        page, stub, [{"attempt_id": "a1", "log_offset": 120}, {"attempt_id": "a1", "log_offset": 480}]
    )


def test_another_attempts_log_is_announced(page: Page, stub: LivePage) -> None:
    visit(page, stub, '<div id="place"></div>')
    stub.send(f'<div id="place" hx-swap-oob="true">{LOG.format(lines=lines(1, 3), offset=7)}</div>')
    expect_received(page, stub, [{"attempt_id": "a1", "log_offset": 7}])


@pytest.mark.slow
def test_a_short_break_shows_nothing_and_asks_nothing(page: Page, stub: LivePage) -> None:
    page.add_init_script(COUNT_CLOSED)
    page.clock.install(time=NOW)
    visit(page, stub, LOG.format(lines=lines(1, 3), offset=120))
    position = {"attempt_id": "a1", "log_offset": 120}
    expect_received(page, stub, [position])
    page.clock.pause_at(LATER)  # the page's timers run when the test says so: the break takes a second for it
    polls = len(stub.polls)
    stub.drop(1012)
    eventually(lambda: page.evaluate("window.closed_sockets") == 1, what="the page to learn of it")
    page.clock.run_for(1000)
    stub.wait_for_socket()
    expect_received(page, stub, [position, position])
    page.clock.run_for(20_000)
    expect(page.locator("#connection-lost")).to_be_hidden()
    assert len(stub.polls) == polls


@pytest.mark.slow
def test_a_lost_connection_says_so_and_polls_until_it_is_back(page: Page, stub: LivePage) -> None:
    visit(page, stub, LOG.format(lines=lines(1, 3), offset=120) + '<p id="state">old</p>')
    stub.poll_answer = (200, '<p id="state" hx-swap-oob="true">from a poll</p>')
    stub.refuses_sockets = True
    stub.drop(1012)
    expect(page.locator("#connection-lost")).to_be_visible()
    expect(page.locator("#connection-lost time")).to_have_text(re.compile("now|s ago"))
    expect(page.get_by_text("from a poll")).to_be_visible()
    assert stub.polls[0] == {"view": ["stub"], "attempt_id": ["a1"], "log_offset": ["120"]}
    stub.refuses_sockets = False
    stub.wait_for_socket()
    expect(page.locator("#connection-lost")).to_be_hidden()

    def is_quiet() -> bool:
        asked = len(stub.polls)
        page.wait_for_timeout(5500)
        return len(stub.polls) == asked

    eventually(is_quiet, what="no more polls: the last may have been on its way")


@pytest.mark.slow
def test_a_page_whose_socket_never_opens_polls(page: Page, stub: LivePage) -> None:
    stub.refuses_sockets = True
    stub.poll_answer = (200, '<p id="state" hx-swap-oob="true">from a poll</p>')
    visit(page, stub, '<p id="state">old</p>')
    expect(page.get_by_text("from a poll")).to_be_visible()
    expect(page.locator("#connection-lost")).to_be_visible()


def test_a_close_that_htmx_takes_for_final_is_reopened_after_a_poll(page: Page, stub: LivePage) -> None:
    visit(page, stub, "")
    stub.drop(1000)
    stub.wait_for_socket()
    expect(page.locator("#connection-lost")).to_be_hidden()


def test_a_session_that_ended_leads_to_the_login_page(page: Page, stub: LivePage) -> None:
    visit(page, stub, "")
    stub.poll_answer = (401, "")
    stub.refuses_sockets = True
    with page.expect_navigation():  # the page asks for itself again, and the server redirects
        stub.drop(4401)
    assert stub.pages_served >= 2


def at_end(page: Page) -> bool:
    return bool(page.locator("#log").evaluate("l => l.scrollHeight - l.scrollTop - l.clientHeight < 2"))


def expect_received(page: Page, stub: LivePage, messages: list[dict[str, object]]) -> None:
    for _ in range(1000):
        if len(stub.received) >= len(messages):
            break
        page.wait_for_timeout(20)
    assert stub.received == messages
