"""Searching a log: the lines that a page shows with the text, wherever pieces and chunks part them, and never for long."""

from __future__ import annotations

import re
import time
import tracemalloc

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from tests.webapp.long_logs import cut_log
from tests.webapp.test_logview import MIB, Shown, chunked, pieces_of
from tests.world import WorkerOf, World
from webapp.tasks import logs, logsearch
from webapp.tasks.logsearch import Found


@pytest.fixture
def worker(world: World) -> WorkerOf:
    return world.worker()


def searched(shown: Shown, find: str, line: int = 1) -> Found:
    return shown.see(lambda attempt: logsearch.search(attempt, find, line))


def numbers(found: Found) -> list[int]:
    return [hit.number for hit in found.hits]


def test_lines_are_found_as_they_are_shown(world: World, worker: WorkerOf) -> None:
    log = (
        b"\x1b[32mAll\x1b[0m g\x1b[1mood\x1b[0m\r\n"
        b"bad good\rgreat\n"
        b"na\xc3\xafve GOOD\n"
        b"10%\r50%\r100% good\n"
        b"\x1b]0;good title\x07nothing\n"
        b"go\nod\n"
        b"good, without an end"
    )
    found = searched(Shown(world, worker, chunked(log, 7)), "Good")
    assert [(hit.number, hit.before, hit.match, hit.behind) for hit in found.hits] == [
        (1, "All ", "good", ""),
        (3, "naïve ", "GOOD", ""),
        (4, "100% ", "good", ""),
        (8, "", "good", ", without an end"),
    ]
    assert (found.is_whole, found.next_line) == (True, 8)


@pytest.mark.parametrize("find", ["", "not there", "%", "\\", ".*", "[", "x" * 255])
def test_what_no_line_has_is_not_found_and_nothing_is_a_pattern(
    world: World, worker: WorkerOf, find: str
) -> None:
    assert searched(Shown(world, worker, [b"one line\nand another\n"]), find).hits == []


def test_an_empty_log_has_no_such_line(world: World, worker: WorkerOf) -> None:
    assert searched(Shown(world, worker, []), "x") == Found("x")


def test_a_search_goes_on_from_any_line(world: World, worker: WorkerOf) -> None:
    log = b"".join(b"line %d\n" % number for number in range(1, 48))
    shown = Shown(world, worker, chunked(log, 13))
    assert numbers(searched(shown, "line 4", 41)) == [41, 42, 43, 44, 45, 46, 47]
    assert numbers(searched(shown, "line", 47)) == [47]
    assert numbers(searched(shown, "line", 48)) == []
    assert numbers(searched(shown, "line", 10**9)) == []


