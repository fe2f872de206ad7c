"""A remote tells of a push: once for each delivery, signed or not at all, with the rights of who made the webhook."""

from __future__ import annotations

import hashlib
import hmac
import json
from dataclasses import dataclass
from typing import Any
from urllib.parse import urlencode

import pytest
from sqlalchemy import update

from tests.webapp.project_tasks import checkout, git_worker, project
from tests.world import WorkerOf, World, at_once, later, problem
from webapp import clock
from webapp.auth import service
from webapp.auth.models import User
from webapp.auth.rules import Role
from webapp.database import release, transaction
from webapp.projects import deliveries, pushes
from webapp.projects.models import Project
from webapp.projects.pushes import Push
from webapp.workers.models import Worker

NOBODY = "01900000-0000-7000-8000-00000000dead"
PUSH = {"ref": "refs/heads/main", "after": "4b825dc6", "repository": {"default_branch": "main"}}


@dataclass
class Hook:
    """A webhook as the remote knows it."""

    world: World
    project_id: str
    id: str
    secret: str

    def call(self, body: Any = PUSH, delivery: str = "d1", **headers: str) -> Any:
        """As a program of one's own would; `headers` with `_` for `-`, which replace what is sent."""
        data = body if isinstance(body, bytes) else json.dumps(body).encode()
        sent = {"X-GSW-Delivery": delivery, "X-GSW-Signature-256": signed(self.secret, data)}
        sent |= {name.replace("_", "-"): value for name, value in headers.items()}
        return self.send(data, {name: value for name, value in sent.items() if value})

    def send(self, data: bytes, headers: dict[str, str], webhook_id: str = "") -> Any:
        sent = {"Content-Type": "application/json", **headers}
        path = f"/api/v1/hooks/{webhook_id or self.id}"
        return self.world.app.test_client().post(path, data=data, headers=sent)

    def said(self, *args: Any, **kwargs: Any) -> str:
        answer = self.call(*args, **kwargs)
        assert answer.status_code == 200, answer.json
        return str(answer.json["said"])


def signed(secret: str, data: bytes) -> str:
    return hmac.new(secret.encode(), data, hashlib.sha256).hexdigest()


def made(world: World, project_id: str, role: Role = "operator") -> Hook:
    answer = world.api(role, "POST", f"/projects/{project_id}/webhooks")
    assert answer.status_code == 201, answer.json
    return Hook(world, project_id, answer.json["id"], answer.json["secret"])


def online(world: World, name: str = "lab-01") -> WorkerOf:
    """A worker with git that has just called."""
    worker = git_worker(world, name)
    assert worker.sync().status_code == 200
    return worker


def hooked(world: World, worker: WorkerOf | None = None, role: Role = "operator") -> Hook:
    """A project that lies on this worker, or on a new one, and its webhook."""
    project_id = project(world)
    checkout(world, project_id, worker or online(world))
    return made(world, project_id, role)


def wants(world: World, project_id: str, **values: Any) -> None:
    with world.app.app_context():
        with transaction() as session:
            session.execute(update(Project).where(Project.id == project_id).values(**values))
        release()


def pulls(world: World) -> list[dict[str, Any]]:
    """The tasks that pull, oldest first."""
    rows = world.api("viewer", "GET", "/tasks?tool=git").json["items"]
    return [row for row in reversed(rows) if row["name"].startswith("pull ")]


def pull_waiting(world: World) -> None:
    with world.app.app_context():
        deliveries.pull_waiting()
        release()


def remembered(world: World) -> list[dict[str, Any]]:
    return sorted(world.rows("webhook_deliveries"), key=lambda row: str(row["received_at"]))


# ---- made and deleted by people


def test_a_webhook_is_made_its_secret_shown_once_and_it_is_deleted(world: World) -> None:
    hook = hooked(world)
    assert hook.secret.startswith("gsh_")
    assert hook.secret not in repr(world.stored()), "encrypted at rest"
    listed = world.api("viewer", "GET", f"/projects/{hook.project_id}/webhooks")
    [row] = listed.json["items"]
    assert (row["id"], row["url"], row["created_by"], row["called_at"]) == (
        hook.id,
        f"http://localhost/api/v1/hooks/{hook.id}",
        "operator",
        None,
    )
    assert hook.secret not in listed.text
    path = f"/projects/{hook.project_id}/webhooks/{hook.id}"
    assert world.api("operator", "DELETE", path).status_code == 204
    problem(world.api("operator", "DELETE", path), 404, "not-found")
    problem(hook.call(), 401, "unauthorized")
    assert [len(world.audited(f"webhook.{verb}")) for verb in ("create", "delete")] == [1, 1]
    assert hook.secret not in repr(world.rows("audit_entries"))


