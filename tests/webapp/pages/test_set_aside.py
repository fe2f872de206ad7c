"""Workers that drain, are quarantined or refuse work, as pages show them; and what admins do about it."""

from __future__ import annotations

from typing import Any

import pytest
from sqlalchemy import delete

from tests.webapp.pages.forms import field_error, press, text_of, toast
from tests.webapp.pages.test_workers import rows
from tests.world import WorkerOf, World, later
from webapp.database import transaction
from webapp.tasks.models import Attempt, Task

NO_SUCH = "00000000-0000-7000-8000-000000000000"
VERBS = ("drain", "resume", "announce")


def drain(world: World, worker: WorkerOf) -> None:
    assert world.api("admin", "POST", f"/workers/{worker.id}/drain").status_code == 200


def set_aside(world: World, worker: WorkerOf, name: str = "fails") -> None:
    """Three failures of the machine's, of three tasks."""
    for number in range(3):
        world.queued_task(name=f"{name} {number}", max_retries=0)
        worker.report(worker.take(), "failed", failure_class="agent_error")


def words(world: World, path: str, role: Any = "admin") -> str:
    return text_of(world.browser(role).get(path))


# ---- drain


def test_a_draining_one_says_what_it_still_finishes(world: World) -> None:
    worker = world.worker("nas", slots=3)
    world.running_task(worker)
    client = world.browser("admin")
    assert press(client, f"/workers/{worker.id}/drain").location == f"/workers/{worker.id}"
    page = client.get(f"/workers/{worker.id}")
    assert "nas drains: it finishes 1 task and takes no more." in text_of(page)
    assert "<title>Draining: nas" in page.text
    assert "It finishes 1 task and takes no more." in text_of(page)
    assert f'formaction="/workers/{worker.id}/resume"' in page.text
    assert f'formaction="/workers/{worker.id}/drain"' not in page.text
    assert "nas Finishes 1 task" in words(world, "/workers")


def test_an_idle_one_that_drains_can_be_switched_off(world: World) -> None:
    worker = world.worker("nas")
    worker.sync()
    client = world.browser("admin")
    press(client, f"/workers/{worker.id}/drain", back="list")
    assert toast(client, "/workers") == "nas drains: it takes no more work."
    assert "the machine can be switched off." in words(world, f"/workers/{worker.id}")
    assert "nas Holds no task any more" in words(world, "/workers")


def test_resumed_it_takes_work_again(world: World) -> None:
    worker = world.worker("nas")
    drain(world, worker)
    client = world.browser("admin")
    press(client, f"/workers/{worker.id}/resume")
    assert toast(client, f"/workers/{worker.id}") == "nas takes work again."
    world.queued_task()
    assert worker.take()


# ---- quarantine


def test_a_quarantined_one_says_for_how_long_why_and_what_to_do(world: World) -> None:
    worker = world.worker("lab-03")
    set_aside(world, worker, "restic")
    page = world.browser("viewer").get(f"/workers/{worker.id}")
    said = text_of(page)
    assert "<title>Quarantined: lab-03" in page.text
    assert "Set aside: 3 attempts in a row failed for reasons of the machine. It takes work again" in said
    assert "What failed: restic 0 , restic 1 , restic 2 ." in said
    [row] = world.rows("tasks")[:1]
    assert f'<a href="/tasks/{row["id"]}">' in page.text
    listed = world.browser("viewer").get("/workers")
    assert "lab-03 Back" in text_of(listed)
    assert "after 3 infrastructure failures" in text_of(listed)


def test_resume_ends_a_quarantine_and_says_so(world: World) -> None:
    worker = world.worker("lab-03")
    set_aside(world, worker)
    client = world.browser("admin")
    assert "Resume and end quarantine" in text_of(client.get(f"/workers/{worker.id}"))
    press(client, f"/workers/{worker.id}/resume")
    assert toast(client, f"/workers/{worker.id}") == "lab-03 takes work again. Its quarantine is over."
    assert "Set aside" not in text_of(client.get(f"/workers/{worker.id}"))


