"""Projects on pages: the list, a project with its checkouts, and what is asked before a delete."""

from __future__ import annotations

import re
from typing import Any

import pytest

from tests.projects import FACTS, begin, checkout, clone, cloned, finish, git_worker, is_gone, tell
from tests.webapp.pages.forms import field_error, press, text_of, toast
from tests.world import WorkerOf, World, later

MARKUP = '<script>1</script><b hx-get="/logout" hx-trigger="load">\u202egpj.exe'


def words(world: World, path: str, role: Any = "operator") -> str:
    return text_of(world.browser(role).get(path))


def dialog(answer: Any, element_id: str) -> str:
    found = re.search(rf'<dialog id="{element_id}".*?</dialog>', answer.text, re.DOTALL)
    return found[0] if found else ""


def progress(world: World, worker: WorkerOf, offer: dict[str, Any], **said: Any) -> None:
    body = {"attempt_id": offer["attempt_id"], "stage": "fetching", **said}
    assert worker.call("PUT", f"/agents/tasks/{offer['task_id']}/status", json=body).status_code == 200


# ---- the list


def test_an_empty_list_says_what_to_do_next(world: World) -> None:
    assert "No projects yet" in words(world, "/projects")
    assert 'href="/projects/new"' in world.browser("operator").get("/projects").text
    viewer = world.browser("viewer").get("/projects")
    assert "Ask an operator to clone one." in text_of(viewer)
    assert "/projects/new" not in viewer.text


def test_the_list_has_each_checkout_with_its_status(world: World) -> None:
    here, there = git_worker(world, "lab-01"), git_worker(world, "lab-02")
    project_id = cloned(world, here)
    assert clone(world, there).status_code == 202
    progress(world, there, begin(there), step="Receiving objects", progress=38)
    answer = world.browser("viewer").get("/projects")
    assert "Active lab-01" in text_of(answer)
    assert "Syncing lab-02 38 %" in text_of(answer)
    assert "1 project 2 checkouts on 2 workers 1.2 kB" in text_of(answer)
    assert f'href="/projects/{project_id}"' in answer.text
    assert "No project like that" in words(world, "/projects?q=none-like-it")
    assert "Active lab-01" in words(world, "/projects?q=LAB-02")


def test_lists_ask_as_often_for_many_as_for_one_and_read_no_long_lists(world: World) -> None:
    here, there = git_worker(world, "lab-01"), git_worker(world, "lab-02")
    cloned(world, here)
    browser = world.browser("viewer")

    def count() -> int:
        with world.statements() as said:
            assert world.api("viewer", "GET", "/projects").status_code == 200
            for path in ("/projects", f"/workers/{here.id}"):
                assert browser.get(path).status_code == 200
        asked = [statement for statement in said if statement.startswith("SELECT")]
        assert any("checkouts.size_bytes" in statement for statement in asked)
        assert not any("checkouts.branches" in statement for statement in asked)
        return len(asked)

    count()
    few = count()
    cloned(world, here, name="second")
    cloned(world, there, name="third")
    assert count() == few


def test_a_worker_that_says_half_of_it_breaks_no_page(world: World) -> None:
    worker = git_worker(world)
    unsaid = dict.fromkeys(("branch", "subject", "author", "committed_at"))
    for name, half in (("app", {"commit": None}), ("other", {"commits": []})):
        project_id = clone(world, worker, name=name).json["project_id"]
        finish(world, worker, project_id, **{**FACTS, **unsaid, **half})
        for path in ("/projects", f"/projects/{project_id}", f"/workers/{worker.id}", "/"):
            answer = world.browser("viewer").get(path)
            assert (path, answer.status_code, '"None"' in answer.text) == (path, 200, False)


def test_what_went_wrong_shows_in_the_list_and_on_the_dashboard(world: World) -> None:
    worker = git_worker(world)
    project_id = clone(world, worker).json["project_id"]
    offer = begin(worker)
    assert tell(worker, project_id, offer, False, message="the remote wants a password").status_code == 200
    worker.report(offer, "failed", error="the remote wants a password", exit_code=1)
    assert "Error lab-01" in words(world, "/projects", "viewer")
    assert "The remote wants a password." in words(world, "/projects", "viewer")
    needs = words(world, "/", "viewer")
    assert "app on lab-01 : The remote wants a password. Look at it" in needs


# ---- one project


def test_progress_and_then_the_checkout_are_shown(world: World) -> None:
    worker, client = git_worker(world), world.browser("viewer")
    project_id = clone(world, worker).json["project_id"]
    offer = begin(worker)
    progress(world, worker, offer, step="Receiving objects", progress=38.4, message="71 MB, 3 MB/s")
    page = client.get(f"/projects/{project_id}")
    assert "<title>Syncing 38 %: app" in page.text
    assert '<progress value="38" max="100" aria-label="Progress on lab-01">' in page.text
    assert "receiving objects, 71 MB, 3 MB/s, 38 %" in text_of(page)
    facts = {name: fact for name, fact in FACTS.items() if name not in ("ahead", "behind")}
    assert tell(worker, project_id, offer, ahead=1, behind=2, **facts).status_code == 200
    worker.report(offer, exit_code=0)
    said = words(world, f"/projects/{project_id}", "viewer")
    for expected in ("app Active", "lab-01 clean, looked", "main 1 ahead , 2 behind", "4b825dc64 Begin Ada,"):
        assert expected in said
    assert "Recent commits as on lab-01" in said
    assert "1.2 kB mirror 5.7 kB" in said
    assert "clone operator_app" in said


