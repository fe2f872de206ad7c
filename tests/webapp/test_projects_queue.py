"""Tasks in projects: only where it is checked out, and in one checkout any that read or one that writes."""

from __future__ import annotations

import html
import threading
from typing import Any

import pytest

from tests.webapp.project_tasks import checkout, git_task, git_worker, project
from tests.world import WorkerOf, World, at_once, problem
from webapp.database import new_id, release
from webapp.live.bus import Waiter
from webapp.tasks import data, dispatch, exchange, placements, queue, service, unplaced
from webapp.tasks.rules import Offered, Room, Wanted, mismatches
from webapp.workers import identify, listing
from webapp.workers.schemas import SyncRequest
from webapp.workers.sync import Answer, Parked, Terms

# ---- the rules, as tables


def wanted(use: Any = "writes", project_id: str | None = "app", slot_class: str = "task") -> Wanted:
    return Wanted(
        "o", "shell", {}, None, False, slot_class, (), project_id, use if project_id else "", "alice_app"
    )


NOBODY = wanted(project_id=None)
IN_ONE_CHECKOUT = [
    ([], "reads", True),
    ([], "writes", True),
    ([], "places", True),
    (["reads"], "reads", True),
    (["reads", "reads"], "reads", True),
    (["reads"], "writes", False),
    (["reads"], "places", False),
    (["writes"], "reads", False),
    (["writes"], "writes", False),
    (["writes"], "places", False),
    (["places"], "reads", False),
    (["places"], "writes", False),
    (["places"], "places", False),
]


@pytest.mark.parametrize(("held", "asks", "is_admitted"), IN_ONE_CHECKOUT)
def test_in_a_checkout_any_number_read_or_one_writes(held: list[Any], asks: Any, is_admitted: bool) -> None:
    room = Room(slots=10, plans=1)
    for use in held:
        room.take(wanted(use))
    assert room.admits(wanted(asks)) is is_admitted
    assert room.admits(wanted(asks, project_id="other")), "another project's checkout is another matter"
    assert room.admits(NOBODY), "and so is a task without a project"


def turns(line: list[Any], held: list[Any], slots: int = 10) -> list[int]:
    """The places in the line of those that get in, one after the other."""
    room = Room(slots, plans=0)
    for use in held:
        room.occupied.take(wanted(use))
    inside = []
    for number, each in enumerate(wanted(use) if isinstance(use, str) else use for use in line):
        if room.admits(each):
            room.take(each)
            inside.append(number)
        else:
            room.occupied.heed(each)
    return inside


LINES = [
    ("all who read", ["reads", "reads", "reads"], [], [0, 1, 2]),
    ("one who writes", ["writes", "reads", "writes"], [], [0]),
    ("later readers stay behind who writes", ["reads", "writes", "reads"], [], [0]),
    ("also where one reads already", ["writes", "reads", "reads"], ["reads"], []),
    ("earlier readers don’t", ["reads", "places", "reads"], ["reads"], [0]),
    ("who works elsewhere isn’t kept out", ["writes", wanted("reads", "other"), NOBODY], ["reads"], [1, 2]),
    ("readers wait for no reader", ["reads", "reads"], ["reads"], [0, 1]),
    ("who finds no place of its class keeps nobody out", [wanted(slot_class="plan"), "reads"], [], [1]),
]


@pytest.mark.parametrize(("what", "line", "held", "inside"), LINES, ids=[row[0] for row in LINES])
def test_who_waits_to_write_isnt_overtaken(
    what: str, line: list[Any], held: list[Any], inside: list[int]
) -> None:
    assert turns(line, held) == inside


def test_a_full_worker_admits_nobody_to_a_free_checkout() -> None:
    assert turns(["reads", "reads"], [], slots=1) == [0]


