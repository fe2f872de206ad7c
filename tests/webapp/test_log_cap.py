"""An over-long log: its agent leaves out the middle and says so, and everybody is told how much is missing."""

from __future__ import annotations

import base64
import hashlib
import random
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from tests.world import WorkerOf, World, problem
from webapp.database import release
from webapp.errors import Unavailable
from webapp.extensions import db
from webapp.live.views import Scope
from webapp.tasks import holes, logs, logview
from webapp.tasks.holes import Holes, Span
from webapp.tasks.models import Attempt
from webapp.tasks.task_pages import TASK

MIB = 1024 * 1024
# A hundred numbered lines of ten bytes.
LINES = [b"line %04d\n" % number for number in range(1, 101)]
LOG = b"".join(LINES)


def dropped(start: int, end: int) -> dict[str, str]:
    return {"X-Log-Dropped": f"{start}-{end}"}


def attempt_of(world: World, offer: dict[str, Any]) -> dict[str, Any]:
    """As the API shows it; what it says is missing is what the index misses."""
    shown = dict(world.task(offer["task_id"])["attempts"][-1])
    rows = [row for row in world.rows("log_chunks") if row["attempt_id"] == offer["attempt_id"]]
    assert shown["log_missing"] == shown["log_size"] - sum(row["size"] for row in rows)
    return shown


def send_lines(worker: WorkerOf, offer: dict[str, Any], first: int, last: int, **headers: str) -> None:
    """Lines `first` to `last`, a chunk each."""
    for number in range(first, last + 1):
        answer = worker.send_log(offer, LINES[number - 1], 10 * (number - 1), **headers)
        assert answer.status_code == 200, answer.json
        headers = {}


@pytest.fixture
def worker(world: World) -> WorkerOf:
    return world.worker()


@pytest.fixture
def offer(world: World, worker: WorkerOf) -> dict[str, Any]:
    return world.running_task(worker)


@pytest.fixture
def cut(worker: WorkerOf, offer: dict[str, Any]) -> dict[str, Any]:
    """Its first 20 and its last 30 lines are there: lines 21 to 70, 500 bytes, were left out."""
    send_lines(worker, offer, 1, 20)
    send_lines(worker, offer, 71, 100, **dropped(200, 700))
    return offer


# ---- what an agent may say


def test_a_log_may_jump_over_what_its_agent_leaves_out(
    world: World, worker: WorkerOf, offer: dict[str, Any]
) -> None:
    worker.send_log(offer, b"first\n")
    answer = worker.send_log(offer, b"last\n", 1000, **dropped(4, 1000))
    assert answer.json == {"status": "ok", "next_offset": 1005, "saved_bytes": 5, "cancel": False}
    assert worker.send_log(offer, b"more\n", 1005).json["next_offset"] == 1010
    shown = attempt_of(world, offer)
    assert (shown["log_size"], shown["log_missing"]) == (1010, 994)
    assert world.log_of(offer).data == b"first\nlast\nmore\n"


def test_without_a_word_or_with_too_few_a_gap_is_a_gap(
    world: World, worker: WorkerOf, offer: dict[str, Any]
) -> None:
    worker.send_log(offer, b"first\n")
    with world.unchanged():
        for headers in ({}, dropped(0, 999), dropped(7, 1000), dropped(6, 6)):
            answer = worker.send_log(offer, b"last\n", 1000, **headers)
            assert problem(answer, 416, "log-gap")["next_offset"] == 6


def test_nothing_jumps_without_bytes(world: World, worker: WorkerOf, offer: dict[str, Any]) -> None:
    worker.send_log(offer, b"first\n")
    assert worker.send_log(offer, b"", 1000, **dropped(6, 1000)).json["next_offset"] == 6
    assert attempt_of(world, offer)["log_size"] == 6


def test_chunks_that_lie_wholly_in_the_hole_go_and_others_stay(
    world: World, worker: WorkerOf, offer: dict[str, Any]
) -> None:
    send_lines(worker, offer, 1, 20)
    answer = worker.send_log(offer, LINES[20], 200, **dropped(45, 155))
    assert (answer.json["next_offset"], answer.json["saved_bytes"]) == (210, 10)
    assert world.log_of(offer).data == LOG[:50] + LOG[150:210]
    shown = attempt_of(world, offer)
    assert (shown["log_size"], shown["log_missing"]) == (210, 100)


def test_saying_it_again_changes_nothing_and_saying_more_leaves_out_more(
    world: World, worker: WorkerOf, offer: dict[str, Any]
) -> None:
    send_lines(worker, offer, 1, 20)
    for _ in range(2):  # the answer to the first was lost
        assert worker.send_log(offer, LINES[20], 200, **dropped(50, 100)).json["next_offset"] == 210
        assert attempt_of(world, offer)["log_missing"] == 50
    assert worker.send_log(offer, b"", 210, **dropped(50, 200)).json["saved_bytes"] == 0
    assert attempt_of(world, offer)["log_missing"] == 150
    assert world.log_of(offer).data == LOG[:50] + LOG[200:210]


