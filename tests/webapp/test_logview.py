"""A log as a page shows it: numbered lines, windows that agree with each other, never more than a window."""

from __future__ import annotations

import html
import re
import tracemalloc
from collections.abc import Callable
from typing import Any, TypeVar

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from tests.world import WorkerOf, World
from webapp.database import release
from webapp.extensions import db
from webapp.tasks import logview
from webapp.tasks.logview import Window
from webapp.tasks.models import Attempt

T = TypeVar("T")
MIB = 1024 * 1024


class Shown:
    """An attempt's log, sent in given chunks, and the windows onto it."""

    def __init__(self, world: World, worker: WorkerOf, chunks: list[bytes]) -> None:
        self.world = world
        offer = world.running_task(worker, tool="noop", input={})
        self.attempt_id = offer["attempt_id"]
        self.log = b"".join(chunks)
        at = 0
        for chunk in chunks:
            answer = worker.send_log(offer, chunk, at)
            assert answer.status_code == 200, answer.json
            at += len(chunk)
        worker.report(offer)

    def see(self, look: Callable[[Attempt], T]) -> T:
        with self.world.app.app_context():
            found = look(db.session.get_one(Attempt, self.attempt_id))
            release()
        return found

    @property
    def lines(self) -> list[str]:
        """Whole lines, as people should read them."""
        return [plain(line) for line in self.log.decode("utf-8", "replace").split("\n")[:-1]]


def plain(line: str) -> str:
    line = line.rstrip("\r")
    return line[line.rfind("\r") + 1 :]


def text_of(markup: Any) -> str:
    return html.unescape(re.sub(r"<[^>]*>", "", str(markup)))


def check(window: Window, lines: list[str]) -> None:
    """Every line of the window has its own text under its own number, without holes."""
    numbers = [line.number for line in window.lines]
    assert numbers == list(range(window.first, window.first + len(numbers)))
    for line in window.lines:
        assert text_of(line.html) == lines[line.number - 1], line.number


@pytest.fixture
def worker(world: World) -> WorkerOf:
    return world.worker()


@pytest.fixture
def small(monkeypatch: pytest.MonkeyPatch) -> None:
    """Windows so small that a small log is larger than they are."""
    monkeypatch.setattr(logview, "WINDOW", 10)


def chunked(log: bytes, size: int) -> list[bytes]:
    return [log[at : at + size] for at in range(0, len(log), size)]


def test_an_empty_log_is_an_empty_window(world: World, worker: WorkerOf) -> None:
    shown = Shown(world, worker, [])
    for window in (
        shown.see(logview.tail),
        shown.see(lambda a: logview.before(a, 1)),
        shown.see(lambda a: logview.after(a, 0)),
    ):
        assert (window.lines, window.partial, window.total_lines) == ([], None, 0)


def test_the_tail_numbers_its_lines_and_shows_the_one_that_isnt_whole_yet(
    world: World, worker: WorkerOf, small: None
) -> None:
    log = b"".join(b"line %d\n" % number for number in range(1, 31)) + b"half of"
    shown = Shown(world, worker, chunked(log, 11))
    window = shown.see(lambda a: logview.tail(a, 10))
    check(window, shown.lines)
    assert (window.first, window.lines[-1].number, window.total_lines) == (21, 30, 30)
    assert window.partial is not None
    assert text_of(window.partial) == "half of"
    assert window.offset == len(log) - len(b"half of")


def test_windows_before_one_another_make_the_whole_log(world: World, worker: WorkerOf, small: None) -> None:
    log = b"".join(b"line %d\n" % number for number in range(1, 48))
    shown = Shown(world, worker, chunked(log, 13))
    window = shown.see(lambda a: logview.tail(a, 10))
    numbers = [line.number for line in window.lines]
    while window.first > 1:
        first = window.first
        window = shown.see(lambda a, first=first: logview.before(a, first, 10))  # type: ignore[misc]
        check(window, shown.lines)
        numbers = [line.number for line in window.lines] + numbers
    assert numbers == list(range(1, 48))


