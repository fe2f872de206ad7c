"""Which pushes have which checkouts pulled, and with whose rights."""

from __future__ import annotations

import json
from typing import Any

import pytest
from sqlalchemy import update

from tests.webapp.hooks import PUSH, hooked, housekeeping, made, online, pulls
from tests.webapp.project_tasks import checkout, git_worker, project
from tests.world import World, problem
from webapp import clock
from webapp.auth import service
from webapp.auth.models import User
from webapp.auth.rules import Role
from webapp.database import release, transaction
from webapp.projects import pushes
from webapp.projects.models import Project
from webapp.projects.pushes import Push
from webapp.workers.models import Worker


def wants(world: World, project_id: str, **values: Any) -> None:
    with world.app.app_context():
        with transaction() as session:
            session.execute(update(Project).where(Project.id == project_id).values(**values))
        release()


# ---- which pushes count


@pytest.mark.parametrize(
    ("push", "kind", "ref", "checked_out", "says"),
    [
        (Push("refs/heads/main", "main"), "default", "", "main", None),
        (Push("refs/heads/main", "main"), "default", "", None, None),
        (Push("refs/heads/side", "main"), "default", "", "main", "A push to side; this project follows main"),
        (Push("refs/heads/trunk", "trunk"), "default", "", "main", None),
        (Push("refs/heads/side"), "default", "", "main", "follows main"),
        (Push("refs/heads/side"), "default", "", None, None),
        (Push("refs/heads/release/2"), "branch", "release/2", "main", None),
        (Push("refs/heads/main", "main"), "branch", "release/2", None, "follows release/2"),
        (Push("refs/tags/main", "main"), "default", "", "main", "follows main"),
        (Push("refs/tags/v1"), "tag", "v1", None, None),
        (Push("refs/tags/v2"), "tag", "v1", None, "follows v1"),
        (Push("refs/heads/v1"), "tag", "v1", None, "follows v1"),
        (Push("refs/heads/main"), "commit", "4b825dc6", None, "stays on one commit"),
        (Push(), "commit", "4b825dc6", None, "stays on one commit"),
        (Push(), "branch", "main", None, None),
        (Push("refs/heads/main", is_deletion=True), "branch", "main", None, "was deleted there"),
    ],
)
def test_a_push_counts_for_the_branch_that_the_project_follows(
    push: Push, kind: Any, ref: str, checked_out: str | None, says: str | None
) -> None:
    words = pushes.why_not(push, kind, ref, checked_out)
    assert words is None if says is None else says in (words or "")


ZEROS = "0" * 40


@pytest.mark.parametrize(
    ("body", "expected"),
    [
        ({"ref": "refs/heads/a", "repository": {"default_branch": "b"}}, Push("refs/heads/a", "b")),
        (
            {"ref": "refs/heads/a", "project": {"default_branch": "b"}, "repository": {"name": "x"}},
            Push("refs/heads/a", "b"),
        ),
        ({"ref": "refs/heads/a", "deleted": True}, Push("refs/heads/a", is_deletion=True)),
        ({"ref": "refs/heads/a", "after": ZEROS}, Push("refs/heads/a", is_deletion=True)),
        ({"ref": "refs/heads/a", "after": ""}, Push("refs/heads/a")),
        ({"ref": 5, "repository": [], "project": None, "after": 0}, Push()),
        ({"ref": "a\nb"}, Push()),
        ({"ref": "x" * 300}, Push()),
        ([], Push()),
    ],
)
def test_a_body_is_read_as_far_as_it_is_a_push(body: Any, expected: Push) -> None:
    assert pushes.read(json.dumps(body).encode(), "application/json") == expected


@pytest.mark.parametrize("body", [b"", b"\xff\xfe", b"{", b"[" * 100_000, b"1" * 10_000, b"null", b"NaN"])
def test_a_body_that_isnt_json_is_a_push_of_nobody_knows_what(body: bytes) -> None:
    assert pushes.read(body, "application/json") == Push()
    assert pushes.read(body, "application/x-www-form-urlencoded") == Push()


def test_another_branch_does_nothing_and_says_so(world: World) -> None:
    hook = hooked(world)
    said = hook.said({**PUSH, "ref": "refs/heads/side"})
    assert said == "A push to side; this project follows main. Nothing is pulled."
    assert pulls(world) == []
    wants(world, hook.project_id, ref_kind="branch", ref="side")
    assert hook.said({**PUSH, "ref": "refs/heads/side"}, "d2") == "lab-01: pulled."


# ---- which checkouts are pulled


