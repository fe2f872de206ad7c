"""Log chunks: bytes by offset, each once, none changed, whatever crosses, breaks or is sent again."""

from __future__ import annotations

import base64
import gzip
import hashlib
import random
import zlib
from pathlib import Path
from typing import Any

import pytest

from tests.world import WorkerOf, World, at_once, later, problem

MIB = 1024 * 1024
ODD = bytes(range(256)) + b"\x00\xff\xfe\xed\xa0\x80\r\n\x1b[31m<script>\n" + "Grüße".encode("utf-16")


def sent(world: World, offer: dict[str, Any]) -> bytes:
    answer = world.log_of(offer)
    assert answer.status_code == 200
    return bytes(answer.data)


def in_json(worker: WorkerOf, offer: dict[str, Any], data: bytes, offset: int = 0, **said: Any) -> Any:
    body = {
        "attempt_id": offer["attempt_id"],
        "phase": "run",
        "offset": offset,
        "checksum": hashlib.sha256(data).hexdigest(),
        **said,
    }
    return worker.call("POST", f"/agents/tasks/{offer['task_id']}/logs/chunk", json=body)


@pytest.fixture
def worker(world: World) -> WorkerOf:
    return world.worker()


@pytest.fixture
def offer(world: World, worker: WorkerOf) -> dict[str, Any]:
    return world.running_task(worker)


def test_bytes_of_any_kind_come_back_as_they_were_sent(
    world: World, worker: WorkerOf, offer: dict[str, Any]
) -> None:
    answer = worker.send_log(offer, ODD)
    assert answer.json == {"status": "ok", "next_offset": len(ODD), "saved_bytes": len(ODD), "cancel": False}
    assert (
        in_json(worker, offer, ODD, len(ODD), content_base64=base64.b64encode(ODD).decode()).status_code
        == 200
    )
    text = "ü\0\n"
    problem(in_json(worker, offer, text.encode(), 2 * len(ODD), content=text), 422, "invalid")
    assert in_json(worker, offer, "ü\n".encode(), 2 * len(ODD), content="ü\n").json["saved_bytes"] == 3
    assert sent(world, offer) == ODD + ODD + "ü\n".encode()


def test_a_gap_is_a_416_with_the_place_to_go_on(
    world: World, worker: WorkerOf, offer: dict[str, Any]
) -> None:
    worker.send_log(offer, b"0123")
    with world.unchanged():
        assert problem(worker.send_log(offer, b"x", 5), 416, "log-gap")["next_offset"] == 4
        assert problem(worker.send_log(offer, b"x", 10**15 - 1), 416, "log-gap")["next_offset"] == 4
        assert problem(in_json(worker, offer, b"x", 2**53, content="x"), 416, "log-gap")["next_offset"] == 4


def test_what_is_stored_already_is_skipped(world: World, worker: WorkerOf, offer: dict[str, Any]) -> None:
    worker.send_log(offer, b"0123")
    with world.unchanged():
        assert worker.send_log(offer, b"0123").json["saved_bytes"] == 0
        assert worker.send_log(offer, b"12", 1).json["next_offset"] == 4
        assert worker.send_log(offer, b"", 4).json["saved_bytes"] == 0
        assert worker.send_log(offer, b"", 0).json["next_offset"] == 4
    assert worker.send_log(offer, b"23456", 2).json == {
        "status": "ok",
        "next_offset": 7,
        "saved_bytes": 3,
        "cancel": False,
    }
    assert sent(world, offer) == b"0123456"


def test_the_first_to_store_a_byte_wins(world: World, worker: WorkerOf, offer: dict[str, Any]) -> None:
    worker.send_log(offer, b"first")
    assert worker.send_log(offer, b"other!").status_code == 200
    assert sent(world, offer) == b"first!"


