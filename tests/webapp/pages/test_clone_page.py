"""The form that clones a repository: what is typed, who may take it, and the look-up of branches by a worker."""

from __future__ import annotations

import re
from html import unescape
from typing import Any

from tests.projects import URL, git_worker
from tests.webapp.pages.forms import csrf, field_error, press, text_of
from tests.world import WorkerOf, World, later

TOKEN = "ghp_0123456789abcdefghij"
# What is typed, the field beside which a problem then stands, and some of its words.
WRONG: tuple[tuple[dict[str, str], str, str], ...] = (
    ({"git_url": ""}, "git_url", "Give the repository’s URL"),
    ({"git_url": "ext::sh"}, "git_url", "isn’t a URL"),
    ({"git_url": "https://me:secret@git.example/a.git"}, "git_url", "no password"),
    ({"worker": ""}, "worker", "Choose a worker"),
    ({"name": ".git"}, "name", "letter or digit first"),
    ({"branch": "--upload-pack=x"}, "branch", "no branch of this name"),
    ({"fixed": "main", "fixed_kind": "commit"}, "fixed", "40 hexadecimal digits"),
    ({"fixed": "a..b"}, "fixed", "no tag of this name"),
    ({"depth": "-1"}, "depth", "a whole number of commits"),
    ({"depth": "9" * 5000}, "depth", "a whole number of commits"),
    ({"description": "a\u202eb"}, "description", "control characters"),
    ({"credential": "known"}, "credential_id", "Choose one"),
    ({"credential": "known", "credential_id": "x"}, "credential_id", "match"),
    ({"credential": "new"}, "credential_secret", "Paste the token or the key"),
    ({"credential": "new", "credential_secret": "two words"}, "credential_secret", "no spaces"),
    (
        {"credential": "new", "credential_secret": TOKEN, "credential_username": "a:b"},
        "credential_username",
        "no colon",
    ),
)
BRANCHES = {
    "branches": [{"name": "main", "commit": "a" * 40}, {"name": "release/3", "commit": "b" * 40}],
    "tags": [{"name": "v1.0", "commit": "a" * 40}],
    "default": "main",
}


def look_up(world: World, worker: WorkerOf, client: Any, **fields: Any) -> Any:
    """Press the button as a script does."""
    said = {"csrf_token": csrf(client), "git_url": URL, "worker": worker.id, **fields}
    return client.post("/projects/branches", data=said, headers={"HX-Request": "true"})


# ---- the form


def test_the_form_clones_and_leads_to_the_project(world: World) -> None:
    worker, client = git_worker(world), world.browser("operator")
    answer = press(
        client,
        "/projects/new",
        git_url=f" {URL} ",
        worker=worker.id,
        branch="release/3",
        depth="5",
        submodules="1",
    )
    assert answer.status_code == 302, text_of(answer)
    page = client.get(answer.headers["Location"])
    assert "app Waiting" in text_of(page)
    assert "waits for lab-01 to begin" in text_of(page)
    [asked] = world.rows("projects")
    assert (asked["ref_kind"], asked["ref"], asked["depth"], asked["submodules"]) == (
        "branch",
        "release/3",
        5,
        True,
    )


def test_what_is_wrong_stands_beside_its_field_and_nothing_is_stored(world: World) -> None:
    worker, client = git_worker(world), world.browser("operator")
    usual = {"csrf_token": csrf(client), "git_url": URL, "worker": worker.id}
    with world.unchanged():
        for typed, field, said in WRONG:
            answer = client.post("/projects/new", data=usual | typed)
            assert answer.status_code == 422, typed
            assert said in field_error(answer, field), (typed, text_of(answer))
            assert "Nothing was cloned." in text_of(answer)


def test_an_offline_worker_can_t_be_chosen_and_says_so(world: World) -> None:
    worker, client = git_worker(world, "nas"), world.browser("operator")
    later(3600)
    page = client.get("/projects/new")
    assert re.search(rf'<option value="{worker.id}" disabled>nas \(offline\)</option>', page.text)
    assert "nas is offline." in text_of(page)
    said = {"csrf_token": csrf(client), "git_url": URL, "worker": worker.id}
    with world.unchanged():
        answer = client.post("/projects/new", data=said)
    assert answer.status_code == 503
    assert "nas is offline. Nothing was stored" in text_of(answer)


def test_who_can_t_take_it_for_this_person_is_said(world: World) -> None:
    git_worker(world, "closed")
    closed = git_worker(world, "server")
    world.api("admin", "PATCH", f"/workers/{closed.id}", json={"admins_only": True})
    world.worker("no-git").sync(accepting=False)
    said = text_of(world.browser("operator").get("/projects/new"))
    assert "server serves admins only." in said
    assert "no-git has no working git." in said
    assert "server serves admins only." not in text_of(world.browser("admin").get("/projects/new"))


