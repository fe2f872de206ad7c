"""POST /projects/clone: a repository onto a worker."""

from __future__ import annotations

from typing import Any

from tests.projects import FACTS, GIT, URL, begin, checkout, clone, cloned, finish, git_worker, shown, tell
from tests.world import TOOLS, World, at_once, later, problem


def test_a_clone_is_a_task_of_its_worker_and_ends_active(world: World) -> None:
    worker = git_worker(world)
    answer = clone(world, worker, branch="main", depth=5, lfs=True, description="The shop")
    assert answer.status_code == 202, answer.json
    placed = answer.json
    assert placed["status"] == "pending"
    task = world.task(placed["task_id"])
    assert (task["tool"], task["name"], task["project_id"]) == (
        "git",
        "clone operator_app",
        placed["project_id"],
    )
    assert task["input"] == {
        "operation": "clone",
        "url": URL,
        "path": "operator_app",
        "ref_kind": "branch",
        "ref": "main",
        "depth": 5,
        "single_branch": False,
        "submodules": False,
        "lfs": True,
    }
    offer = begin(worker)
    assert checkout(world, placed["project_id"])["status"] == "syncing"
    assert tell(worker, placed["project_id"], offer, **FACTS).json == {"status": "active"}
    assert worker.report(offer).status_code == 200
    project = shown(world, placed["project_id"])
    assert (project["owner"], project["path"], project["status"]) == ("operator", "operator_app", "active")
    [row] = project["checkouts"]
    assert (row["status"], row["commit"], row["branch"]) == ("active", FACTS["commit"], "main")
    assert row["committed_at"] == "2026-01-31T11:00:00.000Z"
    assert row["synced_at"]
    assert row["error"] is None


def test_the_data_says_which_project_and_what_may_be_spoken(world: World) -> None:
    worker = git_worker(world)
    placed = clone(world, worker, branch="main").json
    offer = worker.take()
    data = worker.call("GET", f"/agents/tasks/{offer['task_id']}/data").json
    assert data == offer["data"]
    folder = {"id": placed["project_id"], "name": "app", "path": "operator_app", "branch": "main"}
    assert data["project"] == folder
    assert data["task"]["input"]["schemes"] == ["https", "ssh"]
    assert data["task"]["input"]["host_keys"] == []
    assert "credential" not in data["task"]["input"]


def test_without_a_name_it_is_called_as_the_url_ends(world: World) -> None:
    worker = git_worker(world)
    placed = clone(world, worker, name="", git_url="git@git.example:team/My.Shop.git").json
    assert shown(world, placed["project_id"])["name"] == "My.Shop"


WRONG: list[tuple[dict[str, Any], str]] = [
    ({"git_url": "--upload-pack=touch /tmp/x"}, "git_url"),
    ({"git_url": "ext::sh -c 'touch /tmp/x'"}, "git_url"),
    ({"git_url": "file:///etc"}, "git_url"),
    ({"git_url": "/etc"}, "git_url"),
    ({"git_url": "http://git.example/app.git"}, "git_url"),
    ({"git_url": "https://ada:secret@git.example/app.git"}, "git_url"),
    ({"git_url": ""}, "git_url"),
    ({"name": "../up"}, "name"),
    ({"name": "-x"}, "name"),
    ({"name": "app.git"}, "name"),
    ({"name": "app\n"}, "name"),
    ({"branch": "--upload-pack=x"}, "body"),
    ({"branch": "-x"}, "body"),
    ({"branch": "a..b"}, "body"),
    ({"branch": ""}, "body"),
    ({"tag": "v1\nx"}, "body"),
    ({"commit": "HEAD"}, "body"),
    ({"commit": "4b825dc"}, "body"),
    ({"branch": "main", "tag": "v1"}, "body"),
    ({"depth": 0}, "depth"),
    ({"depth": 1_000_001}, "depth"),
    ({"depth": True}, "depth"),
    ({"description": "a\x1b[2J"}, "description"),
    ({"worker_id": "00000000-0000-7000-8000-000000000000"}, "worker_id"),
    ({"worker_id": 7}, "worker_id"),
    ({"credential_id": "00000000-0000-7000-8000-000000000000"}, "credential_id"),
    ({"path": "/etc"}, "path"),
]


def test_what_is_wrong_is_said_by_field_and_nothing_is_stored(world: World) -> None:
    worker = git_worker(world)
    world.api_token("operator")
    with world.unchanged():
        for wish, field in WRONG:
            body = problem(clone(world, worker, **wish), 422, "invalid")
            assert {row["field"] for row in body["errors"]} == {field}, wish
        problem(clone(world, worker, git_url="https://git.example/a\0b"), 422, "invalid")


def test_a_worker_that_is_offline_gets_nothing_and_nothing_is_stored(world: World) -> None:
    worker = git_worker(world)
    world.api_token("operator")
    later(60)
    with world.unchanged():
        answer = clone(world, worker)
    body = problem(answer, 503, "worker-offline")
    assert int(answer.headers["Retry-After"]) > 0
    assert "lab-01 is offline" in body["detail"]


