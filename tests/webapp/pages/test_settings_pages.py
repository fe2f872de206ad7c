"""Settings: password, API tokens, members, join tokens, audit."""

from __future__ import annotations

import re
from collections.abc import Callable

import pytest

from tests.webapp.pages.forms import field_error, press, text_of, toast
from tests.world import PASSWORD, World

NEW_PASSWORD = "a horse of another colour"


def test_a_new_password_ends_the_other_sessions(world: World) -> None:
    mine, other = world.browser("viewer"), world.browser("viewer")
    answer = press(mine, "/settings/password", current=PASSWORD, new=NEW_PASSWORD)
    assert answer.location == "/settings"
    assert mine.get("/").status_code == 200
    assert other.get("/").status_code == 302


@pytest.mark.parametrize(
    ("current", "new", "field", "says"),
    [
        ("wrong", NEW_PASSWORD, "current", "isn’t your password"),
        (PASSWORD, "short", "new", "at least 10"),
        (PASSWORD, "viewer-viewer-viewer", "new", "may not contain the name"),
    ],
)
def test_a_wrong_one_changes_nothing(world: World, current: str, new: str, field: str, says: str) -> None:
    client, other = world.browser("viewer"), world.browser("viewer")
    answer = press(client, "/settings/password", current=current, new=new)
    assert answer.status_code == 422
    assert says in field_error(answer, field)
    assert other.get("/").status_code == 200


def test_an_api_token_is_shown_once_and_works_until_it_is_revoked(world: World) -> None:
    client = world.browser("operator")
    answer = press(client, "/settings/tokens", name="nightly", days="90")
    text = re.search(r"gst_\w{8}_[\w-]+", answer.text)
    assert text
    headers = {"Authorization": f"Bearer {text[0]}"}
    assert world.app.test_client().get("/api/v1/tasks", headers=headers).status_code == 200
    assert text[0] not in client.get("/settings/tokens").text
    press(client, f"/settings/tokens/{text[0][4:12]}/revoke")
    assert world.app.test_client().get("/api/v1/tasks", headers=headers).status_code == 401


def test_a_token_says_what_it_is_for(world: World) -> None:
    answer = press(world.browser("operator"), "/settings/tokens", name="  ", days="90")
    assert answer.status_code == 422
    assert "what it is for" in field_error(answer, "name")


def test_nobody_but_an_admin_sees_or_ends_others_tokens(world: World) -> None:
    key_id = world.api_token("admin")[4:12]
    operator = world.browser("operator")
    assert key_id not in operator.get("/settings/tokens").text
    assert press(operator, f"/settings/tokens/{key_id}/revoke").status_code == 404
    assert key_id in world.browser("admin").get("/settings/tokens").text


def test_a_new_member_gets_a_password_that_is_shown_once(world: World) -> None:
    admin = world.browser("admin")
    answer = press(admin, "/settings/members", name="mira", role="operator")
    password = re.search(r'<code id="password">(.*?)</code>', answer.text)
    assert password
    client = world.browser()
    token = re.search(r'csrf_token" value="([^"]+)"', client.get("/login").text)
    assert token
    sent = {"csrf_token": token[1], "name": "mira", "password": password[1]}
    assert client.post("/login", data=sent).location == "/"
    assert client.get("/tasks").status_code == 200
    assert client.get("/settings/members").status_code == 403


@pytest.mark.parametrize(
    ("name", "status", "says"),
    [("Jo nas", 422, "small letters"), ("", 422, "small letters"), ("admin", 409, "already")],
)
def test_a_name_that_wont_do_is_said(world: World, name: str, status: int, says: str) -> None:
    answer = press(world.browser("admin"), "/settings/members", name=name, role="viewer")
    assert answer.status_code == status
    assert says in field_error(answer, "name")


