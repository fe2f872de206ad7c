"""Settings, Credentials, and the webhooks on a project's page."""

from __future__ import annotations

import re
from html import unescape

import pytest
from flask.testing import FlaskClient

from tests.validity import problems
from tests.webapp.hooks import hooked
from tests.webapp.pages.forms import field_error, press, text_of, toast
from tests.webapp.project_tasks import checkout, git_worker, project
from tests.webapp.test_host_keys import learn, public
from tests.world import World
from webapp.live.bus import bus, project_topic

PAGE = "/settings/credentials"
TOKEN = {"kind": "token", "name": "deploy", "host": "git.example", "token": "glpat-canary-7f3e"}
SECRET = re.compile(r"gsh_[\w-]{55}")


def store(client: FlaskClient, **fields: str) -> FlaskClient:
    """Store one; the browser."""
    assert press(client, PAGE, PAGE, **{**TOKEN, **fields}).status_code == 302
    return client


def test_a_token_is_stored_and_never_shown_again(world: World) -> None:
    admin = store(world.browser("admin"))
    page = admin.get(PAGE)
    assert "A token for https, by admin" in text_of(page)
    assert TOKEN["token"] not in page.text
    assert "No credentials" in text_of(world.browser("admin", world.other_organisation()).get(PAGE))


def test_a_key_that_is_made_here_shows_what_to_paste_at_the_remote(world: World) -> None:
    client = world.browser("admin")
    answer = press(client, PAGE, PAGE, kind="made", name="deploy key", host="git.example")
    page = client.get(answer.location)
    assert "deploy key is stored" in text_of(page)
    assert re.search(
        r'<code id="public-key"[^>]*>ssh-ed25519 [\w+/]+ garageswarm-deploy-key</code>', page.text
    )


WRONG: list[tuple[dict[str, str], str, str]] = [
    ({"token": "a b"}, "token", "no spaces"),
    ({"token": ""}, "token", "Paste the token"),
    ({"name": " "}, "name", "Give it a name"),
    ({"host": "https://git.example/x"}, "host", "the host alone"),
    ({"kind": "ssh", "private_key": "glpat-canary-7f3e"}, "private_key", "no private ssh key"),
    ({"kind": ""}, "kind", "token"),
    ({"username": "a:b"}, "username", "no colon"),
    ({"project_id": "01900000-0000-7000-8000-00000000dead"}, "project_id", "no such project"),
]


def test_what_is_wrong_stands_beside_its_field_and_the_secret_isnt_sent_back(world: World) -> None:
    client = world.browser("admin")
    with world.unchanged():
        for fields, field, says in WRONG:
            answer = press(client, PAGE, PAGE, **{**TOKEN, **fields})
            assert answer.status_code == 422, fields
            assert says in field_error(answer, field)
            assert "Nothing was stored" in text_of(answer)
            assert TOKEN["token"] not in answer.text


def test_a_name_that_is_taken_is_said_on_top(world: World) -> None:
    client = store(world.browser("admin"))
    answer = press(client, PAGE, PAGE, **TOKEN)
    assert answer.status_code == 409
    assert "There is a credential deploy already" in text_of(answer)


def test_an_operator_stores_them_for_projects_alone(world: World) -> None:
    operator = world.browser("operator")
    assert "by an admin" in text_of(operator.get(PAGE))
    project_id = project(world)
    page = operator.get(PAGE)
    assert "alice_app alone" in text_of(page)
    assert "any project on that host" not in text_of(page)
    assert press(operator, PAGE, PAGE, **TOKEN).status_code == 403
    store(operator, project_id=project_id)
    assert "alice_app alone" in text_of(world.browser("viewer").get(PAGE))
    assert "New credential" not in text_of(world.browser("viewer").get(PAGE))


def test_deleting_says_who_loses_it_before_and_after(world: World) -> None:
    project_id = project(world)
    client = store(world.browser("admin"))
    [row] = world.rows("credentials")
    changed = world.api("operator", "PATCH", f"/projects/{project_id}", json={"credential_id": row["id"]})
    assert changed.status_code == 200, changed.json
    assert "alice_app loses it" in text_of(client.get(PAGE))
    press(client, f"{PAGE}/{row['id']}/delete")
    assert toast(client, PAGE) == "The credential is deleted. alice_app has none now."
    assert press(client, f"{PAGE}/{row['id']}/delete").status_code == 404