def test_a_worker_without_git_or_without_the_right_to_work_is_refused(world: World) -> None:
    bare = world.worker("bare")
    bare.sync()
    assert "no working git" in problem(clone(world, bare), 422, "invalid")["detail"]
    pending = world.registered("pending", tools=[*TOOLS, GIT])
    problem(clone(world, pending), 422, "invalid")
    revoked = git_worker(world, "revoked")
    assert world.api("admin", "POST", f"/workers/{revoked.id}/revoke").status_code == 200
    problem(clone(world, revoked), 422, "invalid")
    assert world.rows("projects") == []


def test_a_worker_that_serves_admins_only_is_for_admins(world: World) -> None:
    worker = git_worker(world)
    world.api("admin", "PATCH", f"/workers/{worker.id}", json={"admins_only": True})
    world.api_token("operator")
    with world.unchanged():
        body = problem(clone(world, worker), 403, "forbidden")
    assert "Ask an admin" in body["detail"]
    assert clone(world, worker, role="admin").status_code == 202
    assert worker.take()["tool"] == "git"


def test_readers_are_refused(world: World) -> None:
    worker = git_worker(world)
    problem(clone(world, worker, role="viewer"), 403, "forbidden")


def test_another_organisations_worker_is_no_worker(world: World) -> None:
    worker = git_worker(world)
    body = {"name": "app", "git_url": URL, "worker_id": worker.id}
    others = world.other_organisation()
    answer = world.api("admin", "POST", "/projects/clone", others, json=body)
    assert problem(answer, 422, "invalid")["errors"][0]["field"] == "worker_id"


def test_the_same_wish_for_another_worker_is_one_more_checkout(world: World) -> None:
    first, second = git_worker(world), git_worker(world, "lab-02")
    project_id = cloned(world, first)
    answer = clone(world, second)
    assert answer.json["project_id"] == project_id
    finish(world, second, project_id)
    assert {row["worker"]: row["status"] for row in shown(world, project_id)["checkouts"]} == {
        "lab-01": "active",
        "lab-02": "active",
    }
    assert len(world.rows("projects")) == 1


def test_somebody_elses_project_goes_onto_another_worker_by_its_id(world: World) -> None:
    first, second = git_worker(world), git_worker(world, "lab-02")
    project_id = cloned(world, first)
    path, body = f"/projects/{project_id}/clone", {"worker_id": second.id}
    problem(world.api("viewer", "POST", path, json=body), 403, "forbidden")
    problem(world.api("admin", "POST", path, world.other_organisation(), json=body), 404, "not-found")
    assert world.api("admin", "POST", path, json=body).status_code == 202
    assert second.take()["data"]["project"]["path"] == "operator_app"


def test_a_name_that_is_taken_says_by_what(world: World) -> None:
    first, second = git_worker(world), git_worker(world, "lab-02")
    cloned(world, first)
    for wish in (
        {"git_url": "https://git.example/other.git"},
        {"branch": "next"},
        {"depth": 1},
        {"name": "APP"},
    ):
        with world.unchanged():
            body = problem(clone(world, second, **wish), 409, "conflict")
        assert "operator_app" in body["detail"]
        assert URL in body["detail"]


def test_what_is_there_already_is_pulled_and_not_cloned(world: World) -> None:
    worker = git_worker(world)
    cloned(world, worker)
    with world.unchanged():
        assert "Pull it" in problem(clone(world, worker), 409, "conflict")["detail"]


def test_while_a_clone_runs_another_is_refused_and_names_its_task(world: World) -> None:
    worker = git_worker(world)
    placed = clone(world, worker).json
    with world.unchanged():
        assert problem(clone(world, worker), 409, "checkout-busy")["task_id"] == placed["task_id"]


def test_a_clone_that_failed_is_cloned_again_as_one_project(world: World) -> None:
    worker = git_worker(world)
    placed = clone(world, worker).json
    offer = begin(worker)
    tell(worker, placed["project_id"], offer, success=False, message="no such branch")
    worker.report(offer, "failed", failure_class="exit_code", exit_code=1)
    assert checkout(world, placed["project_id"])["error"] == "no such branch"
    again = clone(world, worker).json
    assert (again["project_id"], again["checkout_id"]) == (placed["project_id"], placed["checkout_id"])
    finish(world, worker, placed["project_id"])
    assert checkout(world, placed["project_id"])["error"] is None


def test_of_two_that_come_at_once_with_names_that_differ_only_in_case_one_wins(world: World) -> None:
    first, second = git_worker(world), git_worker(world, "lab-02")
    world.api_token("operator")
    answers = at_once(
        lambda: clone(world, first, name="shop"),
        lambda: clone(world, second, name="SHOP"),
    )
    assert sorted(answer.status_code for answer in answers) == [202, 409], [a.json for a in answers]
    assert len(world.rows("projects")) == len(world.rows("checkouts")) == 1


