"""POST /projects/{id}/status: what a worker says of its checkout, and of no other's."""

from __future__ import annotations

from typing import Any

from tests.projects import (
    COMMIT,
    FACTS,
    begin,
    checkout,
    clone,
    cloned,
    delete,
    finish,
    git_worker,
    is_gone,
    tell,
)
from tests.world import World, later, problem


def test_it_is_answered_the_same_when_it_is_said_twice(world: World) -> None:
    worker = git_worker(world)
    project_id = clone(world, worker).json["project_id"]
    offer = begin(worker)
    assert [tell(worker, project_id, offer, **FACTS).json for _ in range(2)] == [{"status": "active"}] * 2
    worker.report(offer)
    assert checkout(world, project_id)["status"] == "active"


def test_a_checkout_is_no_business_of_another_workers_or_of_a_person(world: World) -> None:
    worker, other = git_worker(world), git_worker(world, "other")
    project_id = clone(world, worker).json["project_id"]
    offer = begin(worker)
    strange = world.running_task(other)
    for asked, attempt in ((other, offer), (other, strange), (worker, strange)):
        problem(tell(asked, project_id, attempt, **FACTS), 404, "not-found")
    problem(tell(worker, "00000000-0000-7000-8000-000000000000", offer, **FACTS), 404, "not-found")
    assert len(world.audited("project.foreign-status")) == 4
    body = {"attempt_id": offer["attempt_id"], "success": True}
    path = f"/projects/{project_id}/status"
    assert world.api("admin", "POST", path, json=body).status_code == 401
    assert checkout(world, project_id)["status"] == "syncing"


def test_an_attempt_that_has_ended_says_nothing_any_more(world: World) -> None:
    worker = git_worker(world)
    project_id = clone(world, worker).json["project_id"]
    offer = begin(worker)
    worker.report(offer, "failed", failure_class="exit_code", error="no route to host")
    with world.unchanged():
        problem(tell(worker, project_id, offer, **FACTS), 409, "lease-lost")
    now = checkout(world, project_id)
    assert (now["status"], "no route to host" in now["error"]) == ("error", True)


def test_a_task_of_an_older_operation_changes_nothing_of_a_newer_ones_checkout(world: World) -> None:
    worker = git_worker(world)
    project_id = clone(world, worker).json["project_id"]
    old = begin(worker)
    world.api("admin", "POST", f"/tasks/{old['task_id']}/force-finish")
    clone(world, worker)
    new = begin(worker)
    problem(tell(worker, project_id, old, **FACTS), 409, "lease-lost")
    worker.report(old)
    now = checkout(world, project_id)
    assert (now["status"], now["task_id"], now["commit"]) == ("syncing", new["task_id"], None)


def test_what_is_gone_cant_be_talked_back(world: World) -> None:
    worker = git_worker(world)
    project_id = cloned(world, worker)
    delete(world, project_id)
    offer = begin(worker)
    for success in (True, False, True):
        assert tell(worker, project_id, offer, success=success).json == {"status": "deleting"}
    worker.report(offer, "failed", failure_class="exit_code")
    assert is_gone(world, project_id)


def test_text_from_git_is_one_line_bounded_and_harmless(world: World) -> None:
    worker = git_worker(world)
    project_id = clone(world, worker).json["project_id"]
    offer = begin(worker)
    evil = "a\x1b]0;owned\x07\nb\u202ec<script>" + "x" * 10_000
    commit = {
        "commit": COMMIT,
        "subject": evil,
        "author": evil,
        "committed_at": "+292277026596-12-04T15:30:07Z",
    }
    said = {
        **FACTS,
        **dict.fromkeys(("message", "branch", "subject", "author", "local_path"), evil),
        **{name: [evil] for name in ("dirty", "unpushed", "branches")},
        "commits": [commit],
        "committed_at": "yesterday",
    }
    assert tell(worker, project_id, offer, **said).status_code == 200
    now = checkout(world, project_id)
    texts = [now[name] for name in ("branch", "subject", "author", "local_path")]
    texts += [*now["dirty"], *now["unpushed"], *now["branches"], now["commits"][0]["subject"]]
    for text in texts:
        assert text.startswith("a ]0;owned  b c<script>xxx")  # a page escapes what is left
        assert len(text) <= 4096
    assert [len(now[name]) for name in ("branch", "subject", "author", "local_path")] == [255, 500, 255, 4096]
    assert (now["committed_at"], now["commits"][0]["committed_at"]) == (None, None)