def test_a_role_counts_from_the_next_click(world: World) -> None:
    admin, viewer = world.browser("admin"), world.browser("viewer")
    (member,) = [row for row in world.rows("members") if row["role"] == "viewer"]
    assert viewer.get("/tasks/new").status_code == 403
    press(admin, f"/settings/members/{member['id']}/role", role="operator")
    assert viewer.get("/tasks/new").status_code == 200
    assert press(admin, f"/settings/members/{member['id']}/role", role="emperor").status_code == 422


def test_who_is_removed_is_out_at_once(world: World) -> None:
    admin, viewer = world.browser("admin"), world.browser("viewer")
    (member,) = [row for row in world.rows("members") if row["role"] == "viewer"]
    press(admin, f"/settings/members/{member['id']}/remove")
    assert "Removed" in toast(admin, "/settings/members")
    assert viewer.get("/").status_code == 302


def test_the_last_admin_stays(world: World) -> None:
    admin = world.browser("admin")
    (member,) = world.rows("members")
    answer = press(admin, f"/settings/members/{member['id']}/remove")
    assert answer.status_code == 409
    assert "last admin" in text_of(answer)
    assert press(admin, f"/settings/members/{member['id']}/role", role="viewer").status_code == 409


def test_a_join_token_can_be_revoked(world: World) -> None:
    token = world.join_token()
    admin = world.browser("admin")
    assert f"gsj_{token[4:12]}…" in text_of(admin.get("/settings/join-tokens"))
    press(admin, f"/settings/join-tokens/{token[4:12]}/revoke")
    assert "No join tokens" in text_of(admin.get("/settings/join-tokens"))


def test_the_audit_log_says_who_what_and_from_where(world: World) -> None:
    worker = world.worker("lab-01")
    admin = world.browser("admin")
    press(admin, f"/workers/{worker.id}/change", name="attic", labels="", slots="2")
    words = text_of(admin.get("/settings/audit"))
    assert "attic worker.change admin 127.0.0.1 name lab-01 attic" in words


def test_its_older_entries_are_on_the_next_page(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("webapp.auth.settings_pages.AUDIT_PAGE", 2)
    admin = world.browser("admin")
    for name in ("one", "two", "three"):
        press(admin, "/settings/members", name=name, role="viewer")
    first = admin.get("/settings/audit")
    older = re.search(r'href="(/settings/audit\?after=[^"]+)"', first.text)
    assert older
    assert "three" in text_of(first)
    assert "three" not in text_of(admin.get(older[1]))
    assert "one" in text_of(admin.get(older[1]))


def test_everybody_sees_how_long_things_are_kept_and_what_changes_it(new_world: Callable[..., World]) -> None:
    world = new_world(retention_log_days=1, retention_task_days=90, retention_audit_days=0)
    words = text_of(world.browser("viewer").get("/settings/retention"))
    assert re.search(r"Logs .*? 1 day GSW_RETENTION_LOG_DAYS", words)
    assert re.search(r"Tasks .*? 90 days GSW_RETENTION_TASK_DAYS", words)
    assert re.search(r"Audit log .*? ever GSW_RETENTION_AUDIT_DAYS", words)
    assert (
        'href="/settings/retention" aria-current="page"'
        in world.browser("viewer").get("/settings/retention").text
    )


@pytest.mark.parametrize("page", ["members", "join-tokens", "audit"])
def test_these_are_for_admins(world: World, page: str) -> None:
    assert world.browser("approver").get(f"/settings/{page}").status_code == 403
    assert f'href="/settings/{page}"' not in world.browser("approver").get("/settings").text


def test_another_organisations_admin_changes_nothing_here(world: World) -> None:
    world.person("viewer")
    token = world.join_token()
    (member,) = [row for row in world.rows("members") if row["role"] == "viewer"]
    stranger = world.browser("admin", world.other_organisation())
    assert press(stranger, f"/settings/members/{member['id']}/remove").status_code == 404
    assert press(stranger, f"/settings/join-tokens/{token[4:12]}/revoke").status_code == 404
    assert "viewer" not in re.findall(r"Role of ([\w-]+)", stranger.get("/settings/members").text)
