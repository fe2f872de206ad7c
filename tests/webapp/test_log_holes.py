"""A log with a hole, as programs and people read it: everybody is told what is missing, and where."""

from __future__ import annotations

import random
from collections.abc import Callable
from typing import Any

import pytest

from tests.webapp.long_logs import LINES, LOG, attempt_of, cut_log, dropped, send_lines
from tests.world import WorkerOf, World, problem
from webapp.database import release
from webapp.extensions import db
from webapp.live.views import Scope
from webapp.tasks import logview
from webapp.tasks.holes import Holes, Span
from webapp.tasks.models import Attempt
from webapp.tasks.task_pages import TASK


@pytest.fixture
def worker(world: World) -> WorkerOf:
    return world.worker()


@pytest.fixture
def offer(world: World, worker: WorkerOf) -> dict[str, Any]:
    return world.running_task(worker)


@pytest.fixture
def cut(worker: WorkerOf, offer: dict[str, Any]) -> dict[str, Any]:
    cut_log(worker, offer)
    return offer


# ---- reading


def test_a_program_is_told_what_is_missing(world: World, cut: dict[str, Any]) -> None:
    whole = world.log_of(cut)
    assert whole.status_code == 200
    assert whole.data == LOG[:200] + LOG[700:]
    told = {name: whole.headers[f"X-Log-{name}"] for name in ("Size", "Missing", "Dropped")}
    assert told == {"Size": "1000", "Missing": "500", "Dropped": "200-700"}
    path = f"/tasks/{cut['task_id']}/log"
    for offset, expected in (
        (100, LOG[100:200] + LOG[700:]),
        (450, LOG[700:]),
        (900, LOG[900:]),
        (1000, b""),
    ):
        part = world.api("viewer", "GET", f"{path}?offset={offset}")
        assert (part.status_code, part.data) == (200, expected)
        assert ("X-Log-Dropped" in part.headers) == (offset < 700)


def test_a_whole_log_misses_nothing(world: World, worker: WorkerOf, offer: dict[str, Any]) -> None:
    send_lines(worker, offer, 1, 3)
    answer = world.log_of(offer)
    assert answer.headers["X-Log-Missing"] == "0"
    assert "X-Log-Dropped" not in answer.headers


RANGES = [
    ("0-99", 0, 100),
    ("0-", 0, 200),
    ("150-800", 150, 200),
    ("199-199", 199, 200),
    ("200-", 700, 1000),
    ("699-700", 700, 701),
    ("450-749", 700, 750),
    ("700-", 700, 1000),
    ("-300", 700, 1000),
    ("-900", 100, 200),
]


def test_a_part_is_what_lies_side_by_side(world: World, cut: dict[str, Any]) -> None:
    for asked, start, end in RANGES:
        part = world.log_of(cut, Range=f"bytes={asked}")
        assert (part.status_code, part.data) == (206, LOG[start:end]), asked
        assert part.headers["Content-Range"] == f"bytes {start}-{end - 1}/1000"
        assert part.headers["Content-Length"] == str(end - start)
    for asked in ("200-699", "300-300", "1000-"):
        answer = world.log_of(cut, Range=f"bytes={asked}")
        problem(answer, 416, "range-not-there")
        assert answer.headers["Content-Range"] == "bytes */1000"


def test_the_parts_one_after_another_are_all_that_there_is(world: World, cut: dict[str, Any]) -> None:
    at, read = 0, b""
    while at < 1000:
        part = world.log_of(cut, Range=f"bytes={at}-{at + 149}")
        if part.status_code == 416:
            at += 150
            continue
        read += part.data
        at = int(part.headers["Content-Range"].split("-")[1].split("/")[0]) + 1
    assert read == LOG[:200] + LOG[700:]


def test_a_persons_download_says_where_bytes_are_missing(
    world: World, worker: WorkerOf, cut: dict[str, Any]
) -> None:
    page = world.browser("viewer").get(f"/tasks/{cut['task_id']}/log")
    assert page.data == LOG[:200] + "[… 500 bytes left out …]\n".encode() + LOG[700:]
    worker.send_log(cut, b"cut", 1000)
    worker.send_log(cut, b"here", 5000, **dropped(1003, 5000))
    page = world.browser("viewer").get(f"/tasks/{cut['task_id']}/log")
    assert page.data.endswith(LINES[-1] + "cut\n[… 3997 bytes left out …]\nhere".encode())


