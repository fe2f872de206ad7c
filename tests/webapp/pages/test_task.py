"""The page of one task."""

from __future__ import annotations

import re

import pytest

from tests.webapp.pages.forms import press, text_of, toast
from tests.world import World, later


def shown_lines(answer: object) -> list[str]:
    return re.findall(r'class="ln[^"]*" id="L(\d+)"', answer.text)


def test_a_running_one_shows_its_log_as_it_is_now(world: World) -> None:
    worker = world.worker()
    offer = world.running_task(worker, name="pytest -q")
    worker.send_log(offer, b"collecting\n\x1b[32mpassed\x1b[0m\nnot yet a li")
    page = world.browser("viewer").get(f"/tasks/{offer['task_id']}")
    assert "<title>Running: pytest -q" in page.text
    assert shown_lines(page) == ["1", "2"]
    assert '<span class="a32">passed</span>' in page.text
    assert "not yet a li" in text_of(page)
    assert f'data-attempt="{offer["attempt_id"]}"' in page.text
    assert 'id="log-offset" data-offset="27"' in page.text


def test_what_a_log_says_is_text(world: World) -> None:
    worker = world.worker()
    offer = world.running_task(worker)
    worker.send_log(offer, b"<script>alert(1)</script> <b hx-get=/evil hx-trigger=load>x</b>\n")
    page = world.browser("viewer").get(f"/tasks/{offer['task_id']}").text
    assert "<script>alert" not in page
    assert "&lt;script&gt;alert(1)&lt;/script&gt; &lt;b hx-get=/evil" in page
    assert re.search(r'id="log"[^>]* hx-disable hx-ignore', page)


def test_a_long_log_shows_its_end_and_leads_to_the_rest(world: World) -> None:
    worker = world.worker()
    offer = world.running_task(worker)
    worker.send_log(offer, b"".join(b"line %d\n" % number for number in range(1, 4501)))
    client = world.browser("viewer")
    path = f"/tasks/{offer['task_id']}"
    end = client.get(path)
    assert (shown_lines(end)[0], shown_lines(end)[-1]) == ("2501", "4500")
    older = re.search(r'id="log-older" href="([^"]+)"', end.text)
    assert older
    before = client.get(older[1].replace("&amp;", "&"))
    assert (shown_lines(before)[0], shown_lines(before)[-1]) == ("501", "2500")
    assert "data-attempt" not in before.text  # an old part doesn't grow at its end
    assert "Go to the end" in before.text


def test_a_link_to_a_line_opens_the_log_around_it(world: World) -> None:
    worker = world.worker()
    offer = world.running_task(worker)
    worker.send_log(offer, b"".join(b"line %d\n" % number for number in range(1, 6001)))
    client = world.browser("viewer")
    assert "1700" in shown_lines(client.get(f"/tasks/{offer['task_id']}?line=1700"))
    for nonsense in ("0", "-1", "x", "9" * 30):
        assert client.get(f"/tasks/{offer['task_id']}?line={nonsense}").status_code == 200


def test_searching_works_without_script(world: World) -> None:
    worker = world.worker()
    offer = world.running_task(worker)
    worker.send_log(offer, b"one\n\x1b[31mThe ERROR\x1b[0m is here\nthree\n")
    page = world.browser("viewer").get(f"/tasks/{offer['task_id']}?find=the error is")
    assert re.findall(r'class="ln is-hit" id="L(\d+)"', page.text) == ["2"]


def test_the_whole_log_can_be_kept(world: World) -> None:
    worker = world.worker()
    offer = world.running_task(worker)
    worker.send_log(offer, b"\x1b[32mas it was sent\x1b[0m\n\xff\n")
    answer = world.browser("viewer").get(f"/tasks/{offer['task_id']}/log?attempt=1")
    assert answer.data == b"\x1b[32mas it was sent\x1b[0m\n\xff\n"
    assert answer.headers["Content-Disposition"].startswith("attachment")
    assert answer.headers["X-Content-Type-Options"] == "nosniff"
    assert "sandbox" in answer.headers["Content-Security-Policy"]


def test_each_attempt_has_its_own_log(world: World) -> None:
    worker = world.worker()
    offer = world.running_task(worker, retry_delay_s=0, retry_on=["exit_code"])
    worker.send_log(offer, b"first try\n")
    worker.report(offer, "failed", failure_class="exit_code", exit_code=7, error="exit code 7")
    later(1)
    again = worker.take()
    worker.send_log(again, b"second try\n")
    client = world.browser("viewer")
    newest, first = (client.get(f"/tasks/{offer['task_id']}{query}") for query in ("", "?attempt=1"))
    assert "second try" in newest.text
    assert "first try" not in newest.text
    assert "first try" in first.text
    words = text_of(newest)
    assert (
        "The command ended with a status other than 0: exit code 7. Queued again, tried again after 1."
        in words
    )
    assert client.get(f"/tasks/{offer['task_id']}?attempt=9").status_code == 404


def test_a_waiting_one_says_why_worker_by_worker(world: World) -> None:
    world.worker("lab-01")
    world.worker("gpu-box", labels={"gpu": "3060"})
    task_id = world.queued_task(labels={"gpu": None})
    words = text_of(world.browser("viewer").get(f"/tasks/{task_id}"))
    assert "Why it waits 2 workers asked Only gpu-box could take it, and it doesn’t answer." in words
    assert "Has no label gpu" in words


def test_a_failed_one_says_what_to_do(world: World) -> None:
    worker = world.worker()
    offer = world.running_task(worker, name="backup", max_retries=0)
    worker.report(offer, "failed", failure_class="disk_low", error="the disk of lab-01 is full")
    page = world.browser("viewer").get(f"/tasks/{offer['task_id']}")
    assert "The disk of lab-01 is full. Make room on the worker, then run it again." in text_of(page)
    assert "<title>Failed: backup" in page.text
    assert "favicon-failed" in page.text