def test_every_active_checkout_is_pulled_and_offline_workers_pull_later(world: World) -> None:
    workers = [git_worker(world, f"lab-0{number}") for number in (1, 2, 3, 4)]
    project_id = project(world)
    for worker, status in zip(workers, ("active", "active", "error", "deleting"), strict=True):
        checkout(world, project_id, worker, status)
    hook = made(world, project_id)
    for worker in (workers[0], *workers[2:]):
        assert worker.sync().status_code == 200
    said = hook.said()
    assert said.startswith(
        "lab-01: pulled. lab-02: pulled when it is back online. lab-03: left alone, it needs"
    )
    assert said.endswith("lab-04: left alone, it is being deleted.")
    assert len(pulls(world)) == 2
    assert workers[1].take()["task_id"] == pulls(world)[1]["id"]


def test_a_pull_that_waits_already_isnt_doubled(world: World) -> None:
    hook = hooked(world)
    assert hook.said() == "lab-01: pulled."
    assert hook.said(delivery="d2") == "lab-01: a pull waits already."
    assert len(pulls(world)) == 1


def test_a_push_while_a_pull_runs_is_pulled_after_it(world: World) -> None:
    worker = online(world)
    hook = hooked(world, worker)
    hook.said()
    offer = worker.take()
    assert worker.sync(held=[offer["attempt_id"]]).status_code == 200
    assert hook.said(delivery="d2") == "lab-01: pulled once what runs there has ended."
    assert hook.said(delivery="d3") == "lab-01: pulled once what runs there has ended."
    housekeeping(world)
    assert len(pulls(world)) == 1, "not before its end"
    facts = {"attempt_id": offer["attempt_id"], "success": True}
    assert worker.call("POST", f"/projects/{hook.project_id}/status", json=facts).status_code == 200
    assert worker.report(offer).status_code == 200
    housekeeping(world)
    housekeeping(world)
    assert len(pulls(world)) == 2


def test_a_wish_of_a_webhook_that_was_deleted_meanwhile_is_forgotten(world: World) -> None:
    worker = online(world)
    hook = hooked(world, worker)
    hook.said()
    offer = worker.take()
    assert worker.sync(held=[offer["attempt_id"]]).status_code == 200
    hook.said(delivery="d2")
    path = f"/projects/{hook.project_id}/webhooks/{hook.id}"
    assert world.api("operator", "DELETE", path).status_code == 204
    assert worker.report(offer).status_code == 200
    housekeeping(world)
    assert len(pulls(world)) == 1
    assert [row["pull_wished_by"] for row in world.rows("checkouts")] == [None]


def test_a_project_that_is_nowhere_is_not_pulled(world: World) -> None:
    assert "Nothing is checked out" in made(world, project(world)).said()


# ---- the rights of who made it


def demote(world: World, role: Role) -> None:
    member = next(row for row in world.rows("members") if row["role"] == role)
    with world.app.app_context():
        service.change_role(world.person("admin"), str(member["id"]), "viewer")
        release()


def remove(world: World, role: Role) -> None:
    member = next(row for row in world.rows("members") if row["role"] == role)
    with world.app.app_context():
        service.remove_member(world.person("admin"), str(member["id"]))
        release()


def disable(world: World, role: Role) -> None:
    person = world.person(role)
    with world.app.app_context():
        with transaction() as session:
            session.execute(update(User).where(User.id == person.id).values(disabled_at=clock.now()))
        release()


@pytest.mark.parametrize(
    ("happens", "says"), [(demote, "may only read"), (remove, "isn’t here"), (disable, "isn’t here")]
)
def test_a_webhook_of_somebody_who_may_no_longer_pull_is_refused_and_that_is_shown(
    world: World, happens: Any, says: str
) -> None:
    hook = hooked(world)
    happens(world, "operator")
    body = problem(hook.call(), 403, "forbidden")
    assert says in body["detail"]
    assert problem(hook.call(), 403, "forbidden")["detail"] == body["detail"], "said twice"
    assert pulls(world) == []
    [delivery] = world.api("viewer", "GET", f"/projects/{hook.project_id}/webhooks").json["deliveries"]
    assert (delivery["is_refused"], delivery["said"]) == (True, body["detail"])


def test_a_worker_that_serves_admins_only_is_pulled_by_an_admins_webhook_alone(world: World) -> None:
    worker = online(world)
    hook = hooked(world, worker)
    with world.app.app_context():
        with transaction() as session:
            session.execute(update(Worker).where(Worker.id == worker.id).values(admins_only=True))
        release()
    assert "serves admins only" in hook.said()
    assert pulls(world) == []
    assert made(world, hook.project_id, "admin").said() == "lab-01: pulled."