def test_who_only_reads_finds_no_buttons(world: World) -> None:
    project_id = cloned(world, git_worker(world))
    page = world.browser("viewer").get(f"/projects/{project_id}")
    assert "formaction" not in page.text
    assert "<dialog" not in page.text


def test_what_git_says_is_text(world: World) -> None:
    worker = git_worker(world)
    project_id = clone(world, worker).json["project_id"]
    hostile = dict.fromkeys(("branch", "subject", "author", "local_path"), MARKUP)
    commit = {"commit": "c" * 40, "subject": MARKUP, "author": MARKUP, "committed_at": "+999999999-01-01"}
    finish(world, worker, project_id, **hostile, commits=[commit], dirty=[MARKUP], dirty_count=1)
    for path in (f"/projects/{project_id}", "/projects", f"/workers/{worker.id}"):
        text = world.browser("operator").get(path).text
        for mark in ("<script>1", "<b hx-get", "\u202e"):
            assert mark not in text, path
    assert "&lt;script&gt;1" in text


@pytest.mark.parametrize(("button", "operation"), [("pull", "pull"), ("refresh", "status")])
def test_a_button_sends_git_to_one_worker(world: World, button: str, operation: str) -> None:
    worker, client = git_worker(world), world.browser("operator")
    project_id = cloned(world, worker)
    page = f"/projects/{project_id}"
    press(client, f"{page}/{button}", worker=worker.id)
    said = client.get(page)
    assert re.search(r'id="pull-[^"]+"[^>]* disabled aria-describedby="at-', said.text)
    assert begin(worker)["data"]["task"]["input"]["operation"] == operation
    press(client, f"{page}/{button}", worker=worker.id)
    assert "Wait for its end, or cancel it." in toast(client, page)


def test_pulling_all_leaves_out_who_is_offline(world: World) -> None:
    here, away = git_worker(world, "here"), git_worker(world, "away")
    project_id, client = cloned(world, here), world.browser("operator")
    cloned(world, away)
    later(3600)
    here.sync(accepting=False)
    page = f"/projects/{project_id}"
    assert "away is offline." in words(world, page)
    press(client, f"{page}/pull")
    assert begin(here)
    assert checkout(world, project_id, away)["status"] == "active"


def test_it_is_cloned_onto_another_worker_from_its_page(world: World) -> None:
    project_id, client = cloned(world, git_worker(world)), world.browser("operator")
    other, away = git_worker(world, "other"), git_worker(world, "away")
    page = f"/projects/{project_id}"
    assert "other" in text_of(client.get(page))
    press(client, f"{page}/place", worker=other.id)
    assert toast(client, page) == "It is cloned there now."
    assert checkout(world, project_id, other)["status"] == "pending"
    later(3600)
    assert re.search(
        rf'id="clone-{away.id}"[^>]* disabled aria-describedby="not-{away.id}"', client.get(page).text
    )


def test_what_is_wanted_of_it_is_changed_on_its_page(world: World) -> None:
    project_id, client = cloned(world, git_worker(world)), world.browser("operator")
    page = f"/projects/{project_id}"
    usual = {"description": "The shop", "ref_kind": "branch", "ref": "next", "credential_id": ""}
    with world.unchanged():
        for typed, field, said in (
            ({"ref": "a..b"}, "ref", "no branch of this name"),
            ({"ref": ""}, "ref", "no branch of this name"),
            ({"ref_kind": "x"}, "ref", "Choose one of these"),
            ({"description": "a\u202eb"}, "description", "control characters"),
            ({"credential_id": "x"}, "credential_id", "match"),
        ):
            answer = press(client, f"{page}/change", **(usual | typed))
            assert answer.status_code == 422, typed
            assert said in field_error(answer, field), typed
    press(client, f"{page}/change", **usual)
    said = words(world, page)
    assert "The shop git.example/team/app.git branch next" in said
    assert "Changed. Checkouts follow with their next pull." in toast(client, page)
    press(client, f"{page}/change", **(usual | {"ref_kind": "default", "ref": "left"}))
    assert "the remote’s default branch" in words(world, page)


# ---- delete and forget


def test_a_clean_checkout_is_deleted_after_one_question(world: World) -> None:
    worker, client = git_worker(world), world.browser("operator")
    project_id = cloned(world, worker)
    page = f"/projects/{project_id}"
    row = checkout(world, project_id)
    asked = dialog(client.get(page), f"delete-{row['id']}")
    assert "1.2 kB of files go" in asked
    assert "looks first" in asked
    assert f'formaction="{page}/delete"' in asked
    press(client, f"{page}/delete", worker=worker.id)
    finish(world, worker, project_id)
    assert "It is on no worker now" in words(world, page)
    press(client, f"{page}/delete")
    assert is_gone(world, project_id)


