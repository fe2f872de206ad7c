"""Lists of tasks, one task, its log and its events, for people's programs."""

from __future__ import annotations

import pytest

from tests.world import WorkerOf, World, later, problem

NO_SUCH = "00000000-0000-7000-8000-000000000000"


def names(world: World, query: str = "") -> list[str]:
    answer = world.api("viewer", "GET", f"/tasks?{query}")
    assert answer.status_code == 200, answer.json
    return [task["name"] for task in answer.json["items"]]


@pytest.fixture
def worker(world: World) -> WorkerOf:
    return world.worker()


def test_the_newest_come_first_and_pages_follow_without_gap_or_repeat(world: World, worker: WorkerOf) -> None:
    for number in range(7):
        world.queued_task(name=f"n{number}")
    seen: list[str] = []
    after = ""
    for _ in range(10):
        page = world.api("viewer", "GET", f"/tasks?limit=3&after={after}").json
        seen += [task["name"] for task in page["items"]]
        world.queued_task(name="a newer one disturbs nothing")
        if page["next"] is None:
            break
        after = page["next"]
    assert seen == [f"n{number}" for number in range(6, -1, -1)]


def test_a_page_that_is_exactly_full_is_the_last(world: World, worker: WorkerOf) -> None:
    for _ in range(3):
        world.queued_task()
    assert world.api("viewer", "GET", "/tasks?limit=3").json["next"] is None


def test_filters_narrow_the_list(world: World, worker: WorkerOf) -> None:
    done = world.running_task(worker, name="done")
    worker.report(done)
    failed = world.running_task(worker, name="failed", max_retries=0)
    worker.report(failed, "failed")
    world.running_task(worker, name="runs")
    world.queued_task(name="waits", tool="noop", input={})
    assert names(world, "status=completed") == ["done"]
    assert names(world, "status=failed") == ["failed"]
    assert names(world, "status=running") == ["runs"]
    assert names(world, "status=queued") == names(world, "status=waiting") == ["waits"]
    assert names(world, "tool=noop") == ["waits"]
    assert names(world, f"worker_id={worker.id}") == ["runs", "failed", "done"]
    assert names(world, "tool=noop&status=completed") == []
    assert names(world, "worker_id=nobody") == []


def test_a_label_finds_the_tasks_that_ask_for_it(world: World, worker: WorkerOf) -> None:
    for name, labels in (
        ("on linux", {"os": "linux"}),
        ("anywhere with a gpu", {"gpu": None}),
        ("both", {"os": "linux", "gpu": "a100", "my.team/role": "ci"}),
        ("anywhere", {}),
    ):
        world.queued_task(name=name, labels=labels)
    assert names(world, "label=os") == ["both", "on linux"]
    assert names(world, "label=os=linux") == ["both", "on linux"]
    assert names(world, "label=gpu") == ["both", "anywhere with a gpu"]
    assert names(world, "label=gpu=a100") == names(world, "label=my.team/role=ci") == ["both"]
    assert names(world, "label=os=") == names(world, "label=o") == names(world, "label=os=Linux") == []
    assert names(world, "label=gpu&status=queued&q=any") == ["anywhere with a gpu"]
    for wrong in ('a"b', "a b", "=x", "x" * 64, "a=b=c", "'"):
        body = problem(world.api("viewer", "GET", "/tasks", query_string={"label": wrong}), 422, "invalid")
        assert body["errors"][0]["field"] == "label"


def test_a_search_takes_wildcards_for_what_they_are(world: World, worker: WorkerOf) -> None:
    for name in ("100% sure", "100 sure", "under_score", "underXscore", "back\\slash", "GRÜN"):
        world.queued_task(name=name)
    assert names(world, "q=100%25") == ["100% sure"]
    assert names(world, "q=r_s") == ["under_score"]
    assert names(world, "q=%25") == ["100% sure"]
    assert names(world, "q=_") == ["under_score"]
    assert names(world, "q=k%5Cs") == ["back\\slash"]
    assert names(world, "q=SURE") == ["100 sure", "100% sure"]
    assert names(world, "q='; DROP TABLE tasks; --") == []
    assert len(names(world)) == 6


def test_a_search_finds_a_task_by_the_beginning_of_its_id(world: World, worker: WorkerOf) -> None:
    task_id = world.queued_task(name="this one")
    assert names(world, f"q={task_id}") == ["this one"]


def test_another_organisation_sees_nothing_of_it(world: World, worker: WorkerOf) -> None:
    offer = world.running_task(worker)
    worker.send_log(offer, b"hello\n")
    others = world.other_organisation()
    task = f"/tasks/{offer['task_id']}"
    assert world.api("admin", "GET", "/tasks", others).json["items"] == []
    assert world.api("admin", "GET", f"/tasks?q={offer['task_id']}", others).json["items"] == []
    assert world.api("admin", "GET", f"/tasks?worker_id={worker.id}", others).json["items"] == []
    for path in (task, f"{task}/log", f"{task}/events", f"{task}/log?attempt={offer['attempt_id']}"):
        problem(world.api("admin", "GET", path, others), 404, "not-found")
        problem(world.api("viewer", "GET", path.replace(offer["task_id"], NO_SUCH)), 404, "not-found")
        problem(world.app.test_client().get(f"/api/v1{path}"), 401, "unauthorized")