def test_a_new_credential_becomes_the_projects_own_and_is_never_shown(world: World) -> None:
    worker, client = git_worker(world), world.browser("operator")
    typed = {"credential": "new", "credential_kind": "token", "credential_secret": TOKEN}
    said = {"git_url": URL, "worker": worker.id, **typed}
    again = press(client, "/projects/new", name="a b", **said)
    assert again.status_code == 422
    assert TOKEN not in again.text
    answer = press(client, "/projects/new", **said)
    page = client.get(answer.headers["Location"])
    assert "Credential app, a token for git.example" in text_of(page)
    assert TOKEN not in page.text
    [credential] = world.rows("credentials")
    assert credential["project_id"] == world.rows("projects")[0]["id"]
    assert TOKEN not in str(credential)


# ---- looking up branches


def test_branches_are_looked_up_by_the_worker_and_become_choices(world: World) -> None:
    worker, client = git_worker(world), world.browser("operator")
    answer = look_up(world, worker, client)
    assert answer.status_code == 200
    found = re.search(r'hx-get="(/projects/branches/[^"]+)"', answer.text)
    assert found, answer.text
    assert "<progress" in answer.text
    assert "It waits for its worker" in client.get(found[1]).text
    offer = worker.take()
    worker.sync(held=[offer["attempt_id"]], accepting=False)
    said = {"attempt_id": offer["attempt_id"], "message": "asking git.example"}
    assert worker.call("PUT", f"/agents/tasks/{offer['task_id']}/status", json=said).status_code == 200
    assert "lab-01 asks the remote: asking git.example" in text_of(client.get(found[1]))
    worker.report(offer, result={"data": BRANCHES}, exit_code=0)
    done = client.get(f"{found[1]}?branch=release/3")
    assert "hx-get" not in done.text
    assert "has 2 branches and 1 tag" in text_of(done)
    assert '<option value="">main, the remote’s default</option>' in done.text
    assert '<option value="release/3" selected>' in done.text
    assert '<datalist id="known-tags"><option value="v1.0">' in done.text


def test_a_look_up_without_a_script_is_the_form_again(world: World) -> None:
    worker, client = git_worker(world), world.browser("operator")
    typed = {"credential": "new", "credential_secret": TOKEN, "description": "The shop"}
    first = press(client, "/projects/branches", git_url=URL, worker=worker.id, **typed)
    assert first.status_code == 200
    assert TOKEN not in first.text
    assert 'value="The shop"' in first.text
    task = re.search(r'name="task" value="([^"]+)">See whether it has answered', first.text)
    assert task, first.text
    offer = worker.take()
    assert offer["task_id"] == task[1]
    assert offer["data"]["task"]["input"]["credential"]["secret"] == TOKEN
    worker.report(offer, result={"data": BRANCHES}, exit_code=0)
    second = press(client, "/projects/branches", git_url=URL, worker=worker.id, task=task[1], **typed)
    assert '<option value="release/3">release/3</option>' in second.text
    assert TOKEN not in second.text
    assert len(world.rows("tasks")) == 1


def test_a_look_up_that_fails_says_why(world: World) -> None:
    worker, client = git_worker(world), world.browser("operator")
    answer = look_up(world, worker, client)
    offer = worker.take()
    worker.report(offer, "failed", error="the host is not known", failure_class="exit_code", exit_code=1)
    said = client.get(f"/projects/branches/{offer['task_id']}")
    assert "The host is not known." in text_of(said)
    assert 'name="branch"' not in said.text
    later(3600)
    answer = look_up(world, worker, client)
    assert answer.status_code == 200
    assert "lab-01 is offline." in text_of(answer)
    assert "Give the repository’s URL" in text_of(look_up(world, worker, client, git_url=""))


def test_only_look_ups_of_ones_own_organisation_are_answered(world: World) -> None:
    worker = git_worker(world)
    task_id = world.queued_task()
    assert world.browser("operator").get(f"/projects/branches/{task_id}").status_code == 404
    made = world.api("operator", "POST", "/projects/branches", json={"git_url": URL, "worker_id": worker.id})
    path = f"/projects/branches/{made.json['task_id']}"
    assert world.browser("operator").get(path).status_code == 200
    assert world.browser("admin", world.other_organisation()).get(path).status_code == 404


def test_names_that_a_remote_makes_up_are_text_or_left_out(world: World) -> None:
    worker, client = git_worker(world), world.browser("operator")
    look_up(world, worker, client)
    offer = worker.take()
    names = ['"><img/src=x>', "--upload-pack=x", "a\u202eb", "ok<b>", 7, None, {"name": ["x"]}]
    data = {"branches": [{"name": name} for name in names], "tags": "v1", "default": "\u202e"}
    worker.report(offer, result={"data": data}, exit_code=0)
    said = client.get(f"/projects/branches/{offer['task_id']}").text
    assert "<img" not in said
    options = [unescape(each) for each in re.findall(r'<option value="([^"]*)"', said)]
    assert options == ["", '"><img/src=x>', "ok<b>"]