def test_windows_around_a_line_hold_it(world: World, worker: WorkerOf, small: None) -> None:
    log = b"".join(b"line %d\n" % number for number in range(1, 48))
    shown = Shown(world, worker, chunked(log, 17))
    for number in (1, 2, 5, 20, 37, 38, 47):
        window = shown.see(lambda a, number=number: logview.around(a, number))  # type: ignore[misc]
        check(window, shown.lines)
        assert number in [line.number for line in window.lines]


def test_appends_go_on_where_the_last_one_ended(
    world: World, worker: WorkerOf, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(logview, "APPEND_BYTES", 64)
    log = b"".join(b"line %d\n" % number for number in range(1, 48)) + b"rest"
    shown = Shown(world, worker, chunked(log, 31))
    window, offset, numbers = Window(), 0, []
    for _ in range(100):
        window = shown.see(lambda a, offset=offset: logview.after(a, offset))  # type: ignore[misc]
        check(window, shown.lines)
        numbers += [line.number for line in window.lines]
        if window.partial is not None:
            break
        assert window.offset > offset
        offset = window.offset
    assert numbers == list(range(1, 48))
    assert text_of(window.partial) == "rest"


LINE = st.text(
    st.characters(codec="utf-8", exclude_characters="\n\x1b", exclude_categories=("Cc", "Cf", "Cs")),
    max_size=12,
)
LOG = st.lists(LINE, max_size=60).map(lambda lines: "\n".join(lines).encode())


@pytest.mark.usefixtures("small")
@settings(max_examples=40, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(log=LOG, size=st.integers(1, 40), places=st.tuples(st.integers(1, 70), st.integers(0, 200)))
def test_all_windows_agree_line_by_line(
    world: World, worker: WorkerOf, log: bytes, size: int, places: tuple[int, int]
) -> None:
    line, offset = places
    chunks = [chunk for chunk in chunked(log, max(size, len(log) // 20 + 1)) if chunk]
    shown = Shown(world, worker, chunks)
    lines = shown.lines
    tail = shown.see(lambda a: logview.tail(a, 10))
    check(tail, lines)
    assert [row.number for row in tail.lines] == list(range(max(1, len(lines) - 9), len(lines) + 1))
    before = shown.see(lambda a: logview.before(a, line, 10))
    check(before, lines)
    assert [row.number for row in before.lines] == list(range(max(1, line - 10), min(line, len(lines) + 1)))
    around = shown.see(lambda a: logview.around(a, line))
    check(around, lines)
    if 1 <= line <= len(lines):
        assert line in [row.number for row in around.lines]
    start = log.rfind(b"\n", 0, min(offset, len(log))) + 1
    check(shown.see(lambda a: logview.after(a, start)), lines)


def test_progress_bars_show_what_a_terminal_would_show_last(world: World, worker: WorkerOf) -> None:
    bar = b"".join(b"\r%3d%% of a long, long download" % percent for percent in range(101)) * 10
    shown = Shown(world, worker, [b"windows line\r\n" + bar + b"\n" + b"10%\r50%\r100%\r\n"])
    window = shown.see(logview.tail)
    assert [text_of(line.html) for line in window.lines] == [
        "windows line",
        "100% of a long, long download",
        "100%",
    ]


def test_a_colour_goes_on_to_the_following_lines(world: World, worker: WorkerOf) -> None:
    shown = Shown(world, worker, [b"\x1b[31mred\nstill red\x1b[0m\nplain\n"])
    assert [str(line.html) for line in shown.see(logview.tail).lines] == [
        '<span class="a31">red</span>',
        '<span class="a31">still red</span>',
        "plain",
    ]


def test_more_colours_than_a_browser_bears_are_left_out_of_a_window_and_no_text_is(
    world: World, worker: WorkerOf
) -> None:
    rainbow = b"".join(b"\x1b[3%dm<" % (number % 8) for number in range(85)) + b"\n"
    shown = Shown(world, worker, pieces_of(rainbow * 2000))
    window = shown.see(logview.tail)
    assert len(window.lines) > 1900
    assert {text_of(line.html) for line in window.lines} == {"<" * 85}
    assert sum(line.html.count("<span") for line in window.lines) < logview.WINDOW_SPANS + 200


def test_markup_and_bytes_that_arent_text_are_shown_harmlessly(world: World, worker: WorkerOf) -> None:
    shown = Shown(
        world, worker, [b"<img src=x onerror=alert(1)>\n\xff\xfe\x00binary\nhalf \xe4\xbd", b"\xa0 done\n"]
    )
    first, second, third = [str(line.html) for line in shown.see(logview.tail).lines]
    assert first == "&lt;img src=x onerror=alert(1)&gt;"
    assert second == "\ufffd\ufffdbinary"
    assert third == "half \u4f60 done"


def pieces_of(log: bytes) -> list[bytes]:
    return chunked(log, MIB)


def test_one_line_of_ten_megabytes_is_cut_and_what_surrounds_it_is_whole(
    world: World, worker: WorkerOf
) -> None:
    log = b"first\n" + b"x" * 10 * MIB + b"\nlast\n"
    shown = Shown(world, worker, pieces_of(log))
    tail = shown.see(logview.tail)
    assert tail.lines[-1].number == 3
    assert text_of(tail.lines[-1].html) == "last"
    size = sum(len(line.html) for line in tail.lines)
    seen = {line.number: text_of(line.html) for line in tail.lines}
    while tail.first > 1:
        first = tail.first
        tail = shown.see(lambda a, first=first: logview.before(a, first))  # type: ignore[misc]
        assert tail.first < first, "paging back goes on"
        size += sum(len(line.html) for line in tail.lines)
        seen |= {line.number: text_of(line.html) for line in tail.lines}
    assert size < 100_000
    assert sorted(seen) == [1, 2, 3]
    assert seen[1] == "first"
    assert seen[2].startswith("x" * 4000)
    assert "cut here" in seen[2]


def test_a_line_that_never_ends_doesnt_hold_up_the_page(world: World, worker: WorkerOf) -> None:
    shown = Shown(world, worker, pieces_of(b"x" * 6 * MIB))
    tail = shown.see(logview.tail)
    assert tail.lines == []
    assert tail.partial is not None
    assert len(tail.partial) < 20_000
    offset, window = 0, Window()
    for _ in range(20):
        window = shown.see(lambda a, offset=offset: logview.after(a, offset))  # type: ignore[misc]
        assert sum(len(line.html) for line in window.lines) < 20_000
        if window.partial is not None:
            break
        assert window.offset > offset
        offset = window.offset
    assert window.partial is not None


def test_long_lines_leave_no_hole_between_windows(world: World, worker: WorkerOf) -> None:
    """3000 lines of 4 kB: a window of 2000 of them would be 8 MB."""
    log = b"".join(b"%06d " % number + b"y" * 4000 + b"\n" for number in range(1, 3001))
    shown = Shown(world, worker, pieces_of(log))
    tail = shown.see(logview.tail)
    assert tail.lines[-1].number == 3000
    seen = [line.number for line in tail.lines]
    for _ in range(20):
        if tail.first == 1:
            break
        first = tail.first
        tail = shown.see(lambda a, first=first: logview.before(a, first))  # type: ignore[misc]
        assert tail.lines[-1].number == first - 1, "the line before the window is in the next one"
        for line in (tail.lines[0], tail.lines[-1]):
            assert text_of(line.html).startswith(f"{line.number:06d} ")
        seen = [line.number for line in tail.lines] + seen
    assert seen == list(range(1, 3001))
    for number in (1, 500, 1500, 2900):
        window = shown.see(lambda a, number=number: logview.around(a, number))  # type: ignore[misc]
        found = {line.number: text_of(line.html) for line in window.lines}
        assert found[number].startswith(f"{number:06d} ")


def test_the_tail_of_a_large_log_costs_no_more_than_a_window(world: World, worker: WorkerOf) -> None:
    log = b"".join(b"%09d some output of a build\n" % number for number in range(1_350_000))
    shown = Shown(world, worker, pieces_of(log))
    tracemalloc.start()
    window = shown.see(logview.tail)
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert len(window.lines) == 2000
    assert window.lines[-1].number == 1_350_000
    assert peak < 20 * MIB
    check_first = text_of(window.lines[0].html)
    assert check_first == f"{window.first - 1:09d} some output of a build"
