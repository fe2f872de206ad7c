"""The page of named locks, breaking one, and what a task's page says of its locks."""

from __future__ import annotations

import re
from typing import Any

from tests.webapp.pages.forms import field_error, press, text_of, toast
from tests.webapp.pages.test_new_task import made, submit
from tests.world import World, later


def ticked(world: World) -> list[str]:
    """What the boxes of the page send."""
    return re.findall(
        r'data-bulk name="id" id="[^"]+" value="([^"]+)"', world.browser("admin").get("/locks").text
    )


def words(world: World, path: str, role: Any = "viewer") -> str:
    return text_of(world.browser(role).get(path))


# ---- the page


def test_without_any_it_says_what_a_lock_is_and_how_to_ask_for_one(world: World) -> None:
    page = world.browser("operator").get("/locks")
    assert "No lock is held or waited for" in text_of(page)
    assert "under Advanced on the page New task" in text_of(page)
    assert 'href="/tasks/new"' in page.text
    viewer = world.browser("viewer").get("/locks")
    assert "one runs, the others wait their turn" in text_of(viewer)
    assert 'href="/tasks/new"' not in viewer.text


def test_each_is_shown_with_its_holder_and_its_line(world: World) -> None:
    worker = world.worker("lab-01", slots=5)
    offer = world.running_task(worker, name="deploy 41", locks=["team/prod"])
    second, third = (world.queued_task(name=f"deploy {n}", locks=["team/prod"]) for n in (42, 43))
    page = world.browser("viewer").get("/locks")
    assert re.search(r"team/prod held for since .* deploy 41 on lab-01 deploy 42 deploy 43", text_of(page))
    assert "1 held 2 tasks in line" in text_of(page)
    for task_id in (offer["task_id"], second, third):
        assert f'href="/tasks/{task_id}"' in page.text
    assert f'href="/workers/{worker.id}"' in page.text
    assert 'id="lock-team/prod"' in page.text
    assert "data-bulk" not in page.text, "viewers break none"


def test_of_a_long_line_the_beginning_is_shown(world: World) -> None:
    worker = world.worker()
    world.running_task(worker, locks=["prod"])
    for number in range(8):
        world.queued_task(name=f"number {number}", locks=["prod"])
    said = words(world, "/locks")
    assert "number 4" in said
    assert "number 5" not in said
    assert "and 3 more" in said


def test_one_that_nobody_holds_yet_is_shown_with_its_line(world: World) -> None:
    world.worker()
    world.queued_task(name="waits", locks=["prod"])
    assert "prod free nobody waits" in words(world, "/locks")


def test_it_is_live_and_of_one_organisation(world: World) -> None:
    world.running_task(world.worker(), name="ours", locks=["prod"])
    assert "ours" in world.browser("viewer").get("/live?view=locks").text
    stranger = world.browser("admin", world.other_organisation())
    for path in ("/locks", "/live?view=locks"):
        answer = stranger.get(path)
        assert answer.status_code == 200
        assert "ours" not in answer.text


def test_it_needs_a_sign_in(world: World) -> None:
    assert world.browser().get("/locks").location.startswith("/login")


def test_the_tasks_lead_to_it(world: World) -> None:
    assert 'href="/locks"' in world.browser("viewer").get("/tasks").text


# ---- breaking


def test_a_broken_one_goes_to_the_next(world: World) -> None:
    worker = world.worker(slots=5)
    offer = world.running_task(worker, name="stuck", locks=["team/a:prod"])
    after = world.queued_task(locks=["team/a:prod"])
    client = world.browser("admin")
    assert "The holder isn’t stopped" in text_of(client.get("/locks"))
    assert press(client, "/locks/break", id=ticked(world)).location == "/locks"
    assert toast(client, "/locks") == "1 lock broken."
    assert worker.take()["task_id"] == after
    assert "It runs without a lock that it asked for" in words(world, f"/tasks/{offer['task_id']}")


def test_one_that_changed_hands_meanwhile_stays_as_it_is(world: World) -> None:
    worker = world.worker(slots=5)
    offer = world.running_task(worker, locks=["prod"])
    seen = ticked(world)
    world.queued_task(name="the next one", locks=["prod"])
    worker.report(offer)
    worker.take()
    client = world.browser("admin")
    with world.unchanged():
        press(client, "/locks/break", id=seen)
    assert toast(client, "/locks") == "The lock prod has changed hands: the next one holds it now."


def test_said_twice_the_second_one_is_told(world: World) -> None:
    world.running_task(world.worker(), locks=["prod"])
    seen, client = ticked(world), world.browser("admin")
    press(client, "/locks/break", id=seen)
    press(client, "/locks/break", id=[*seen, "nonsense", ":", f"x:{'y' * 300}"])
    assert toast(client, "/locks").startswith("Nobody holds the lock prod.")
    assert len(world.audited("lock.break")) == 1


def test_only_admins_of_the_same_organisation_break(world: World) -> None:
    world.running_task(world.worker(), locks=["prod"])
    seen = ticked(world)
    approver, stranger = world.browser("approver"), world.browser("admin", world.other_organisation())
    with world.unchanged():
        assert press(world.app.test_client(), "/locks/break", page="/login", id=seen).status_code == 401
        assert press(approver, "/locks/break", id=seen).status_code == 403
        press(stranger, "/locks/break", id=seen)
    assert toast(stranger, "/locks") == "Nobody holds the lock prod."