def test_a_chunk_in_json_says_it_too(world: World, worker: WorkerOf, offer: dict[str, Any]) -> None:
    worker.send_log(offer, b"first\n")
    body = {
        "attempt_id": offer["attempt_id"],
        "offset": 1000,
        "content": "last\n",
        "checksum": hashlib.sha256(b"last\n").hexdigest(),
    }
    path = f"/agents/tasks/{offer['task_id']}/logs/chunk"
    with world.unchanged():
        for wrong in (
            [],
            [6],
            [6, 1000, 1000],
            [7, 6],
            [-1, 6],
            [6, 1001],
            ["6", "1000"],
            6,
            "6-1000",
            [0.5, 6],
        ):
            answer = worker.call("POST", path, json={**body, "dropped": wrong})
            problem(answer, 422, "invalid")
        problem(worker.call("POST", path, json={**body, "dropped": None}), 416, "log-gap")
    assert worker.call("POST", path, json={**body, "dropped": [6, 1000]}).json["next_offset"] == 1005
    assert attempt_of(world, offer)["log_missing"] == 994


@pytest.mark.parametrize("data", [b"last\n", b""])
def test_a_hole_that_makes_no_sense_is_refused_and_nothing_stored(
    world: World, worker: WorkerOf, offer: dict[str, Any], data: bytes
) -> None:
    send_lines(worker, offer, 1, 20)
    wrong = [
        "",
        "x",
        "5",
        "-5",
        "5-",
        "5-4",
        "-5-10",
        "5 -10",
        "5-1001",
        "1.5-10",
        "²-10",
        "0x5-10",
        "1_0-20",
    ]
    with world.unchanged():
        for text in [*wrong, f"5-{'9' * 16}", "9" * 5000 + "-1", "5-10,20-30", "5-10-15"]:
            answer = worker.send_log(offer, data, 1000, **{"X-Log-Dropped": text})
            body = problem(answer, 422, "invalid")
            assert body["errors"][0]["field"] == "X-Log-Dropped"


def test_nobody_else_leaves_anything_out(world: World, worker: WorkerOf, offer: dict[str, Any]) -> None:
    send_lines(worker, offer, 1, 20)
    other = world.worker("lab-02")
    own = world.running_task(other)
    with world.unchanged():
        for said in (offer, {**own, "task_id": offer["task_id"]}, {**offer, "task_id": own["task_id"]}):
            problem(other.send_log(said, b"x", 200, **dropped(0, 200)), 404, "not-found")


def test_after_the_end_nothing_is_left_out_any_more(
    world: World, worker: WorkerOf, offer: dict[str, Any]
) -> None:
    send_lines(worker, offer, 1, 20)
    worker.report(offer)
    with world.unchanged():
        problem(worker.send_log(offer, b"x", 200, **dropped(50, 200)), 409, "lease-lost")
    assert world.log_of(offer).data == LOG[:200]


# ---- the server's own cap


def test_more_than_the_server_keeps_is_refused_with_what_to_do(new_world: Callable[..., World]) -> None:
    world = new_world(log_bytes=2000)
    worker = world.worker()
    offer = world.running_task(worker)
    for at in (0, 500, 1000, 1500):
        assert worker.send_log(offer, b"x" * 500, at).status_code == 200
    with world.unchanged():
        assert "X-Log-Dropped" in problem(worker.send_log(offer, b"y", 2000), 413, "too-large")["detail"]
        problem(worker.send_log(offer, b"y" * 600, 2000, **dropped(500, 1000)), 413, "too-large")
        assert worker.send_log(offer, b"x" * 500, 1500).json["saved_bytes"] == 0  # it is there already
        report = worker.report(offer, log_tail={"offset": 2000, "content": "y"}, log_size=2001)
        problem(report, 413, "too-large")
    assert worker.send_log(offer, b"y" * 400, 2000, **dropped(500, 1000)).json["next_offset"] == 2400
    problem(worker.send_log(offer, b"y" * 200, 2400), 413, "too-large")
    assert worker.send_log(offer, b"z" * 600, 5000, **dropped(500, 5000)).json["next_offset"] == 5600
    shown = attempt_of(world, offer)
    assert shown["log_size"] - shown["log_missing"] == 1100
    assert world.log_of(offer).data == b"x" * 500 + b"z" * 600


# ---- the report


def test_a_report_counts_the_hole_and_has_no_checksum(
    world: World, worker: WorkerOf, cut: dict[str, Any]
) -> None:
    with world.unchanged():
        assert problem(worker.report(cut, log_size=1001), 412, "log-incomplete")["next_offset"] == 1000
        problem(worker.report(cut, log_size=999), 422, "invalid")
        digest = hashlib.sha256(LOG).hexdigest()
        body = problem(worker.report(cut, log_size=1000, log_sha256=digest), 422, "invalid")
        assert body["errors"][0]["field"] == "log_sha256"
    assert worker.report(cut, log_size=1000).status_code == 200
    assert worker.report(cut, log_size=1000).status_code == 200
    shown = attempt_of(world, cut)
    assert (shown["log_size"], shown["log_missing"], shown["status"]) == (1000, 500, "completed")