BAD_HEADERS: list[tuple[dict[str, str], int, str]] = [
    ({"X-Log-SHA256": "0" * 64}, 422, "invalid"),
    ({"X-Log-SHA256": ""}, 422, "invalid"),
    ({"X-Log-SHA256": "nonsense"}, 422, "invalid"),
    ({"X-Log-Offset": "-1"}, 422, "invalid"),
    ({"X-Log-Offset": ""}, 422, "invalid"),
    ({"X-Log-Offset": "zero"}, 422, "invalid"),
    ({"X-Log-Offset": "1e3"}, 422, "invalid"),
    ({"X-Log-Offset": "9" * 16}, 422, "invalid"),
    ({"X-Log-Offset": "9" * 5000}, 422, "invalid"),
    ({"X-Log-Offset": "²"}, 422, "invalid"),
    ({"X-Log-Attempt": ""}, 422, "invalid"),
    ({"X-Log-Attempt": "x"}, 404, "not-found"),
    ({"X-Log-Attempt": "x" * 5000}, 404, "not-found"),
    ({"Content-Encoding": "br"}, 422, "invalid"),
    ({"Content-Encoding": "gzip"}, 422, "invalid"),
]


def test_headers_that_make_no_sense_are_refused_and_nothing_stored(
    world: World, worker: WorkerOf, offer: dict[str, Any]
) -> None:
    with world.unchanged():
        for headers, status, slug in BAD_HEADERS:
            problem(worker.send_log(offer, b"hello\n", 0, **headers), status, slug)


BAD_JSON: list[dict[str, Any]] = [
    {},
    {"content": "x", "content_base64": "eA=="},
    {"content_base64": "not base64!"},
    {"content_base64": "é"},
    {"content": 5},
    {"content": "x", "offset": -1},
    {"content": "x", "offset": "0"},
    {"content": "x", "offset": 2**70},
    {"content": "x", "offset": 0.5},
    {"content": "x", "checksum": "0" * 64},
    {"content": "x", "checksum": "short"},
    {"content": "x", "attempt_id": None},
    {"content": "x", "phase": "p" * 33},
]


def test_a_json_chunk_that_makes_no_sense_is_refused(
    world: World, worker: WorkerOf, offer: dict[str, Any]
) -> None:
    with world.unchanged():
        for said in BAD_JSON:
            problem(in_json(worker, offer, b"x", **said), 422, "invalid")


def test_a_checksum_may_say_its_kind(world: World, worker: WorkerOf, offer: dict[str, Any]) -> None:
    digest = "sha256:" + hashlib.sha256(b"x").hexdigest()
    assert worker.send_log(offer, b"x", 0, **{"X-Log-SHA256": digest}).status_code == 200


def test_a_chunk_is_at_most_a_mebibyte(world: World, worker: WorkerOf, offer: dict[str, Any]) -> None:
    with world.unchanged():
        problem(worker.send_log(offer, b"x" * (MIB + 1)), 413, "too-large")
        problem(worker.send_log(offer, b"x" * 30 * MIB), 413, "too-large")
        problem(in_json(worker, offer, b"x" * (MIB + 1), content="x" * (MIB + 1)), 413, "too-large")
    assert worker.send_log(offer, b"x" * MIB).status_code == 200


def packed(data: bytes, **headers: str) -> dict[str, str]:
    return {"Content-Encoding": "gzip", "X-Log-SHA256": hashlib.sha256(data).hexdigest(), **headers}


def test_a_packed_chunk_is_stored_as_what_it_holds(
    world: World, worker: WorkerOf, offer: dict[str, Any]
) -> None:
    assert worker.send_log(offer, gzip.compress(ODD), 0, **packed(ODD)).json["next_offset"] == len(ODD)
    assert sent(world, offer) == ODD
    whole = b"y" * MIB
    assert worker.send_log(offer, gzip.compress(whole), len(ODD), **packed(whole)).status_code == 200


def test_a_bomb_is_a_413(world: World, worker: WorkerOf, offer: dict[str, Any]) -> None:
    for size in (MIB + 1, 300 * MIB):
        bomb = gzip.compress(bytes(size), 9)
        with world.unchanged():
            problem(worker.send_log(offer, bomb, 0, **packed(b"")), 413, "too-large")