def test_what_has_no_bounds_is_refused_and_nothing_is_stored(world: World) -> None:
    worker = git_worker(world)
    project_id = clone(world, worker).json["project_id"]
    offer = begin(worker)
    wrong: list[dict[str, Any]] = [
        {"success": "yes"},
        {"attempt_id": None},
        {"commit": "HEAD"},
        {"commit": COMMIT + "\n"},
        {"size": -1},
        {"size": 2**63},
        {"size": 1.5},
        {"ahead": 2**31},
        {"behind": -1},
        {"dirty": ["a"] * 101},
        {"dirty": "a"},
        {"dirty_count": None},
        {"branches": ["a"] * 501},
        {"commits": [FACTS["commits"][0]] * 21},
        {"commits": [{"subject": "no commit"}]},
        {"host_keys": ["a"] * 21},
        {"usable": 1},
    ]
    with world.unchanged():
        for facts in wrong:
            problem(tell(worker, project_id, offer, **facts), 422, "invalid")
        huge = tell(worker, project_id, offer, **{**FACTS, "message": "x" * 1_100_000})
        problem(huge, 413, "too-large")


def test_what_it_leaves_out_stays_as_it_was_known(world: World) -> None:
    worker = git_worker(world)
    project_id = cloned(world, worker)
    world.api("operator", "POST", f"/projects/{project_id}/pull")
    offer = begin(worker)
    assert tell(worker, project_id, offer, success=False, message="no route").status_code == 200
    now = checkout(world, project_id)
    assert (now["commit"], now["size_bytes"], now["branches"]) == (COMMIT, 1234, ["main", "next"])


def test_a_hosts_key_is_learnt_once_and_another_is_said(world: World) -> None:
    worker, url = git_worker(world), "git@git.example:team/app.git"
    key = "ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIEJOlL8aC7wXBmZbbLtBHzDUhL9FjrP1mwLi7ZzYtbJG"
    other = "ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIC8mkJkq2XbIKKvLTgPqCf2oCyPkDbgMRcG2SQYkDdmI"
    project_id = clone(world, worker, git_url=url).json["project_id"]
    finish(world, worker, project_id, host_keys=[f"git.example {key}"])
    world.api("operator", "POST", f"/projects/{project_id}/pull")
    offer = begin(worker)
    assert offer["data"]["task"]["input"]["host_keys"] == [f"git.example {key}"]
    said = {
        "success": False,
        "message": "host key verification failed",
        "host_keys": [f"git.example {other}"],
    }
    assert tell(worker, project_id, offer, **said).json == {"status": "active"}
    assert "another key" in checkout(world, project_id)["error"]
    assert [row["key"] for row in world.rows("host_keys")] == [key.split()[1]]


def test_whoever_looks_is_woken_by_each_change(world: World) -> None:
    from webapp.live.bus import bus, project_topic

    worker = git_worker(world)
    project_id = clone(world, worker).json["project_id"]
    with bus.listen(project_topic(project_id)) as waiter:
        offer = begin(worker)
        assert waiter.wait(0), "it has begun"
        progress = {
            "attempt_id": offer["attempt_id"],
            "step_id": "receiving",
            "step": "Receiving",
            "progress": 5,
        }
        worker.call("PUT", f"/agents/tasks/{offer['task_id']}/status", json=progress)
        assert waiter.wait(0), "it goes on"
        tell(worker, project_id, offer, **FACTS)
        assert waiter.wait(0), "the worker has said what it found"
        worker.report(offer)
        assert waiter.wait(0), "it has ended"
        later(1)
        world.api("operator", "PATCH", f"/projects/{project_id}", json={"description": "x"})
        assert waiter.wait(0), "somebody changed it"
        world.api("operator", "DELETE", f"/projects/{project_id}")
        assert waiter.wait(0), "somebody deletes it"