def test_an_ended_one_shows_its_result_and_its_figures(world: World) -> None:
    worker = world.worker()
    offer = world.running_task(worker)
    result = {"output": "212 passed <3", "data": {"rows": 5}}
    worker.report(offer, result=result, metrics={"tokens_used": 812})
    words = text_of(world.browser("viewer").get(f"/tasks/{offer['task_id']}"))
    assert "212 passed <3" in words
    assert '"rows": 5' in words
    assert "Tokens used 812" in words


def test_a_secret_input_is_never_in_the_page(world: World) -> None:
    world.worker()
    task_id = world.queued_task(input={"script": "deploy", "env": {"TOKEN": "s3cr3t-canary"}})
    for path in (f"/tasks/{task_id}", f"/tasks/new?from={task_id}", "/tasks", "/"):
        page = world.browser("operator").get(path)
        assert page.status_code == 200
        assert "s3cr3t-canary" not in page.text
    assert "•••" in world.browser("viewer").get(f"/tasks/{task_id}").text


# ---- what can be done


def test_cancelling_asks_the_worker(world: World) -> None:
    worker = world.worker()
    offer = world.running_task(worker)
    client = world.browser("operator")
    path = f"/tasks/{offer['task_id']}"
    assert press(client, f"{path}/cancel").location == path
    assert toast(client, path) == "The worker is told to stop it."
    assert "Cancelling" in text_of(client.get(path))
    assert worker.sync(held=[offer["attempt_id"]]).json["cancel"]


def test_cancelling_what_waits_ends_it(world: World) -> None:
    world.worker()
    path = f"/tasks/{world.queued_task()}"
    client = world.browser("operator")
    press(client, f"{path}/cancel")
    assert toast(client, path) == "Cancelled."
    press(client, f"{path}/cancel")
    assert toast(client, path) == "This task has ended already: cancelled."


def test_running_it_again_makes_a_new_one(world: World) -> None:
    worker = world.worker()
    offer = world.running_task(worker, name="backup")
    client = world.browser("operator")
    old = f"/tasks/{offer['task_id']}"
    press(client, f"{old}/retry")
    assert "hasn't ended yet" in toast(client, old)
    worker.report(offer)
    made = press(client, f"{old}/retry").location
    assert made != old
    assert world.task(made.removeprefix("/tasks/"))["retry_of"] == offer["task_id"]


@pytest.mark.parametrize("verb", ["cancel", "retry"])
def test_a_viewer_may_not(world: World, verb: str) -> None:
    world.worker()
    task_id = world.queued_task()
    client = world.browser("viewer")
    assert press(client, f"/tasks/{task_id}/{verb}").status_code == 403
    assert f"/{verb}" not in client.get(f"/tasks/{task_id}").text


@pytest.mark.parametrize("path", ["", "/log"])
def test_a_stranger_finds_nothing(world: World, path: str) -> None:
    world.worker()
    task_id = world.queued_task()
    stranger = world.browser("admin", world.other_organisation())
    assert stranger.get(f"/tasks/{task_id}{path}").status_code == 404
    assert press(stranger, f"/tasks/{task_id}/cancel").status_code == 404
    assert world.task(task_id)["status"] == "queued"


def test_whose_worker_is_silent_says_that_nothing_is_decided(world: World) -> None:
    worker = world.worker()
    offer = world.running_task(worker)
    later(180)
    words = text_of(world.browser("viewer").get(f"/tasks/{offer['task_id']}"))
    assert "Its worker doesn’t answer. Nothing is decided yet" in words
    assert "Attempt 1 unreachable" in words
    assert "It stopped answering; nothing is decided yet." in words
    assert "Attempt 1 running" not in words


def test_each_attempt_says_where_when_how_long_and_how_it_ended(world: World) -> None:
    worker = world.worker()
    offer = world.running_task(worker, retry_delay_s=60, max_retries=2)
    later(42)
    worker.report(offer, "failed", failure_class="disk_low", error="2 GB free")
    later(90)
    again = worker.take()
    worker.report(again, "failed", failure_class="agent_error", execution_time_ms=1500)
    words = text_of(world.browser("viewer").get(f"/tasks/{offer['task_id']}"))
    assert re.search(
        r"Attempt 1 failed \d\d s on lab-01 , started .{3,20}\. The worker’s disk is nearly full: 2 GB free\.",
        words,
    )
    assert re.search(r"Queued again, tried again after \d min \d\d s\.", words)
    assert re.search(
        r"Attempt 2 failed [\d.]+ m?s on lab-01 .*? The agent couldn’t run it\. Queued again\.", words
    )
    assert re.search(r"Attempt 3 next try at \d{4}-\d\d-\d\d \d\d:\d\d:\d\d UTC", words)


def test_a_next_try_counts_down_and_without_script_says_when(world: World) -> None:
    worker = world.worker()
    offer = world.running_task(worker, retry_delay_s=60)
    worker.report(offer, "failed", failure_class="agent_error")
    due = world.task(offer["task_id"])["not_before"]
    client = world.browser("viewer")
    shown = f'next try <time datetime="{due}"'
    exact = due[:19].replace("T", " ") + " UTC"
    for path, times in ((f"/tasks/{offer['task_id']}", 2), ("/tasks", 1)):
        page = client.get(path).text
        assert page.lower().count(shown.lower()) == times
        assert page.count(f"data-countdown>at {exact}</time>") == times
    later(300)
    worker.take()
    assert "data-countdown" not in client.get("/tasks").text + client.get(f"/tasks/{offer['task_id']}").text