@pytest.mark.parametrize(
    "kind", ["truncated", "trailing garbage", "two members", "raw deflate", "empty", "bad crc"]
)
def test_a_packed_chunk_that_isnt_one_whole_member_is_a_422(
    world: World, worker: WorkerOf, offer: dict[str, Any], kind: str
) -> None:
    data = b"hello\n" * 100
    member = gzip.compress(data)
    bodies = {
        "truncated": member[:-5],
        "trailing garbage": member + b"garbage",
        "two members": member + member,
        "raw deflate": zlib.compress(data),
        "empty": b"",
        "bad crc": member[:-8] + b"\0\0\0\0" + member[-4:],
    }
    with world.unchanged():
        for body in bodies.values():
            problem(worker.send_log(offer, body, 0, **packed(data)), 422, "invalid")


def test_after_the_end_no_chunk_is_taken(world: World, worker: WorkerOf, offer: dict[str, Any]) -> None:
    worker.send_log(offer, b"all\n")
    worker.report(offer)
    with world.unchanged():
        problem(worker.send_log(offer, b"more\n", 4), 409, "lease-lost")
    assert sent(world, offer) == b"all\n"


def test_another_workers_log_is_a_404(world: World, worker: WorkerOf, offer: dict[str, Any]) -> None:
    other = world.worker("lab-02")
    own = world.running_task(other)
    with world.unchanged():
        problem(other.send_log(offer, b"x"), 404, "not-found")
        problem(other.send_log({**own, "task_id": offer["task_id"]}, b"x"), 404, "not-found")
        problem(other.send_log({**offer, "task_id": own["task_id"]}, b"x"), 404, "not-found")


def test_the_first_chunk_starts_the_attempt_and_each_renews_its_lease(world: World, worker: WorkerOf) -> None:
    task_id = world.queued_task()
    offer = worker.take()
    later(100)
    worker.send_log(offer, b"x")
    assert world.task(task_id)["status"] == "running"
    later(100)
    worker.send_log(offer, b"y", 1)
    later(100)
    assert world.end_lost() == 0
    [row] = world.rows("attempts")
    assert row["log_size"] == 2


def test_a_chunks_answer_tells_of_a_cancel(world: World, worker: WorkerOf, offer: dict[str, Any]) -> None:
    assert worker.send_log(offer, b"x").json["cancel"] is False
    world.api("operator", "POST", f"/tasks/{offer['task_id']}/cancel")
    assert worker.send_log(offer, b"y", 1).json["cancel"] is True
    assert worker.send_log(offer, b"y", 1).json["cancel"] is True


def file_of(world: World, offer: dict[str, Any]) -> Path:
    attempt_id = str(offer["attempt_id"])
    return Path(world.app.instance_path) / "logs" / attempt_id[-2:] / f"{attempt_id}.gz"


def test_what_a_crash_left_behind_the_committed_end_is_written_over(
    world: World, worker: WorkerOf, offer: dict[str, Any]
) -> None:
    worker.send_log(offer, b"first\n")
    with file_of(world, offer).open("ab") as file:
        file.write(gzip.compress(b"never committed, and longer than what follows\n" * 50))
    assert sent(world, offer) == b"first\n"
    assert worker.send_log(offer, b"second\n", 6).json["saved_bytes"] == 7
    assert worker.send_log(offer, b"third\n", 13).json["saved_bytes"] == 6
    assert sent(world, offer) == b"first\nsecond\nthird\n"
    log = b"first\nsecond\nthird\n"
    report = worker.report(offer, log_size=len(log), log_sha256=hashlib.sha256(log).hexdigest())
    assert report.status_code == 200