def test_the_end_of_a_log_may_follow_a_hole_in_the_report(
    world: World, worker: WorkerOf, offer: dict[str, Any]
) -> None:
    send_lines(worker, offer, 1, 20)
    tail: dict[str, Any] = {"offset": 990, "content_base64": base64.b64encode(LINES[-1]).decode()}
    with world.unchanged():
        report = worker.report(offer, log_tail=tail, log_size=1000)
        assert problem(report, 412, "log-incomplete")["next_offset"] == 200
        for wrong in ([200, 991], [300, 200], [201, 990]):
            answer = worker.report(offer, log_tail={**tail, "dropped": wrong}, log_size=1000)
            assert answer.status_code in (412, 422)
    report = worker.report(offer, log_tail={**tail, "dropped": [100, 990]}, log_size=1000)
    assert report.status_code == 200
    shown = attempt_of(world, offer)
    assert (shown["log_size"], shown["log_missing"]) == (1000, 890)
    assert world.log_of(offer).data == LOG[:100] + LINES[-1]


def test_a_report_in_a_sync_brings_the_end_behind_a_hole(
    world: World, worker: WorkerOf, offer: dict[str, Any]
) -> None:
    send_lines(worker, offer, 1, 5)
    report = {
        "task_id": offer["task_id"],
        "attempt_id": offer["attempt_id"],
        "status": "completed",
        "execution_time_ms": 1,
        "log_size": 1000,
        "log_tail": {"offset": 990, "content": LINES[-1].decode(), "dropped": [50, 990]},
    }
    assert worker.sync(reports=[report]).json["reported"][0]["status"] == 200
    assert attempt_of(world, offer)["log_missing"] == 940


# ---- crashes, the disk, readers at the same time


def file_of(world: World, offer: dict[str, Any]) -> Path:
    with world.app.app_context():
        return logs.path_of(offer["attempt_id"])


def test_what_is_left_out_comes_back_to_the_disk(
    world: World, worker: WorkerOf, offer: dict[str, Any]
) -> None:
    source, at = random.Random(3), 0
    noise = [source.randbytes(MIB) for _ in range(4)]
    for piece in noise:
        at = worker.send_log(offer, piece, at).json["next_offset"]
    path = file_of(world, offer)
    full = path.stat()
    assert worker.send_log(offer, b"end\n", at, **dropped(MIB, 3 * MIB)).status_code == 200
    after = path.stat()
    assert after.st_size > full.st_size
    assert 512 * (full.st_blocks - after.st_blocks) >= 2 * MIB - 64 * 1024
    assert world.log_of(offer).data == noise[0] + noise[3] + b"end\n"


def test_where_the_disk_cannot_take_it_back_nothing_else_changes(
    world: World, worker: WorkerOf, offer: dict[str, Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(holes, "_fallocate", None)
    send_lines(worker, offer, 1, 20)
    worker.send_log(offer, LINES[20], 200, **dropped(50, 150))
    assert world.log_of(offer).data == LOG[:50] + LOG[150:210]
    monkeypatch.setattr(holes, "_fallocate", lambda *_: -1)
    worker.send_log(offer, LINES[21], 210, **dropped(50, 200))
    assert world.log_of(offer).data == LOG[:50] + LOG[200:220]


def test_a_transaction_that_fails_leaves_nothing_out(
    world: World, worker: WorkerOf, offer: dict[str, Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    send_lines(worker, offer, 1, 20)

    def fails(_: str) -> None:
        raise RuntimeError("the power goes out here")

    with monkeypatch.context() as patch, world.unchanged():
        patch.setattr("webapp.tasks.progress.failpoints.reach", fails)
        problem(worker.send_log(offer, LINES[20], 200, **dropped(50, 150)), 500, "broken")
    assert world.log_of(offer).data == LOG[:200]
    send_lines(worker, offer, 21, 21, **dropped(50, 150))
    assert world.log_of(offer).data == LOG[:50] + LOG[150:210]


def test_what_goes_while_it_is_read_is_missed_and_never_guessed(
    world: World, worker: WorkerOf, offer: dict[str, Any]
) -> None:
    send_lines(worker, offer, 1, 20)
    with world.app.app_context():
        readers = [logs.stream(offer["attempt_id"], 0, 200) for _ in range(2)]
        marked = logs.marked(offer["attempt_id"], 200)
        release()
    worker.send_log(offer, LINES[20], 200, **dropped(50, 150))
    assert b"".join(readers[0]) == LOG[:50] + LOG[150:200]
    assert b"".join(marked) == LOG[:50] + "[… 100 bytes left out …]\n".encode() + LOG[150:200]
    with pytest.raises(Unavailable):
        list(logs.exactly(readers[1], 200))


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