def test_who_may_make_and_see_webhooks(world: World) -> None:
    hook = hooked(world)
    path = f"/projects/{hook.project_id}/webhooks"
    others = world.other_organisation()
    for role in ("viewer", "operator"):
        world.api_token(role)
        world.api_token(role, others)
    with world.unchanged():
        problem(world.api("viewer", "POST", path), 403, "forbidden")
        problem(world.api("viewer", "DELETE", f"{path}/{hook.id}"), 403, "forbidden")
        for method, where in (("GET", path), ("POST", path), ("DELETE", f"{path}/{hook.id}")):
            problem(world.api("operator", method, where, others), 404, "not-found")
        problem(world.api("operator", "DELETE", f"{path}/{NOBODY}"), 404, "not-found")
        answer = world.api("operator", "POST", path, headers={"Idempotency-Key": "k"})
        problem(answer, 422, "invalid")


def test_a_webhook_of_another_project_isnt_deleted_through_this_one(world: World) -> None:
    hook, other = hooked(world), project(world, "other")
    problem(world.api("operator", "DELETE", f"/projects/{other}/webhooks/{hook.id}"), 404, "not-found")


def test_a_project_has_ten_at_most(world: World) -> None:
    project_id = project(world)
    for _ in range(10):
        made(world, project_id)
    with world.unchanged():
        problem(world.api("operator", "POST", f"/projects/{project_id}/webhooks"), 409, "conflict")


# ---- who calls


def test_a_signed_push_has_the_checkout_pulled(world: World) -> None:
    worker = online(world)
    hook = hooked(world, worker)
    assert hook.said() == "lab-01: pulled."
    [task] = pulls(world)
    assert (task["submitted_by"], task["status"], task["project_id"]) == (
        "operator",
        "queued",
        hook.project_id,
    )
    assert worker.take()["task_id"] == task["id"]
    [entry] = world.audited("webhook.push")
    assert (entry["actor"], entry["target_id"]) == ("operator", hook.project_id)


def github(hook: Hook, data: bytes, **more: str) -> dict[str, str]:
    return {
        "X-GitHub-Delivery": "72d3162e-cc78-11e3-81ab-4c9367dc0958",
        "X-GitHub-Event": "push",
        "X-Hub-Signature-256": f"sha256={signed(hook.secret, data)}",
        **more,
    }


def gitlab(hook: Hook, data: bytes, **more: str) -> dict[str, str]:
    return {
        "X-Gitlab-Event": "Push Hook",
        "X-Gitlab-Token": hook.secret,
        "X-Gitlab-Event-UUID": "13792a34-cac6-4fda-95a8-c58e00a3954e",
        **more,
    }


@pytest.mark.parametrize("headers_of", [github, gitlab])
def test_remotes_call_it_in_their_own_words(world: World, headers_of: Any) -> None:
    hook = hooked(world)
    data = json.dumps(PUSH).encode()
    headers = headers_of(hook, data)
    assert hook.send(data, headers).json == {"said": "lab-01: pulled."}
    assert len(pulls(world)) == 1
    wrong = {
        name: value for name, value in headers.items() if "Token" not in name and "Signature" not in name
    }
    problem(hook.send(data, wrong), 401, "unauthorized")


def test_githubs_form_is_read_too(world: World) -> None:
    hook = hooked(world)
    data = urlencode({"payload": json.dumps({**PUSH, "ref": "refs/heads/side"})}).encode()
    form = {"Content-Type": "application/x-www-form-urlencoded"}
    answer = hook.send(data, github(hook, data) | form)
    assert answer.json == {"said": "A push to side; this project follows main. Nothing is pulled."}


def test_a_ping_is_answered_and_other_events_do_nothing(world: World) -> None:
    hook = hooked(world)
    data = b'{"zen": "Half measures are as bad as nothing at all."}'
    ping = github(hook, data, **{"X-GitHub-Event": "ping"})
    assert hook.send(data, ping).json == {"said": "Pong: the webhook works."}
    issue = github(hook, data, **{"X-GitHub-Event": "issues", "X-GitHub-Delivery": "2"})
    assert "Only pushes" in hook.send(data, issue).json["said"]
    assert pulls(world) == []
    assert [row["event"] for row in remembered(world)] == ["ping", "issues"]


def test_whatever_is_wrong_gets_the_same_answer_and_leaves_nothing(world: World) -> None:
    hook, other = hooked(world), made(world, project(world, "other"))
    data = json.dumps(PUSH).encode()
    right = {"X-GSW-Delivery": "d1", "X-GSW-Signature-256": signed(hook.secret, data)}
    calls = [
        (hook.id, data, {}),
        (hook.id, data + b" ", right),
        (hook.id, data, right | {"X-GSW-Signature-256": signed(other.secret, data)}),
        (hook.id, data, right | {"X-GSW-Signature-256": signed("", data)}),
        (hook.id, data, right | {"X-GSW-Signature-256": "\u00e9" * 64}),
        (hook.id, data, right | {"X-GSW-Signature-256": ""}),
        (hook.id, data, {"X-GSW-Delivery": "d1", "X-Gitlab-Token": other.secret}),
        (hook.id, data, {"X-GSW-Delivery": "d1", "X-Gitlab-Token": hook.secret[:-1]}),
        (hook.id, data, {"X-GSW-Delivery": "d1", "X-Hub-Signature": "sha1=" + "0" * 40}),
        (other.id, data, right),
        (NOBODY, data, right),
        ("nonsense", data, right),
        ("x" * 300, data, right),
        (hook.id + "x", data, right),
        (hook.id.upper(), data, right),
    ]
    answers = []
    with world.unchanged():
        for webhook_id, body, headers in calls:
            answer = hook.send(body, headers, webhook_id)
            said = problem(answer, 401, "unauthorized")
            said.pop("error_id")
            answers.append((said, sorted(answer.headers.keys())))
    assert all(answer == answers[0] for answer in answers)
    assert hook.secret not in str(answers)