# ---- a task and its locks


def test_a_form_asks_for_locks(world: World) -> None:
    world.worker()
    task = made(world, submit(world, input__script="true", locks="deploy/prod, database  database"))
    assert task["locks"] == ["database", "deploy/prod"]


def test_a_name_that_is_none_is_said_beside_the_field(world: World) -> None:
    world.worker()
    answer = submit(world, input__script="true", locks="fine -not")
    assert answer.status_code == 422
    assert "A lock’s name is letters" in field_error(answer, "locks").replace("'", "’")
    assert 'value="fine -not"' in answer.text
    assert re.search(r'<details class="fold" id="advanced" open>', answer.text)
    assert world.rows("tasks") == []


def test_more_than_ten_are_refused(world: World) -> None:
    world.worker()
    answer = submit(world, input__script="true", locks=" ".join(f"lock-{number}" for number in range(11)))
    assert answer.status_code == 422
    assert field_error(answer, "locks")


def test_run_again_with_changes_keeps_them(world: World) -> None:
    world.worker()
    task_id = world.queued_task(locks=["b", "a"])
    page = world.browser("operator").get(f"/tasks/new?from={task_id}").text
    assert re.search(r'id="locks" name="locks" type="text" value="a b"', page)


def test_a_running_task_says_what_it_holds(world: World) -> None:
    worker = world.worker()
    offer = world.running_task(worker, locks=["prod"])
    page = world.browser("viewer").get(f"/tasks/{offer['task_id']}")
    assert "holds prod" in text_of(page)
    assert 'href="/locks#lock-prod"' in page.text
    worker.report(offer)
    after = words(world, f"/tasks/{offer['task_id']}")
    assert "holds prod" not in after
    assert "Locks prod" in after


# ---- why it waits


def test_a_task_that_waits_for_a_lock_names_it_and_its_holder(world: World) -> None:
    worker = world.worker(slots=5)
    holder = world.running_task(worker, name="deploy 41", locks=["prod"])
    second, third = (world.queued_task(name=f"deploy {n}", locks=["prod"]) for n in (42, 43))
    page = world.browser("viewer").get(f"/tasks/{second}")
    said = "It waits for the lock prod : deploy 41 holds it. It starts by itself when its turn comes."
    assert said in text_of(page)
    assert f'<a href="/tasks/{holder["task_id"]}">deploy 41</a>' in page.text
    assert "deploy 41 holds it. 1 task is before it in line." in words(world, f"/tasks/{third}")
    worker.report(holder)
    assert "prod : deploy 42 is next in line." in words(world, f"/tasks/{third}")


def test_a_lock_and_workers_that_cant_are_both_said(world: World) -> None:
    worker = world.worker("nas")
    world.running_task(worker, name="deploy", locks=["prod"])
    world.api("admin", "POST", f"/workers/{worker.id}/drain")
    said = words(world, f"/tasks/{world.queued_task(locks=['prod'])}")
    assert "deploy holds it. Only nas could take it, and it is draining." in said


def test_a_pause_before_the_next_try_is_said(world: World) -> None:
    worker = world.worker()
    offer = world.running_task(worker, retry_delay_s=600)
    worker.report(offer, "failed", failure_class="agent_error")
    worker.sync()
    said = words(world, f"/tasks/{offer['task_id']}")
    assert "The pause before its next try isn’t over yet." in said


def test_where_all_that_could_are_alike_it_says_so(world: World) -> None:
    workers = [world.worker(f"lab-{number}", slots=1) for number in range(2)]
    for worker in workers:
        world.running_task(worker)
    task_id = world.queued_task()
    path = f"/tasks/{task_id}"
    assert "Both workers that could take it are busy." in words(world, path)
    assert "as soon as one of them has room" in words(world, path)
    for worker in workers:
        world.api("admin", "POST", f"/workers/{worker.id}/drain")
    assert (
        "Both workers that could take it are draining. It starts when an admin resumes one of them."
        in words(world, path)
    )
    world.api("admin", "POST", f"/workers/{workers[0].id}/resume")
    assert "2 workers could take it: 1 is busy and 1 is draining." in words(world, path)
    later(100)
    assert "Both workers that could take it don’t answer." in words(world, path)


def test_a_quarantined_worker_and_one_that_refuses_are_said(world: World) -> None:
    worker = world.worker("lab-01")
    for _ in range(3):
        world.queued_task(max_retries=0)
        worker.report(worker.take(), "failed", failure_class="agent_error")
    path = f"/tasks/{world.queued_task()}"
    said = words(world, path)
    assert (
        "Only lab-01 could take it, and it is quarantined. It starts by itself when that worker comes back."
        in said
    )
    assert "in a row. It comes back" in said
    world.api("admin", "POST", f"/workers/{worker.id}/resume")
    worker.sync(accepting=False, not_accepting="disk low")
    said = words(world, path)
    assert "Only lab-01 could take it, and it takes no new work." in said
    assert "its agent says: disk low" in said