# ---- the page


def see(world: World, offer: dict[str, Any], look: Callable[[Attempt], Any]) -> Any:
    with world.app.app_context():
        found = look(db.session.get_one(Attempt, offer["attempt_id"]))
        release()
    return found


def text_of(window: logview.Window) -> list[tuple[int | None, str]]:
    return [(row.number, f"-{row.missing}-" if row.missing else str(row.html)) for row in window.lines]


def numbered(first: int, last: int) -> list[tuple[int | None, str]]:
    return [(number, f"line {number:04d}") for number in range(first, last + 1)]


def test_the_page_shows_the_hole_and_what_is_known_around_it(world: World, cut: dict[str, Any]) -> None:
    window = see(world, cut, logview.tail)
    # Lines that never came have no numbers: those behind them count on from what is known.
    behind = [(number, f"line {number + 50:04d}") for number in range(21, 51)]
    assert text_of(window) == [*numbered(1, 20), (None, "-500-"), *behind]
    html = world.browser("viewer").get(f"/tasks/{cut['task_id']}").text
    assert "500 bytes left out here" in html
    assert "500 bytes of the middle left out" in html
    assert html.count('class="ln is-mark is-hole"') == 1
    assert html.count('id="L21"') == 1


def test_lines_that_came_and_were_left_out_later_keep_their_numbers(
    world: World, worker: WorkerOf, offer: dict[str, Any]
) -> None:
    send_lines(worker, offer, 1, 50)
    worker.send_log(offer, b"".join(LINES[50:]), 500, **dropped(100, 400))
    window = see(world, offer, logview.tail)
    assert text_of(window) == [*numbered(1, 10), (None, "-300-"), *numbered(41, 100)]


def test_a_line_that_the_hole_cuts_is_shown_on_both_sides(
    world: World, worker: WorkerOf, offer: dict[str, Any]
) -> None:
    worker.send_log(offer, b"whole\nbegin")
    worker.send_log(offer, b"end\nnext\n", 100, **dropped(11, 100))
    expected = [(1, "whole"), (2, "begin"), (None, "-89-"), (None, "end"), (3, "next")]
    assert text_of(see(world, offer, logview.tail)) == expected
    html = world.browser("viewer").get(f"/tasks/{offer['task_id']}").text
    assert [html.count(f'id="L{number}"') for number in (1, 2, 3)] == [1, 1, 1]


def test_an_open_page_gets_the_hole_with_the_lines_behind_it(
    world: World, worker: WorkerOf, offer: dict[str, Any]
) -> None:
    worker.send_log(offer, b"one\ntwo")
    shown = see(world, offer, logview.tail)
    assert (text_of(shown), shown.offset, str(shown.partial)) == ([(1, "one")], 4, "two")
    worker.send_log(offer, b"three\nfour", 1000, **dropped(7, 1000))
    window = see(world, offer, lambda attempt: logview.after(attempt, shown.offset))
    assert text_of(window) == [(2, "two"), (None, "-993-"), (None, "three")]
    assert (window.offset, str(window.partial)) == (1006, "four")
    assert TASK.append is not None
    with world.app.test_request_context():
        scope = Scope(world.organisation_id, "viewer", {"task": offer["task_id"]})
        html, offset = TASK.append(scope, offer["attempt_id"], 4)
        release()
    assert (html.count("is-hole"), html.count('id="L2"'), offset) == (1, 1, 1006)
    assert "993 bytes left out here" in html


def test_a_page_whose_place_was_left_out_meanwhile_goes_on_behind_the_hole(
    world: World, worker: WorkerOf, offer: dict[str, Any]
) -> None:
    send_lines(worker, offer, 1, 50)
    worker.send_log(offer, LINES[50], 500, **dropped(100, 400))
    window = see(world, offer, lambda attempt: logview.after(attempt, 200))
    assert text_of(window) == [(None, "-200-"), *numbered(41, 51)]
    assert window.offset == 510


