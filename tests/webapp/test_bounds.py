"""What strangers, crowds and careless programs may cost, and who may see whose secrets."""

from __future__ import annotations

import copy
from pathlib import Path

from tests.world import TOOLS, World, later, problem
from webapp.auth import service as people
from webapp.auth.models import Member
from webapp.database import release
from webapp.extensions import db
from webapp.live.views import Scope
from webapp.tasks import logview
from webapp.tasks.models import Attempt, Task
from webapp.tasks.service import own_secrets_of
from webapp.tasks.task_pages import TASK
from webapp.workers import tools

SECRET = {"script": "true", "env": {"TOKEN": "canary"}}


def test_a_tool_with_a_huge_schema_is_refused_before_it_is_checked(world: World) -> None:
    schema = {"type": "object", "properties": {f"p{number}": {} for number in range(3000)}}
    body = {
        "name": "x",
        "machine_id": "m" * 16,
        "nonce": "n" * 16,
        "tools": [{"name": "big", "schema": schema}],
    }
    with world.unchanged():
        refused = world.app.test_client().post("/api/v1/workers/register", json=body)
        assert "parts" in problem(refused, 422, "invalid")["detail"]


def test_somebody_elses_secret_is_not_kept_for_changed_words(world: World) -> None:
    world.worker()
    answer = world.submit("admin", input=SECRET)
    with world.app.app_context():
        task = db.session.get_one(Task, answer.json["id"])
        assert own_secrets_of(world.person("admin"), task) == {"env": {"TOKEN": "canary"}}
        assert own_secrets_of(world.person("operator"), task) == {}
        release()


def test_a_newer_version_of_a_tool_keeps_its_secrets_secret(world: World) -> None:
    worker = world.worker()
    newer = copy.deepcopy(TOOLS[0])
    newer["version"] = 7
    del newer["schema"]["properties"]["env"]["x-secret"]  # type: ignore[index]
    assert worker.sync(tools=[newer]).status_code == 200
    with world.app.app_context():
        tool = tools.find(world.organisation_id, "shell")
        assert tool is not None
        assert (tool.version, tool.schema["properties"]["env"]["x-secret"]) == (7, True)
        release()
    task_id = world.queued_task(input=SECRET)
    assert "canary" not in str(world.task(task_id))


def test_a_worker_for_admins_takes_nothing_of_an_admin_who_is_one_no_more(world: World) -> None:
    worker = world.worker()
    patched = world.api("admin", "PATCH", f"/workers/{worker.id}", json={"admins_only": True})
    assert patched.json["admins_only"] is True
    other = world.person("approver")
    with world.app.app_context():
        member = db.session.query(Member).filter_by(user_id=other.id).one()
        people.change_role(world.person("admin"), member.id, "admin")
        release()
    task_id = str(world.submit("approver").json["id"])
    with world.app.app_context():
        member = db.session.query(Member).filter_by(user_id=other.id).one()
        people.change_role(world.person("admin"), member.id, "viewer")
        release()
    assert worker.sync().json["offers"] == []
    assert world.task(task_id)["status"] == "queued"


def test_an_offer_that_got_lost_is_not_repeated_once_its_task_is_cancelled(world: World) -> None:
    worker = world.worker()
    task_id = world.queued_task()
    worker.take()
    later(3)
    assert world.api("operator", "POST", f"/tasks/{task_id}/cancel").status_code == 200
    answer = worker.sync().json
    assert (answer["offers"], answer["cancel"]) == ([], [])
    assert world.task(task_id)["status"] == "cancelled"
    assert [event["type"] for event in world.events(task_id)][-1] == "task_cancelled"


def test_a_script_with_tabs_makes_a_task_that_can_be_made_again(world: World) -> None:
    worker = world.worker()
    task_id = world.queued_task(input={"script": "if true;\tthen echo \x1b[31m\u202ehi; fi"})
    assert world.task(task_id)["name"] == "if true; then echo [31mhi; fi"
    worker.report(worker.take())
    assert world.api("operator", "POST", f"/tasks/{task_id}/retry").status_code == 201


def test_a_page_that_fell_far_behind_gets_the_last_window_only(world: World) -> None:
    worker = world.worker()
    offer = world.running_task(worker)
    worker.send_log(offer, b"\n" * 100_000)
    with world.app.test_request_context():
        attempt = db.session.get_one(Attempt, offer["attempt_id"])
        window = logview.after(attempt, 0)
        assert len(window.lines) == logview.WINDOW
        assert (window.lines[-1].number, window.offset) == (100_000, 100_000)
        assert TASK.append is not None
        scope = Scope(world.organisation_id, "viewer", {"task": offer["task_id"]})
        html, offset = TASK.append(scope, offer["attempt_id"], 0)
        assert (html.count('class="ln'), offset) == (logview.WINDOW, 100_000)
        release()


def test_a_log_that_lies_damaged_on_the_server_refuses_its_own_report_only(world: World) -> None:
    worker = world.worker()
    first, second = world.running_task(worker), world.running_task(worker)
    worker.send_log(first, b"x" * 100)
    for path in (Path(world.app.instance_path) / "logs").rglob("*.gz"):
        path.write_bytes(b"not gzip" * 20)
    reports = [
        {
            "task_id": offer["task_id"],
            "attempt_id": offer["attempt_id"],
            "status": "completed",
            "execution_time_ms": 1,
            "log_size": size,
            "log_sha256": "0" * 64 if size else None,
        }
        for offer, size in ((first, 100), (second, 0))
    ]
    reported = worker.sync(held=[first["attempt_id"], second["attempt_id"]], reports=reports).json["reported"]
    assert [row["status"] for row in reported] == [422, 200]
    assert world.task(second["task_id"])["status"] == "completed"