def test_what_isnt_there_costs_the_same_work(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    hook = hooked(world)
    work: list[str] = []
    decrypt, new = deliveries.security.Keyring.decrypt, hmac.new
    monkeypatch.setattr(
        deliveries.security.Keyring, "decrypt", lambda *a: work.append("decrypt") or decrypt(*a)
    )
    monkeypatch.setattr(deliveries.hmac, "new", lambda *a: work.append(f"hmac of {len(a[1])}") or new(*a))
    for webhook_id in (hook.id, NOBODY, "nonsense"):
        work.clear()
        problem(hook.send(b"12345", {"X-GSW-Signature-256": "0" * 64}, webhook_id), 401, "unauthorized")
        assert work == ["decrypt", "hmac of 5"], webhook_id


@pytest.mark.parametrize("delivery", ["", "a b", "x" * 101, "\u00e9"])
def test_a_delivery_needs_an_id_to_be_remembered_by(world: World, delivery: str) -> None:
    hook = hooked(world)
    with world.unchanged():
        problem(hook.call(delivery=delivery), 422, "invalid")


def test_a_body_of_more_than_a_megabyte_is_refused(world: World) -> None:
    hook = hooked(world)
    with world.unchanged():
        problem(hook.call(b"x" * 1_000_001), 413, "too-large")
    assert hook.said(b"x" * 1_000_000) == "lab-01: pulled.", "a signed body may be anything"


def test_wrong_calls_from_one_address_are_slowed_down_and_right_ones_are_not(world: World) -> None:
    hook = hooked(world)
    answers = [hook.call(X_GSW_Signature_256="0" * 64).status_code for _ in range(61)]
    assert set(answers[:60]) == {401}
    assert answers[60] == 429
    assert hook.said() == "lab-01: pulled."


def test_it_is_rate_limited(new_world: Any) -> None:
    world = new_world(stranger_requests_per_minute=3)
    hook = hooked(world)
    assert [hook.call(delivery=f"d{number}").status_code for number in range(4)] == [200, 200, 200, 429]


# ---- said twice


def test_the_same_delivery_again_gets_the_same_answer_and_does_nothing(world: World) -> None:
    worker = online(world)
    hook = hooked(world, worker)
    first = hook.call()
    offer = worker.take()
    worker.report(offer)
    with world.unchanged():
        assert hook.call().json == first.json
    assert hook.said(delivery="d2") != ""
    assert len(remembered(world)) == 2


def test_the_same_delivery_at_once_does_its_work_once(world: World) -> None:
    hook = hooked(world)
    answers = at_once(*[hook.call] * 4)
    assert [answer.status_code for answer in answers] == [200] * 4
    assert {answer.json["said"] for answer in answers} == {"lab-01: pulled."}
    assert len(pulls(world)) == len(remembered(world)) == len(world.audited("webhook.push")) == 1


def test_deliveries_of_two_webhooks_have_nothing_to_do_with_each_other(world: World) -> None:
    hook = hooked(world)
    other = made(world, hook.project_id)
    assert hook.said() == "lab-01: pulled."
    assert other.said() == "lab-01: a pull waits already."


def test_two_pushes_at_once_make_one_pull(world: World) -> None:
    hook = hooked(world)
    said = at_once(lambda: hook.said(delivery="d1"), lambda: hook.said(delivery="d2"))
    assert sorted(said) == ["lab-01: a pull waits already.", "lab-01: pulled."]
    assert len(pulls(world)) == 1


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
    pull_waiting(world)
    assert len(pulls(world)) == 1, "not before its end"
    facts = {"attempt_id": offer["attempt_id"], "success": True}
    assert worker.call("POST", f"/projects/{hook.project_id}/status", json=facts).status_code == 200
    assert worker.report(offer).status_code == 200
    pull_waiting(world)
    pull_waiting(world)
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
    pull_waiting(world)
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


# ---- what is kept


def test_deliveries_are_listed_and_go_after_a_month(world: World) -> None:
    hook = hooked(world)
    hook.said()
    later(29 * 86400)
    hook.said(delivery="d2")
    listed = world.api("viewer", "GET", f"/projects/{hook.project_id}/webhooks").json
    assert [row["delivery_id"] for row in listed["deliveries"]] == ["d2", "d1"]
    assert listed["items"][0]["called_at"] == listed["deliveries"][0]["received_at"]
    later(2 * 86400)
    with world.app.app_context():
        assert deliveries.remove_old() is False
        release()
    assert [row["delivery_id"] for row in remembered(world)] == ["d2"]