@pytest.fixture
def small(monkeypatch: pytest.MonkeyPatch) -> None:
    """Windows so small that a small log is larger than they are."""
    monkeypatch.setattr(logview, "WINDOW", 10)


def test_a_window_beside_the_hole_shows_it_and_leads_over_it(
    world: World, worker: WorkerOf, offer: dict[str, Any], small: None
) -> None:
    send_lines(worker, offer, 1, 50)
    worker.send_log(offer, b"".join(LINES[50:]), 500, **dropped(200, 700 - 210))
    # Lines 1 to 20 and 50 to 100 are there.
    after = see(world, offer, lambda a: logview.before(a, 55, 5))
    assert text_of(after) == [(None, "-290-"), *numbered(50, 54)]
    before = see(world, offer, lambda a: logview.before(a, after.first, 5))
    assert text_of(before) == [*numbered(17, 20), (None, "-290-")]
    assert before.following == 50
    for line in (21, 35, 48):
        around = see(world, offer, lambda a, line=line: logview.around(a, line))
        assert around.first <= 20 < around.following, line
        assert (None, "-290-") in text_of(around)
    for line in (20, 50):
        assert line in [row.number for row in see(world, offer, lambda a, n=line: logview.around(a, n)).lines]


def upwards(world: World, offer: dict[str, Any], count: int) -> list[tuple[int | None, str]]:
    """All that a person sees who clicks on "lines before this" up to the beginning."""
    window = see(world, offer, logview.tail)
    rows = text_of(window)
    while window.first > 1:
        earlier = see(world, offer, lambda a, first=window.first: logview.before(a, first, count))
        assert earlier.lines, window.first
        assert earlier.first < window.first
        window, rows = earlier, [*text_of(earlier), *rows]
    return rows


@pytest.mark.parametrize("seed", range(8))
def test_however_chunks_and_holes_fall_every_line_has_its_number_and_nothing_kept_is_hidden(
    world: World, worker: WorkerOf, offer: dict[str, Any], small: None, seed: int
) -> None:
    source = random.Random(seed)
    kept = [True] * len(LOG)
    rows: list[tuple[int, int]] = []
    at = 0
    while at < len(LOG):
        end = min(len(LOG), at + source.randint(1, 60))
        headers = {}
        if at > 100 and source.random() < 0.3:
            span = sorted(source.randint(50, at) for _ in range(2))
            headers = dropped(*span)
            for start, stop in rows:
                if span[0] <= start and stop <= span[1]:
                    kept[start:stop] = [False] * (stop - start)
        assert worker.send_log(offer, LOG[at:end], at, **headers).json["next_offset"] == end
        rows.append((at, end))
        at = end
    expected = bytes(byte for byte, is_kept in zip(LOG, kept, strict=True) if is_kept)
    assert world.log_of(offer).data == expected
    assert attempt_of(world, offer)["log_missing"] == kept.count(False)
    shown = upwards(world, offer, 7)
    whole = [number for number in range(1, 101) if all(kept[10 * number - 10 : 10 * number - 1])]
    assert set(numbered_whole := [row for row in shown if row in numbered(1, 100)]) == {
        (number, f"line {number:04d}") for number in whole
    }
    assert len(numbered_whole) == len(whole)
    for number, text in shown:
        if number is not None:
            assert text in f"line {number:04d}"
    bytes_shown = sum(len(text) for _, text in shown if not text.startswith("-"))
    assert bytes_shown >= len(expected.replace(b"\n", b""))


def test_holes_translate_between_the_whole_log_and_what_is_kept() -> None:
    found = Holes((Span(10, 20), Span(30, 100)))
    kept = [*range(10), *range(20, 30), *range(100, 120)]
    for index, place in enumerate(kept):
        assert (found.kept(place), found.place(index)) == (index, place)
    assert [found.kept(place) for place in (15, 20, 50, 100)] == [10, 10, 20, 20]
    assert found.stretch(0, 120) == Span(0, 10)
    assert found.stretch(15, 25) == Span(20, 25)
    assert found.stretch(12, 18).size == 0
    assert found.stretch(40, 120) == Span(100, 120)
    assert [span.start for span in found.within(20, 120)] == [30]