def test_one_that_is_over_is_not_shown(world: World) -> None:
    worker = world.worker("lab-03")
    set_aside(world, worker)
    later(61)
    worker.sync()
    assert "Set aside" not in words(world, f"/workers/{worker.id}")
    assert "Online" in words(world, f"/workers/{worker.id}")


def test_a_failed_task_that_was_removed_is_left_out(world: World) -> None:
    worker = world.worker("lab-03")
    set_aside(world, worker, "restic")
    first = min(row["id"] for row in world.rows("tasks"))
    with world.app.app_context(), transaction() as session:
        session.execute(delete(Attempt).where(Attempt.task_id == first))
        session.execute(delete(Task).where(Task.id == first))
    assert "What failed: restic 1 , restic 2 ." in words(world, f"/workers/{worker.id}")


# ---- the agent's own refusal


def test_what_the_agent_says_no_with_is_shown(world: World) -> None:
    worker = world.worker("nas")
    worker.sync(accepting=False, not_accepting="disk low: 1.2 GiB free of 500")
    assert "Its agent takes no new work: disk low: 1.2 GiB free of 500." in words(
        world, f"/workers/{worker.id}"
    )
    assert "nas Takes no new work: disk low: 1.2 GiB free of 500." in words(world, "/workers", "viewer")
    worker.sync()
    assert "takes no new work" not in words(world, f"/workers/{worker.id}").lower()


def test_what_a_draining_or_silent_one_says_is_no_news(world: World) -> None:
    worker = world.worker("nas")
    worker.sync(accepting=False, not_accepting="draining")
    drain(world, worker)
    assert "Its agent takes no new work" not in words(world, f"/workers/{worker.id}")
    world.api("admin", "POST", f"/workers/{worker.id}/resume")
    later(100)
    assert "Its agent takes no new work" not in words(world, f"/workers/{worker.id}")


def test_a_name_or_a_reason_from_outside_is_text(world: World) -> None:
    worker = world.worker("<b>nas</b>")
    worker.sync(accepting=False, not_accepting="<script>alert(1)</script>")
    for path in ("/workers", f"/workers/{worker.id}"):
        page = world.browser("admin").get(path).text
        assert "<script>alert" not in page
        assert "<b>nas" not in page


# ---- lists and figures


def test_the_list_is_filtered_by_the_new_statuses(world: World) -> None:
    draining, bad = world.worker("draining-one"), world.worker("bad-one")
    draining.sync()
    drain(world, draining)
    set_aside(world, bad)
    client = world.browser("viewer")
    assert rows(client.get("/workers?status=draining")) == ["draining-one"]
    assert rows(client.get("/workers?status=quarantined")) == ["bad-one"]
    assert (
        '<option value="quarantined" selected>Quarantined' in client.get("/workers?status=quarantined").text
    )


def test_the_dashboard_counts_them(world: World) -> None:
    busy, draining, bad = world.worker("busy"), world.worker("draining"), world.worker("bad")
    set_aside(world, bad)
    draining.sync()
    drain(world, draining)
    world.running_task(busy)
    world.worker("offline")
    said = words(world, "/", "viewer")
    assert "Workers online 3 of 4 1 busy, 1 draining, 1 quarantined" in said


def test_the_ticked_ones_are_drained_and_resumed(world: World) -> None:
    one, two, pending = world.worker("a"), world.worker("b"), world.registered("c")
    client = world.browser("admin")
    press(client, "/workers/drain", id=[one.id, two.id, pending.id])
    assert toast(client, "/workers") == "2 workers told to drain. c is pending: it takes no work anyway."
    press(client, "/workers/resume", id=[one.id, NO_SUCH])
    assert toast(client, "/workers").startswith("1 worker resumed. There is no such worker here.")
    assert [
        bool(row["drain_requested_at"]) for row in sorted(world.rows("workers"), key=lambda r: r["name"])
    ] == [
        False,
        True,
        False,
    ]


@pytest.mark.parametrize("path", ["/workers/drain", "/workers/resume", "/workers/announce"])
def test_many_at_once_are_for_admins(world: World, path: str) -> None:
    worker = world.worker()
    drain(world, worker)
    operator = world.browser("operator")
    stranger = world.browser("admin", world.other_organisation())
    with world.unchanged():
        assert press(operator, path, id=[worker.id], text="x").status_code == 403
        assert press(stranger, path, id=[worker.id], text="x").status_code == 302
    assert path not in operator.get("/workers").text