def test_a_task_without_an_attempt_has_an_empty_log(world: World, worker: WorkerOf) -> None:
    answer = world.api("viewer", "GET", f"/tasks/{world.queued_task()}/log")
    assert (answer.status_code, answer.data, answer.headers["X-Log-Size"]) == (200, b"", "0")


def test_the_log_is_the_newest_attempts_unless_another_is_asked_for(world: World, worker: WorkerOf) -> None:
    first = world.running_task(worker, retry_delay_s=0)
    worker.send_log(first, b"first\n")
    worker.report(first, "failed", failure_class="agent_error")
    second = worker.take()
    worker.send_log(second, b"second\n")
    path = f"/tasks/{first['task_id']}/log"
    assert world.api("viewer", "GET", path).data == b"second\n"
    assert world.api("viewer", "GET", f"{path}?attempt=1").data == b"first\n"
    assert world.api("viewer", "GET", f"{path}?attempt={first['attempt_id']}").data == b"first\n"
    for wrong in ("3", "0", "-1", "x", NO_SUCH):
        problem(world.api("viewer", "GET", f"{path}?attempt={wrong}"), 404, "not-found")


def test_a_log_is_plain_text_that_no_browser_takes_for_a_page(world: World, worker: WorkerOf) -> None:
    offer = world.running_task(worker)
    worker.send_log(offer, b"<script>alert(1)</script>\n")
    answer = world.log_of(offer)
    assert answer.content_type == "text/plain; charset=utf-8"
    assert answer.headers["X-Content-Type-Options"] == "nosniff"


@pytest.mark.parametrize(
    ("asked", "status", "data"),
    [
        ("bytes=0-3", 206, b"0123"),
        ("bytes=4-", 206, b"456789"),
        ("bytes=-3", 206, b"789"),
        ("bytes=-10", 206, b"0123456789"),
        ("bytes=-11", 206, b"0123456789"),
        ("bytes=-0", 200, b"0123456789"),
        ("bytes=8-100", 206, b"89"),
        ("bytes=0-0", 206, b"0"),
        ("bytes=10-", 416, None),
        ("bytes=5-3", 200, b"0123456789"),
        ("lines=0-3", 200, b"0123456789"),
        ("nonsense", 200, b"0123456789"),
        ("bytes=0-1,4-5", 200, b"0123456789"),
    ],
)
def test_ranges_of_a_log(world: World, worker: WorkerOf, asked: str, status: int, data: bytes | None) -> None:
    offer = world.running_task(worker)
    worker.send_log(offer, b"01234")
    worker.send_log(offer, b"56789", 5)
    answer = world.log_of(offer, Range=asked)
    assert answer.status_code == status
    if data is None:
        problem(answer, 416, "range-not-there")
        assert answer.headers["Content-Range"] == "bytes */10"
    else:
        assert answer.data == data
        assert answer.headers["Content-Length"] == str(len(data))


def test_a_log_from_an_offset(world: World, worker: WorkerOf) -> None:
    offer = world.running_task(worker)
    worker.send_log(offer, b"0123456789")
    path = f"/tasks/{offer['task_id']}/log?offset="
    assert world.api("viewer", "GET", f"{path}4").data == b"456789"
    assert world.api("viewer", "GET", f"{path}10").data == b""
    assert world.api("viewer", "GET", f"{path}99").data == b""
    for wrong in ("-1", "x", "9" * 16):
        problem(world.api("viewer", "GET", f"{path}{wrong}"), 422, "invalid")


def test_events_are_numbered_without_holes_and_read_on_from_any(world: World, worker: WorkerOf) -> None:
    offer = world.running_task(worker)
    for number in range(5):
        said = {"attempt_id": offer["attempt_id"], "message": str(number)}
        worker.call("PUT", f"/agents/tasks/{offer['task_id']}/status", json=said)
    worker.report(offer)
    events = world.events(offer["task_id"])
    assert [event["seq"] for event in events] == list(range(1, 9))
    assert [event["cursor"] for event in events] == sorted({event["cursor"] for event in events})
    path = f"/tasks/{offer['task_id']}/events"
    assert world.api("viewer", "GET", f"{path}?after=3").json["items"] == events[3:]
    page = world.api("viewer", "GET", f"{path}?after=3&limit=2").json
    assert (page["items"], page["next"]) == (events[3:5], 5)
    assert world.api("viewer", "GET", f"{path}?after=8").json == {"items": [], "next": None}


def test_since_leaves_out_what_is_older(world: World, worker: WorkerOf) -> None:
    old = world.queued_task()
    later(60)
    new = world.queued_task()
    since = world.task(new)["created_at"]
    items = world.api("viewer", "GET", "/tasks", query_string={"since": since}).json["items"]
    assert [task["id"] for task in items] == [new]
    assert old != new
    problem(world.api("viewer", "GET", "/tasks?since=yesterday"), 422, "invalid")