def test_a_commit_that_fails_leaves_the_log_as_it_was(
    world: World, worker: WorkerOf, offer: dict[str, Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    worker.send_log(offer, b"first\n")

    def fails(*_: Any) -> None:
        raise RuntimeError("the power goes out here")

    with monkeypatch.context() as patch, world.unchanged():
        patch.setattr("webapp.tasks.logs.commit", fails)
        problem(worker.send_log(offer, b"lost\n", 6), 500, "broken")
    assert worker.send_log(offer, b"second\n", 6).json["next_offset"] == 13
    assert sent(world, offer) == b"first\nsecond\n"


def test_the_same_chunk_from_many_threads_is_stored_once(
    world: World, worker: WorkerOf, offer: dict[str, Any]
) -> None:
    data = random.Random(1).randbytes(200_000)
    answers = at_once(*[lambda: worker.send_log(offer, data)] * 4)
    assert [answer.status_code for answer in answers] == [200] * 4
    assert sorted(answer.json["saved_bytes"] for answer in answers) == [0, 0, 0, len(data)]
    assert sent(world, offer) == data


def test_chunks_and_a_report_that_cross_leave_a_whole_log_or_a_412(
    world: World, worker: WorkerOf, offer: dict[str, Any]
) -> None:
    log = b"line\n" * 1000
    facts: dict[str, Any] = {"log_size": len(log), "log_sha256": hashlib.sha256(log).hexdigest()}
    chunk, report = at_once(lambda: worker.send_log(offer, log), lambda: worker.report(offer, **facts))
    assert chunk.status_code == 200
    assert report.status_code in (200, 412)
    assert worker.report(offer, **facts).status_code == 200
    assert sent(world, offer) == log


def test_a_large_log_in_chunks_reads_the_same_from_any_place(
    world: World, worker: WorkerOf, offer: dict[str, Any]
) -> None:
    source = random.Random(2)
    log = b"".join(source.randbytes(3000).hex().encode() + b"\n" for _ in range(8000))[: 50 * 1000 * 1000]
    sizes = [MIB, MIB - 1, 700_001, MIB]
    offset, turn = 0, 0
    while offset < len(log):
        piece = log[offset : offset + sizes[turn % 4]]
        assert worker.send_log(offer, piece, offset).status_code == 200
        offset, turn = offset + len(piece), turn + 1
    assert hashlib.sha256(sent(world, offer)).digest() == hashlib.sha256(log).digest()
    size = len(log)
    for start, end in [
        (0, 1),
        (MIB - 1, MIB + 1),
        (size - 1, size),
        (12_345_678, 23_456_789),
        (size // 2, size),
    ]:
        part = world.log_of(offer, Range=f"bytes={start}-{end - 1}")
        assert part.status_code == 206
        assert part.headers["Content-Range"] == f"bytes {start}-{end - 1}/{size}"
        assert part.data == log[start:end]
    report = worker.report(offer, log_size=size, log_sha256=hashlib.sha256(log).hexdigest())
    assert report.status_code == 200


def test_progress_is_stored_shown_and_told_as_an_event(
    world: World, worker: WorkerOf, offer: dict[str, Any]
) -> None:
    path = f"/agents/tasks/{offer['task_id']}/status"
    said = {
        "attempt_id": offer["attempt_id"],
        "stage": "planning",
        "step": "two",
        "message": "halfway",
        "progress": 50.0,
    }
    assert worker.call("PUT", path, json=said).json == {"cancel": False}
    task = world.task(offer["task_id"])
    assert (task["progress"], task["summary"], task["attempts"][0]["stage"]) == (50, "halfway", "planning")
    event = world.events(offer["task_id"])[-1]
    assert (event["type"], event["message"], event["progress"]) == ("step_progress", "halfway", 50)
    world.api("operator", "POST", f"/tasks/{offer['task_id']}/cancel")
    assert worker.call("PUT", path, json={"attempt_id": offer["attempt_id"]}).json == {"cancel": True}
    other = world.worker("lab-02")
    with world.unchanged():
        problem(other.call("PUT", path, json=said), 404, "not-found")
        for wrong in ({"progress": 101}, {"progress": -1}, {"status": "completed"}, {"message": "x" * 1001}):
            problem(worker.call("PUT", path, json={**said, **wrong}), 422, "invalid")
    worker.report(offer)
    with world.unchanged():
        problem(worker.call("PUT", path, json=said), 409, "conflict")