# ---- standing questions


@pytest.mark.parametrize("verb", VERBS)
def test_only_admins_of_the_same_organisation_may(world: World, verb: str) -> None:
    worker = world.worker()
    if verb == "resume":
        drain(world, worker)
    operator, admin = world.browser("operator"), world.browser("admin")
    stranger = world.browser("admin", world.other_organisation())
    path = f"/workers/{worker.id}/{verb}"
    with world.unchanged():
        assert press(world.app.test_client(), path, page="/login").status_code == 401
        assert press(operator, path, text="x").status_code == 403
        assert press(stranger, path, text="x").status_code == 404
        assert press(admin, f"/workers/{NO_SUCH}/{verb}", text="x").status_code == 404
    assert f"/{verb}" not in operator.get(f"/workers/{worker.id}").text


@pytest.mark.parametrize("verb", ["drain", "resume"])
def test_said_twice_changes_nothing(world: World, verb: str) -> None:
    worker = world.worker()
    client = world.browser("admin")
    press(client, f"/workers/{worker.id}/{verb}")
    with world.unchanged():
        assert press(client, f"/workers/{worker.id}/{verb}").status_code == 302


@pytest.mark.parametrize("verb", ["drain", "resume"])
def test_a_pending_one_isnt_offered_it(world: World, verb: str) -> None:
    worker = world.registered("new")
    client = world.browser("admin")
    assert f'formaction="/workers/{worker.id}/{verb}"' not in client.get(f"/workers/{worker.id}").text
    assert press(client, f"/workers/{worker.id}/{verb}").status_code == 409


# ---- announcements


def test_an_announcement_is_shown_until_it_is_taken_back(world: World) -> None:
    worker = world.worker("nas")
    client = world.browser("admin")
    path = f"/workers/{worker.id}"
    press(client, f"{path}/announce", text=" restarts at 18:00 ")
    assert toast(client, path) == "Announced to nas."
    assert "Announced restarts at 18:00" in text_of(client.get(path))
    assert worker.sync().json["announce"] == "restarts at 18:00"
    press(client, f"{path}/announce", take_back="yes")
    assert toast(client, path) == "Taken back."
    assert "Announced restarts" not in text_of(client.get(path))
    assert worker.sync().json["announce"] is None


def test_to_all_from_the_list_and_taken_back_from_all(world: World) -> None:
    one, two = world.worker("a"), world.worker("b")
    pending = world.registered("c")
    client = world.browser("admin")
    press(client, f"/workers/{one.id}/announce", text="only you")
    press(client, "/workers/announce", text="all of you")
    assert toast(client, "/workers") == "Announced to 2 workers."
    assert "2 workers all of you" in text_of(client.get("/workers"))
    assert [worker.sync().json["announce"] for worker in (one, two)] == ["all of you"] * 2
    press(client, "/workers/announce", take_back="yes")
    assert [worker.sync().json["announce"] for worker in (one, two)] == [None, None]
    assert f"/workers/{pending.id}/announce" not in client.get(f"/workers/{pending.id}").text


@pytest.mark.parametrize("text", ["", "   ", "two\nlines", "x" * 1001])
def test_a_text_that_is_none_is_said_beside_its_field(world: World, text: str) -> None:
    worker = world.worker()
    client = world.browser("admin")
    press(client, f"/workers/{worker.id}/announce", text="what was said before")
    with world.unchanged():
        for path in (f"/workers/{worker.id}/announce", "/workers/announce"):
            answer = press(client, path, text=text)
            assert answer.status_code == 422
            assert field_error(answer, "text")
    assert '<details class="fold" id="announce-all" open>' in press(client, "/workers/announce", text="").text


def test_others_dont_see_what_was_announced(world: World) -> None:
    worker = world.worker()
    press(world.browser("admin"), f"/workers/{worker.id}/announce", text="for admins and terminals")
    for path in ("/workers", f"/workers/{worker.id}"):
        assert "for admins and terminals" not in world.browser("operator").get(path).text