HERE = Offered("o", "w", frozenset({"shell"}), {}, admins_only=False, checkouts=frozenset({"app"}))
ELSEWHERE = Offered("o", "w", frozenset({"shell"}), {}, admins_only=False, checkouts=frozenset({"other"}))
MATCHES = [
    ("writes", HERE, []),
    ("reads", HERE, []),
    ("writes", ELSEWHERE, ["has no checkout of alice_app"]),
    ("reads", ELSEWHERE, ["has no checkout of alice_app"]),
    ("places", ELSEWHERE, []),
]


@pytest.mark.parametrize(("use", "offered", "reasons"), MATCHES)
def test_a_worker_matches_that_has_it_or_is_to_get_it(use: Any, offered: Offered, reasons: list[str]) -> None:
    assert mismatches(wanted(use), offered) == reasons


def test_what_is_asked_is_the_same_whatever_the_project_is_called() -> None:
    assert wanted() == Wanted("o", "shell", {}, None, False, "task", (), "app", "writes", "renamed")
    assert len({wanted("reads").id, wanted("writes").id, wanted("places").id, NOBODY.id}) == 4


# ---- submitted


def project_task(world: World, project_id: str, *, reads_only: bool = False, **wish: Any) -> str:
    return world.queued_task(project_id=project_id, project_reads_only=reads_only, **wish)


def offered(worker: WorkerOf, held: list[str] | None = None) -> list[str]:
    return [offer["task_id"] for offer in worker.sync(held).json["offers"]]


def begun(worker: WorkerOf, held: list[dict[str, Any]] | None = None) -> dict[str, Any]:
    """Take the one task that is offered beside these, and show it."""
    shown = [offer["attempt_id"] for offer in held or []]
    [offer] = worker.sync(shown).json["offers"]
    assert worker.sync([*shown, offer["attempt_id"]], accepting=False).json["offers"] == []
    return dict(offer)


def test_a_task_goes_only_to_a_worker_that_has_its_project(world: World) -> None:
    without, having = git_worker(world, "without"), git_worker(world, "having")
    project_id = project(world)
    checkout(world, project_id, having)
    task_id = project_task(world, project_id)
    assert offered(without) == []
    [offer] = having.sync().json["offers"]
    assert offer["task_id"] == task_id
    task = world.task(task_id)
    assert (task["project_id"], task["project_reads_only"]) == (project_id, False)
    assert {event["project_id"] for event in world.events(task_id)} == {project_id}


@pytest.mark.parametrize("status", ["pending", "syncing", "error", "deleting"])
def test_a_checkout_that_isnt_ready_takes_none(world: World, status: str) -> None:
    worker = git_worker(world)
    project_id = project(world)
    checkout(world, project_id, worker, status)
    project_task(world, project_id)
    assert offered(worker) == []
    checkout(world, project_id, worker)
    assert len(offered(worker)) == 1


def test_a_project_that_isnt_there_or_anothers_is_refused(world: World) -> None:
    git_worker(world)
    theirs = project(world, "theirs", world.other_organisation())
    world.api_token("operator")
    for project_id in (theirs, new_id()):
        with world.unchanged():
            body = problem(world.submit(project_id=project_id), 422, "invalid")
        assert body["errors"][0]["field"] == "project_id"
    with world.unchanged():
        problem(world.submit(project_id="../app"), 422, "invalid")
        body = problem(world.submit(project_reads_only=True), 422, "invalid")
    assert "project_id" in body["detail"]


def test_a_git_task_is_made_by_projects_alone(world: World) -> None:
    worker = git_worker(world)
    project_id = project(world)
    world.api_token("operator")
    with world.unchanged():
        body = problem(world.submit(tool="git", input={}, project_id=project_id), 422, "invalid")
    assert "/projects/clone" in body["detail"]
    assert body["errors"][0]["field"] == "tool"
    task_id = git_task(world, project_id, worker)
    assert offered(worker) == [task_id], "the worker that is named, though it has no checkout yet"
    assert world.task(task_id)["project_id"] == project_id