def test_after_as_many_as_one_answer_holds_it_goes_on_with_the_next(
    world: World, worker: WorkerOf, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(logsearch, "HITS", 10)
    shown = Shown(world, worker, [b"hit\nmiss\n" * 25])
    seen, found = [], Found(is_whole=False)
    while not found.is_whole:
        found = searched(shown, "hit", found.next_line)
        assert len(found.hits) <= 10
        seen += numbers(found)
    assert seen == list(range(1, 50, 2))


def test_a_search_that_takes_long_stops_and_goes_on_until_it_has_seen_everything(
    world: World, worker: WorkerOf, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(logsearch, "SEARCH_SECONDS", -1.0)
    monkeypatch.setattr(logsearch, "PIECE", 100)
    log = b"".join(b"line %d %s\n" % (number, b"long " * (number % 90)) for number in range(1, 201))
    shown = Shown(world, worker, chunked(log, 997))
    seen, found, parts = [], Found(is_whole=False), 0
    while not found.is_whole:
        before = found.next_line
        found = searched(shown, "LINE 1", before)
        assert found.is_whole or found.next_line > before
        seen += numbers(found)
        parts += 1
    assert sorted(set(seen)) == [n for n in range(1, 201) if str(n).startswith("1")]
    assert parts > 50


def test_behind_a_hole_numbers_go_on_as_the_page_counts_them(world: World, worker: WorkerOf) -> None:
    offer = world.running_task(worker, tool="noop", input={})
    cut_log(worker, offer)
    page = world.browser("viewer").get(f"/tasks/{offer['task_id']}?find=line 00")
    found = re.findall(r'data-hit="(\d+)".*?<mark>line 00</mark>(\d\d)<', page.text)
    assert found == [(str(n), f"{n:02d}") for n in range(1, 21)] + [
        (str(n), str(n + 50)) for n in range(21, 50)
    ]
    for number, text in found:
        assert re.search(rf'class="ln is-hit" id="L{number}">.*line 00{text}<', page.text), number


TEXT = st.sampled_from(["a", "b", "ab", "\x1b[1m", "\r", "\n", "é", " "])


@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    log=st.lists(TEXT, max_size=60).map("".join),
    size=st.integers(1, 30),
    find=st.sampled_from(["ab", "É", "b a"]),
)
def test_every_division_into_pieces_finds_what_the_lines_have(
    monkeypatch: pytest.MonkeyPatch, log: str, size: int, find: str
) -> None:
    monkeypatch.setattr(logsearch, "LONG_LINE", 12)
    lines = logsearch._Lines(find.lower())
    lines.begin(1)
    for piece in chunked(log.encode(), size):
        lines.add(piece)
    lines.end()
    shown = [line.rstrip("\r") for line in log.split("\n")]
    shown = [line[line.rfind("\r") + 1 :].replace("\x1b[1m", "") for line in shown]
    expected = [number for number, line in enumerate(shown, 1) if find.lower() in line.lower()]
    assert [hit.number for hit in lines.hits] == expected


def test_ten_megabytes_without_a_line_end_are_searched_in_little_memory(
    world: World, worker: WorkerOf
) -> None:
    line = b"x" * 6 * MIB + b" the needle " + b"y" * 4 * MIB
    shown = Shown(world, worker, pieces_of(b"first\n" + line + b"\nlast needle\n"))
    tracemalloc.start()
    found = searched(shown, "needle")
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert numbers(found) == [2, 3]
    assert found.hits[0].match == "needle"
    assert len(found.hits[0].before + found.hits[0].behind) < 250
    assert peak < 8 * MIB


@pytest.fixture
def hundred_megabytes(world: World, worker: WorkerOf) -> Shown:
    block = b"".join(b"%09d some output of a build that takes its time\n" % n for n in range(17_400))[:MIB]
    return Shown(world, worker, [block] * 49 + [block[:-20] + b"\nonly here\n"] + [block] * 49)


@pytest.mark.slow
def test_a_log_of_a_hundred_megabytes_is_searched_in_parts_in_flat_memory(hundred_megabytes: Shown) -> None:
    slowest, found, seen, parts = 0.0, Found(is_whole=False), [], 0
    tracemalloc.start()
    while not found.is_whole:
        began = time.monotonic()
        found = searched(hundred_megabytes, "Only here", found.next_line)
        slowest = max(slowest, time.monotonic() - began)
        seen += found.hits
        parts += 1
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert len(seen) == 1
    assert peak < 8 * MIB
    assert slowest < logsearch.SEARCH_SECONDS + 2, "each part ends when its time is over"
    assert parts < 100


def test_the_index_of_a_log_of_many_small_chunks_is_read_a_part_at_a_time(
    world: World, worker: WorkerOf, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(logs, "INDEX_ROWS", 7)
    shown = Shown(world, worker, [b"line %d\n" % number for number in range(1, 41)])
    with world.statements() as statements:
        assert numbers(searched(shown, "line 4")) == [4, 40]
    read = [statement for statement in statements if "FROM log_chunks" in statement and "LIMIT" in statement]
    assert len(read) >= 40 // 7


# ---- the pages of it


def hits_of(world: World, offer: dict[str, str], query: str) -> str:
    return world.browser("viewer").get(f"/tasks/{offer['task_id']}/log/hits?{query}").text


def test_the_lines_found_link_to_where_they_are(world: World, worker: WorkerOf) -> None:
    offer = world.running_task(worker)
    worker.send_log(offer, b"one\nthe <b>error</b> & more\nthree\n")
    answer = hits_of(world, offer, "find=ERROR")
    assert f'href="/tasks/{offer["task_id"]}?attempt=1&amp;find=ERROR&amp;line=2#L2" data-hit="2"' in answer
    assert "the &lt;b&gt;<mark>error</mark>&lt;/b&gt; &amp; more" in answer
    assert "No line has “nothing”" in hits_of(world, offer, "find=nothing")
    assert "hidden" in hits_of(world, offer, "find=%20")


def test_without_script_the_page_lists_them_and_leads_on(
    world: World, worker: WorkerOf, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(logsearch, "HITS", 3)
    offer = world.running_task(worker)
    worker.send_log(offer, b"hit\n" * 5)
    client = world.browser("viewer")
    page = client.get(f"/tasks/{offer['task_id']}?find=hit").text
    assert page.count("data-hit=") == 3
    assert "3 lines so far" in page
    assert "Search on from line 4" in page
    further = client.get(f"/tasks/{offer['task_id']}?find=hit&from=4").text
    assert (further.count("data-hit="), "Search on" in further) == (2, False)


def test_a_line_number_leads_to_its_line(world: World, worker: WorkerOf) -> None:
    offer = world.running_task(worker)
    worker.send_log(offer, b"one\ntwo\n")
    client = world.browser("viewer")
    answer = client.get(f"/tasks/{offer['task_id']}?attempt=1&goto=2")
    assert (answer.status_code, answer.location) == (302, f"/tasks/{offer['task_id']}?attempt=1&line=2#L2")
    for nonsense in ("0", "-1", "x", "9" * 30, ""):
        assert client.get(f"/tasks/{offer['task_id']}?goto={nonsense}").status_code == 200


@pytest.mark.parametrize("path", ["window", "hits?find=x"])
def test_a_part_of_a_log_is_hidden_from_strangers_and_needs_a_log(
    world: World, worker: WorkerOf, path: str
) -> None:
    offer = world.running_task(worker)
    worker.send_log(offer, b"x\n")
    stranger = world.browser("admin", world.other_organisation())
    assert stranger.get(f"/tasks/{offer['task_id']}/log/{path}").status_code == 404
    client, waiting = world.browser("viewer"), world.queued_task()
    assert client.get(f"/tasks/{offer['task_id']}/log/{path}").status_code == 200
    assert client.get(f"/tasks/{waiting}/log/{path}").status_code == 404