def test_host_keys_are_shown_with_another_one_that_was_found_and_forgotten_by_admins(world: World) -> None:
    learn(world, world.worker(), f"git.example {public()}")
    [strange] = learn(world, world.worker("lab-02"), f"git.example {public()}")
    [row] = world.rows("host_keys")
    shown = text_of(world.browser("viewer").get(PAGE))
    assert row["fingerprint"] in shown
    assert "found by lab-01" in shown
    assert "lab-02 was shown another key" in shown
    assert strange in shown
    assert "Forget" not in shown
    assert (
        press(world.browser("operator"), "/settings/host-keys/forget", host="git.example").status_code == 403
    )
    admin = world.browser("admin")
    press(admin, "/settings/host-keys/forget", host="git.example")
    assert "git.example is forgotten" in toast(admin, PAGE)
    assert world.rows("host_keys") == []
    assert press(admin, "/settings/host-keys/forget", host="git.example").status_code == 404


# ---- webhooks


def test_a_webhook_shows_what_to_paste_once(world: World) -> None:
    project_id = project(world)
    checkout(world, project_id, git_worker(world))
    client = world.browser("operator")
    made = press(client, f"/projects/{project_id}/webhooks")
    [hook] = world.rows("webhooks")
    assert f"http://localhost/api/v1/hooks/{hook['id']}" in made.text
    assert SECRET.search(made.text)
    page = client.get(f"/projects/{project_id}")
    assert f"/api/v1/hooks/{hook['id']}" in page.text
    assert "never called yet" in text_of(page)
    assert not SECRET.search(page.text)
    assert "Add a webhook" not in text_of(world.browser("viewer").get(f"/projects/{project_id}"))
    press(client, f"/projects/{project_id}/webhooks/{hook['id']}/delete")
    assert world.rows("webhooks") == []


def test_whoever_looks_sees_webhooks_and_their_calls_come(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    hook, viewer = hooked(world), world.browser("viewer")
    found = re.search(r'"(/live\?view=project[^"]*)"', viewer.get(f"/projects/{hook.project_id}").text)
    assert found
    live = unescape(found[1])
    before = viewer.get(live).text
    assert f"http://localhost/api/v1/hooks/{hook.id}" in before
    assert "never called yet" in before
    woken: list[str] = []
    monkeypatch.setattr(bus, "wake", lambda *topics: woken.extend(topics))
    assert hook.call(X_GitHub_Event="ping").status_code == 200
    assert project_topic(hook.project_id) in woken, "a call that pulls nothing is news, too"
    assert "Pong: the webhook works." in viewer.get(live).text
    bare = viewer.get(f"/live?view=project&project={hook.project_id}").text
    assert f'<code class="small">/api/v1/hooks/{hook.id}</code>' in bare


def test_deliveries_stand_on_the_projects_page_as_text(world: World) -> None:
    hook = hooked(world)
    hook.call({"ref": "refs/heads/<img src=x>", "repository": {"default_branch": "main"}}, "<b>1</b>")
    page = world.browser("viewer").get(f"/projects/{hook.project_id}")
    assert "A push to <img src=x>; this project follows main." in unescape(page.text)
    assert "<img src=x>" not in page.text
    assert "<b>1</b>" not in page.text


# ---- all of it


def test_these_pages_are_valid_empty_full_and_with_errors(world: World) -> None:
    admin = world.browser("admin")
    found = {"empty": admin.get(PAGE)}
    hook = hooked(world)
    hook.call()
    made = press(admin, PAGE, PAGE, kind="made", name="key", host="git.example")
    found["made"] = admin.get(made.location)
    store(admin, project_id=hook.project_id)
    learn(world, world.worker("lab-03"), f"git.example {public()}")
    learn(world, world.worker("lab-04"), f"git.example {public()}")
    found["full"] = admin.get(PAGE)
    found["full, for a viewer"] = world.browser("viewer").get(PAGE)
    found["errors"] = press(admin, PAGE, PAGE, kind="ssh", name="", host="-", private_key="x")
    found["project"] = admin.get(f"/projects/{hook.project_id}")
    found["new webhook"] = press(admin, f"/projects/{hook.project_id}/webhooks")
    assert [f"{name}: {each}" for name, answer in found.items() for each in problems(answer.text)] == []