def test_a_git_task_is_run_again_by_who_made_it_and_never_with_another_input(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked: list[tuple[str, str]] = []

    def again(actor: Any, task: Any) -> str:
        asked.append((actor.name, task.id))
        return str(task.id)

    monkeypatch.setitem(service.makers, "git", service.Maker("Use the projects.", again))
    worker = git_worker(world)
    task_id = git_task(world, project(world), worker)
    problem(world.api("operator", "POST", f"/tasks/{task_id}/retry"), 409, "conflict")
    assert world.api("operator", "POST", f"/tasks/{task_id}/cancel").status_code == 200
    answer = world.api("operator", "POST", f"/tasks/{task_id}/retry", json={"input": {"url": "https://evil"}})
    assert problem(answer, 422, "invalid")["detail"] == "Use the projects."
    assert asked == []
    assert world.api("operator", "POST", f"/tasks/{task_id}/retry").status_code == 201
    assert asked == [("operator", task_id)]


def test_run_again_it_asks_for_the_same_project_in_the_same_way(world: World) -> None:
    worker = git_worker(world)
    project_id = project(world)
    checkout(world, project_id, worker)
    task_id = project_task(world, project_id, reads_only=True)
    worker.report(worker.take())
    again = world.api("operator", "POST", f"/tasks/{task_id}/retry").json
    assert (again["project_id"], again["project_reads_only"]) == (project_id, True)


def test_the_list_is_of_one_project(world: World) -> None:
    git_worker(world)
    one, other = project(world, "one"), project(world, "other")
    here = [project_task(world, one), project_task(world, one)]
    project_task(world, other)
    world.queued_task()
    items = world.api("viewer", "GET", f"/tasks?project_id={one}").json["items"]
    assert [item["id"] for item in items] == here[::-1]
    assert world.api("viewer", "GET", f"/tasks?project_id={new_id()}").json["items"] == []


def test_its_data_says_what_higher_domains_add_and_fails_with_their_words(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    said = {"input": {"extra": 1}, "project": {"id": "p", "name": "app", "path": "alice_app", "branch": ""}}
    monkeypatch.setattr(data, "additions", [lambda task: said])
    worker = git_worker(world)
    project_id = project(world)
    checkout(world, project_id, worker)
    project_task(world, project_id)
    offer = worker.take()
    assert offer["data"]["task"]["input"] == {"script": "true", "extra": 1}
    assert offer["data"]["project"] == said["project"]
    assert worker.call("GET", f"/agents/tasks/{offer['task_id']}/data").json == offer["data"]
    worker.report(offer)

    def gone(task: Any) -> Any:
        raise data.CannotRun("Its credential was deleted.")

    monkeypatch.setattr(data, "additions", [gone])
    world.queued_task()
    task_id = project_task(world, project_id, max_retries=0)
    [other] = worker.sync().json["offers"]
    assert other["task_id"] != task_id, "others go on, and aren’t asked"
    task = world.task(task_id)
    assert (task["status"], task["attempts"][0]["failure_class"]) == ("failed", "agent_error")
    assert task["attempts"][0]["error"] == "Its credential was deleted."


def test_a_domain_hears_when_a_task_of_a_project_begins_and_of_no_other(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    heard: list[str] = []
    monkeypatch.setattr(queue, "after_start", [heard.append])
    worker = git_worker(world)
    project_id = project(world)
    checkout(world, project_id, worker)
    offer = world.running_task(worker, project_id=project_id)
    plain = worker.sync([offer["attempt_id"]]).json["offers"]
    assert plain == []
    world.queued_task()
    begun(worker, [offer])
    assert heard == [offer["task_id"]]


# ---- in one checkout


def test_two_that_write_wait_for_each_other_and_two_that_read_dont(world: World) -> None:
    worker = git_worker(world)
    project_id = project(world)
    checkout(world, project_id, worker)
    first, second = project_task(world, project_id), project_task(world, project_id)
    writer = begun(worker)
    assert writer["task_id"] == first
    assert offered(worker, [writer["attempt_id"]]) == []
    worker.report(writer)
    other = begun(worker)
    assert other["task_id"] == second
    readers = {project_task(world, project_id, reads_only=True) for _ in range(3)}
    assert offered(worker, [other["attempt_id"]]) == []
    worker.report(other)
    assert set(offered(worker)) == readers


def test_a_checkout_on_another_worker_is_another_one(world: World) -> None:
    one, other = git_worker(world, "one"), git_worker(world, "other")
    project_id = project(world)
    checkout(world, project_id, one)
    checkout(world, project_id, other)
    first, second = project_task(world, project_id), project_task(world, project_id)
    assert (offered(one), offered(other)) == ([first], [second])


def test_git_waits_for_who_works_there_and_they_wait_for_git(world: World) -> None:
    worker = git_worker(world)
    project_id = project(world)
    checkout(world, project_id, worker)
    reader = world.running_task(worker, project_id=project_id, project_reads_only=True)
    pull = git_task(world, project_id, worker)
    later_reader = project_task(world, project_id, reads_only=True)
    plain = world.queued_task()
    beside = begun(worker, [reader])
    assert beside["task_id"] == plain, "no later reader overtakes the pull; who needs no project does"
    assert offered(worker, [reader["attempt_id"], beside["attempt_id"]]) == []
    worker.report(reader)
    pulling = begun(worker, [beside])
    assert pulling["task_id"] == pull
    assert offered(worker, [beside["attempt_id"], pulling["attempt_id"]]) == []
    checkout(world, project_id, worker)
    worker.report(pulling)
    checkout(world, project_id, worker)
    assert offered(worker, [beside["attempt_id"]]) == [later_reader]


def test_who_stands_before_the_writer_goes_in_before_it(world: World) -> None:
    worker = git_worker(world)
    project_id = project(world)
    checkout(world, project_id, worker)
    reader = world.running_task(worker, project_id=project_id, project_reads_only=True)
    project_task(world, project_id)
    urgent = project_task(world, project_id, reads_only=True, priority=5)
    assert offered(worker, [reader["attempt_id"]]) == [urgent]


def test_a_writer_whose_pause_isnt_over_keeps_no_reader_out(world: World) -> None:
    worker = git_worker(world)
    project_id = project(world)
    checkout(world, project_id, worker)
    project_task(world, project_id)
    failed = begun(worker)
    worker.report(failed, "failed", failure_class="agent_error")
    assert world.task(failed["task_id"])["status"] == "queued"
    first = project_task(world, project_id, reads_only=True)
    second = project_task(world, project_id, reads_only=True)
    assert offered(worker) == [first, second]


@pytest.mark.parametrize("seconds_reader", [False, True])
def test_an_idle_sync_with_a_task_that_is_kept_out_writes_nothing(
    world: World, monkeypatch: pytest.MonkeyPatch, seconds_reader: bool
) -> None:
    """It doesn't even lock the worker's row, however often it looks."""
    worker = git_worker(world)
    project_id = project(world)
    checkout(world, project_id, worker)
    held = world.running_task(worker, project_id=project_id, project_reads_only=seconds_reader)
    project_task(world, project_id)
    project_task(world, project_id, reads_only=True)
    worker.sync([held["attempt_id"]])
    passes: list[str] = []
    monkeypatch.setattr(exchange, "_write", lambda *_: passes.append("wrote"))
    with world.unchanged(), world.statements() as said:
        for _ in range(3):
            assert offered(worker, [held["attempt_id"]]) == []
    assert passes == []
    assert {one.split()[0] for one in said} == {"SELECT", "WITH"}


def test_a_queue_without_projects_asks_nothing_about_them(world: World) -> None:
    worker = git_worker(world)
    checkout(world, project(world), worker)
    world.queued_task()
    with world.statements() as said:
        assert len(offered(worker)) == 1
    assert not any("checkouts" in one or "projects" in one for one in said)


def test_two_dispatchers_of_one_worker_let_one_writer_into_a_checkout(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Its sync and its control socket have both looked and found a task, before either has claimed one."""
    worker = git_worker(world, slots=10)
    project_id = project(world)
    checkout(world, project_id, worker)
    for _ in range(6):
        project_task(world, project_id)
    looks, both_have_looked = queue.could_claim, threading.Barrier(2, timeout=30)

    def looks_and_waits_for_the_other(*asked: Any) -> bool:
        found = looks(*asked)
        release()
        both_have_looked.wait()
        return found

    monkeypatch.setattr(queue, "could_claim", looks_and_waits_for_the_other)
    for _ in range(3):
        given = at_once(lambda: offered(worker), lambda: pushed(world, worker))
        assert len([*given[0], *given[1]]) == 1
        [held] = [row for row in world.rows("attempts") if row["ended_at"] is None]
        worker.report({"task_id": held["task_id"], "attempt_id": held["id"]})


def pushed(world: World, worker: WorkerOf) -> list[str]:
    """What its control socket would send it now."""
    with world.app.app_context():
        answer = look(worker, Terms(renews=False))
        release()
    return [offer["task_id"] for offer in answer.body["offers"]]


def look(worker: WorkerOf, terms: Terms = exchange.ALL) -> Answer:
    """One pass, as a sync or a socket makes it."""
    caller = identify.by_key(worker.key)
    assert caller is not None
    return exchange.exchange(caller, SyncRequest(session_id="s1", boot_id="b1", slots=worker.slots), terms)


def test_a_checkout_that_goes_between_the_look_and_the_claim_takes_no_task(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    worker = git_worker(world)
    project_id = project(world)
    checkout(world, project_id, worker)
    task_id = project_task(world, project_id)
    looks = placements.matching

    def looks_and_then_it_goes(offer: Offered) -> list[str]:
        found = looks(offer)
        release()
        checkout(world, project_id, worker, "deleting")
        return found

    monkeypatch.setattr(placements, "matching", looks_and_then_it_goes)
    assert offered(worker) == []
    assert world.task(task_id)["status"] == "queued"


# ---- woken for it


def parked(world: World, worker: WorkerOf, monkeypatch: pytest.MonkeyPatch) -> Parked:
    """What its last look has left, as a call that waits keeps it: nothing to take, and every slot free."""
    with world.app.app_context():
        answer = look(worker)
        release()
    assert not answer.body["offers"]
    waits = Parked(worker.id, world.organisation_id, Waiter(), answer.free_slots, answer.offered)
    monkeypatch.setattr(dispatch, "parked_workers", lambda: [waits])
    return waits


def is_woken_for_the_queue(world: World, waits: Parked) -> bool:
    waits.waiter.wait(0)
    with world.app.app_context():
        dispatch.wake_for_queue()
        release()
    return waits.waiter.wait(0)


def test_who_waits_is_woken_when_its_clone_is_done(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    """What it offered when it began to wait doesn't know of the new checkout."""
    worker = git_worker(world)
    project_id = project(world)
    checkout(world, project_id, worker, "syncing")
    waits = parked(world, worker, monkeypatch)
    project_task(world, project_id)
    assert not is_woken_for_the_queue(world, waits)
    checkout(world, project_id, worker)
    assert is_woken_for_the_queue(world, waits)


def test_a_new_task_wakes_who_has_its_project_and_nobody_else(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    having, without = git_worker(world, "having"), git_worker(world, "without", slots=9)
    project_id = project(world)
    checkout(world, project_id, having)
    both = [parked(world, worker, monkeypatch) for worker in (having, without)]
    monkeypatch.setattr(dispatch, "parked_workers", lambda: both)
    project_task(world, project_id)
    assert [each.waiter.wait(0) for each in both] == [True, False]


def test_who_would_be_kept_out_isnt_woken_again_and_again(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    worker = git_worker(world)
    project_id = project(world)
    checkout(world, project_id, worker)
    world.running_task(worker, project_id=project_id, project_reads_only=True)
    project_task(world, project_id)
    project_task(world, project_id, reads_only=True)
    waits = parked(world, worker, monkeypatch)
    assert not is_woken_for_the_queue(world, waits)
    world.queued_task()
    assert is_woken_for_the_queue(world, waits), "for what it can take it is"


# ---- why it waits


def reasons(world: World, task_id: str) -> dict[str, str]:
    return {row["worker"]: row["reason"] for row in world.task(task_id)["waiting"]}


def page(world: World, path: str) -> str:
    answer = world.browser("operator").get(path)
    assert answer.status_code == 200
    return html.unescape(answer.text)


def test_each_worker_says_what_its_checkout_keeps_it_from(world: World) -> None:
    project_id = project(world)
    workers = {name: git_worker(world, name) for name in ("active", "syncing", "error", "deleting", "none")}
    for name in ("active", "syncing", "error", "deleting"):
        checkout(world, project_id, workers[name], name)
    for worker in workers.values():
        worker.sync()
    assert reasons(world, project_task(world, project_id)) == {
        "active": "Matches, and takes it in a moment",
        "syncing": "Matches, but its checkout of alice_app isn’t ready yet",
        "error": "Matches, but its checkout of alice_app failed",
        "deleting": "Has no checkout of alice_app",
        "none": "Has no checkout of alice_app",
    }


def test_it_says_who_is_in_the_checkout_or_comes_first(world: World) -> None:
    worker = git_worker(world)
    project_id = project(world)
    checkout(world, project_id, worker)
    world.running_task(worker, project_id=project_id, project_reads_only=True)
    writer = project_task(world, project_id)
    reader = project_task(world, project_id, reads_only=True)
    urgent = project_task(world, project_id, reads_only=True, priority=5)
    assert reasons(world, writer) == {"lab-01": "Matches. Another task works in that checkout"}
    assert reasons(world, reader) == {"lab-01": "Matches. A task that changes that checkout comes first"}
    assert reasons(world, urgent) == {"lab-01": "Matches, and takes it in a moment"}
    assert (
        "Only lab-01 could take it, and it has another task in that checkout. It starts by itself when its turn comes."
        in page(world, f"/tasks/{writer}")
    )


SUMMARIES = [
    ("", "No worker that fits has a checkout of alice_app. Clone it onto one, and this starts by itself."),
    (
        "pending",
        "Only lab-01 could take it, and it is getting the project ready. "
        "It starts by itself as soon as that worker has it ready.",
    ),
    (
        "error",
        "Only lab-01 could take it, and it has a checkout that failed. "
        "It starts by itself when that worker has cloned or pulled it again.",
    ),
]


@pytest.mark.parametrize(("status", "words"), SUMMARIES, ids=["none", "pending", "error"])
def test_the_page_says_in_a_sentence_what_is_missing(world: World, status: str, words: str) -> None:
    worker = git_worker(world)
    project_id = project(world)
    if status:
        checkout(world, project_id, worker, status)
    worker.sync()
    assert words in page(world, f"/tasks/{project_task(world, project_id)}")


@pytest.mark.parametrize(
    ("status", "is_stuck"), [("", True), ("error", True), ("syncing", False), ("active", False)]
)
def test_the_dashboard_counts_a_task_whose_project_is_nowhere(
    world: World, status: str, is_stuck: bool
) -> None:
    worker = git_worker(world)
    project_id = project(world)
    if status:
        checkout(world, project_id, worker, status)
    worker.sync()
    project_task(world, project_id)
    with world.app.app_context():
        rows = [row.worker for row in listing.all_shown(world.organisation_id)]
        found = unplaced.unplaced(world.organisation_id, rows)
        release()
    assert bool(found.count) is is_stuck