def test_two_that_come_at_once_for_two_workers_are_one_project(world: World) -> None:
    workers = [git_worker(world), git_worker(world, "lab-02")]
    world.api_token("operator")
    answers = at_once(*(lambda worker=worker: clone(world, worker) for worker in workers))  # type: ignore[misc]
    assert [answer.status_code for answer in answers] == [202, 202], [a.json for a in answers]
    assert len(world.rows("projects")) == 1
    assert len(world.rows("checkouts")) == 2


def test_two_that_come_at_once_for_one_worker_are_one_task(world: World) -> None:
    worker = git_worker(world)
    world.api_token("operator")
    answers = at_once(*(lambda: clone(world, worker) for _ in range(3)))
    assert sorted(answer.status_code for answer in answers) == [202, 409, 409], [a.json for a in answers]
    assert len(world.rows("tasks")) == 1


def test_an_answer_that_got_lost_is_given_again(world: World) -> None:
    worker = git_worker(world)
    body = {"name": "app", "git_url": URL, "worker_id": worker.id}
    said = {"json": body, "headers": {"Idempotency-Key": "k1"}}
    first, again = (world.api("operator", "POST", "/projects/clone", **said) for _ in range(2))
    assert first.status_code == again.status_code == 202
    assert first.json == again.json


def test_the_audit_log_says_who_cloned_what_where(world: World) -> None:
    worker = git_worker(world)
    cloned(world, worker)
    [entry] = world.audited("project.clone")
    assert (entry["actor"], entry["target"]) == ("operator", "operator_app")


def test_schemes_are_those_that_the_admin_allows(new_world: Any) -> None:
    world = new_world(git_schemes="https,http")
    worker = git_worker(world)
    assert clone(world, worker, git_url="http://git.example/app.git").status_code == 202
    body = problem(clone(world, worker, name="b", git_url="git@git.example:app.git"), 422, "invalid")
    assert "https, http" in body["detail"]
    assert worker.take()["data"]["task"]["input"]["schemes"] == ["https", "http"]


def test_a_task_of_the_tool_cant_be_made_past_its_project(world: World) -> None:
    git_worker(world)
    body = problem(world.submit(tool="git", input={"operation": "clone", "url": URL}), 422, "invalid")
    assert "POST /projects/clone" in body["detail"]


def test_what_the_machines_owner_doesnt_allow_ends_at_once_and_says_so(world: World) -> None:
    worker = git_worker(world)
    project_id = clone(world, worker).json["project_id"]
    rule = "the repository isn’t on this machine’s list"
    answer = worker.report(begin(worker), "failed", failure_class="refused", error=rule)
    assert answer.json["new_status"] == "failed"
    now = checkout(world, project_id)
    assert (now["status"], rule in now["error"]) == ("error", True)


def test_a_credential_that_is_typed_in_becomes_the_projects_own(world: World) -> None:
    worker = git_worker(world)
    canary = "glpat-canary-0123456789"
    answer = clone(world, worker, credential={"kind": "token", "username": "bot", "token": canary})
    assert answer.status_code == 202, answer.json
    [credential] = world.rows("credentials")
    assert (credential["project_id"], credential["host"]) == (answer.json["project_id"], "git.example")
    assert shown(world, answer.json["project_id"])["credential_id"] == credential["id"]
    offer = worker.take()
    given = offer["data"]["task"]["input"]["credential"]
    assert given == {"kind": "token", "username": "bot", "secret": canary}
    assert canary not in repr(world.stored())
    second = git_worker(world, "lab-02")
    assert clone(world, second, credential_id=credential["id"]).status_code == 202


def test_a_wrong_credential_is_replaced_by_cloning_again_with_another(world: World) -> None:
    worker = git_worker(world)
    for token in ("glpat-wrong-0123", "glpat-right-0123"):
        answer = clone(world, worker, credential={"kind": "token", "token": token})
        assert answer.status_code == 202, answer.json
        offer = begin(worker)
        assert offer["data"]["task"]["input"]["credential"]["secret"] == token
        tell(worker, answer.json["project_id"], offer, success=False, message="access denied")
        worker.report(offer, "failed", failure_class="exit_code")
    assert len(world.rows("credentials")) == len(world.rows("projects")) == 1


def test_a_credential_of_another_kind_leaves_nothing(world: World) -> None:
    worker = git_worker(world)
    world.api_token("operator")
    with world.unchanged():
        problem(clone(world, worker, credential={"kind": "ssh"}), 422, "invalid")


def test_where_its_credential_has_gone_the_task_fails_and_says_so(world: World) -> None:
    worker = git_worker(world)
    placed = clone(world, worker, credential={"kind": "token", "token": "glpat-0123456789"}).json
    [credential] = world.rows("credentials")
    assert world.api("operator", "DELETE", f"/credentials/{credential['id']}").status_code < 300
    for _ in range(4):  # it is tried again
        assert worker.sync().json["offers"] == []
        later(901)
    assert "credential" in checkout(world, placed["project_id"])["error"]
    assert checkout(world, placed["project_id"])["status"] == "error"
