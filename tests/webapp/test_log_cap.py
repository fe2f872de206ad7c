"""An over-long log: its agent leaves out the middle and says so, and the server keeps count of what is missing."""

from __future__ import annotations

import base64
import hashlib
import random
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from tests.webapp.long_logs import LINES, LOG, attempt_of, cut_log, dropped, send_lines
from tests.world import WorkerOf, World, problem
from webapp.database import release
from webapp.errors import Unavailable
from webapp.tasks import holes, logs

MIB = 1024 * 1024


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