def test_what_would_be_lost_is_shown_and_deleted_only_after_a_second_question(world: World) -> None:
    worker, client = git_worker(world), world.browser("operator")
    project_id = cloned(world, worker)
    page, row = f"/projects/{project_id}", checkout(world, project_id)
    press(client, f"{page}/delete", worker=worker.id)
    offer = begin(worker)
    assert "force" not in offer["data"]["task"]["input"]
    lost = {"dirty": ["notes.txt"], "dirty_count": 3, "unpushed": ["3fd20c1 Frost"], "unpushed_count": 1}
    message = "3 files were changed and never committed"
    assert tell(worker, project_id, offer, False, message=message, **lost).json == {"status": "active"}
    worker.report(offer, "failed", error=message, exit_code=1)
    said = client.get(page)
    assert "3 files were changed and never committed." in text_of(said)
    asked = dialog(said, f"delete-{row['id']}")
    for expected in (
        "<b>3 changed files</b>",
        "<code>notes.txt</code> and 2 more",
        "<code>3fd20c1 Frost</code>",
    ):
        assert expected in asked
    assert f'formaction="{page}/delete-anyway"' in asked
    press(client, f"{page}/delete-anyway", worker=worker.id)
    assert begin(worker)["data"]["task"]["input"]["force"] is True


def test_what_git_cant_read_any_more_can_be_deleted_all_the_same(world: World) -> None:
    worker, client = git_worker(world), world.browser("operator")
    project_id = cloned(world, worker)
    page, row = f"/projects/{project_id}", checkout(world, project_id)
    press(client, f"{page}/delete", worker=worker.id)
    offer = begin(worker)
    said = {"usable": True, "refused": "dirty", "message": "git can’t read this checkout any more"}
    assert tell(worker, project_id, offer, False, **said).json == {"status": "error"}
    worker.report(offer, "failed", error=said["message"], exit_code=1)
    answer = client.get(page)
    for element_id in (f"delete-{row['id']}", "delete"):
        asked = dialog(answer, element_id)
        assert "nobody can tell whether changes are lost" in asked
        assert f'formaction="{page}/delete-anyway"' in asked
    press(client, f"{page}/delete-anyway", going=worker.id)
    assert finish(world, worker, project_id)["data"]["task"]["input"]["force"] is True
    assert is_gone(world, project_id)


def test_a_checkout_whose_worker_is_gone_is_forgotten(world: World) -> None:
    worker, client = git_worker(world), world.browser("operator")
    project_id = cloned(world, worker)
    page, row = f"/projects/{project_id}", checkout(world, project_id)
    press(client, f"{page}/forget", worker=worker.id)
    assert "is online: delete it there" in toast(client, page)
    later(3600)
    asked = dialog(client.get(page), f"forget-{row['id']}")
    assert "Its files stay on that machine" in asked
    assert f'formaction="{page}/forget"' in asked
    press(client, f"{page}/forget", worker=worker.id)
    assert "It is on no worker now" in words(world, page)


def told(answer: Any) -> dict[str, list[str]]:
    """What the dialog about a whole project sends along."""
    fields = re.findall(r'name="(going|staying)" value="([^"]+)"', dialog(answer, "delete"))
    return {name: [value for each, value in fields if each == name] for name in ("going", "staying")}


def test_a_whole_project_goes_as_its_dialog_said_or_not_at_all(world: World) -> None:
    here, there = git_worker(world), git_worker(world, "lab-02")
    client = world.browser("operator")
    project_id = cloned(world, here)
    clone(world, there)
    finish(world, there, project_id)
    page = f"/projects/{project_id}"
    both_go = told(client.get(page))
    assert both_go == {"going": [here.id, there.id], "staying": []}
    later(60)
    here.sync(accepting=False)
    press(client, f"{page}/delete", **both_go)  # the other one has gone since: its files were to go
    assert "lab-02 is offline" in toast(client, page)
    one_stays = told(client.get(page))
    assert one_stays == {"going": [here.id], "staying": [there.id]}
    there.sync(accepting=False)
    press(client, f"{page}/delete", **one_stays)  # and came back: its files were to stay
    assert "lab-02 is online" in toast(client, page)
    press(client, f"{page}/delete", going=[here.id])  # and now it lies where nobody was told of
    assert "since you were asked" in toast(client, page)
    assert len(world.api("viewer", "GET", f"/projects/{project_id}").json["checkouts"]) == 2
    later(60)
    here.sync(accepting=False)
    answer = press(client, f"{page}/delete", **one_stays)
    assert answer.location == "/projects"
    finish(world, here, project_id)
    assert is_gone(world, project_id)


def test_a_workers_page_has_its_projects(world: World) -> None:
    worker, bare = git_worker(world), git_worker(world, "bare")
    cloned(world, worker)
    assert "Projects Clone another one here" in words(world, f"/workers/{worker.id}")
    assert "app Active main 1.2 kB" in words(world, f"/workers/{worker.id}", "viewer")
    assert "No project here" in words(world, f"/workers/{bare.id}")
