"""Signing in and out."""

from __future__ import annotations

import re
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from email.utils import parsedate_to_datetime

import pytest

from tests.webapp.pages.forms import csrf, press, text_of
from tests.world import PASSWORD, World


def sign_in(world: World, name: str, password: str, **fields: str) -> tuple[object, object]:
    client = world.browser()
    token = csrf(client, "/login")
    return client, client.post(
        "/login", data={"csrf_token": token, "name": name, "password": password, **fields}
    )


def test_the_right_password_opens_the_dashboard(world: World) -> None:
    world.person("viewer")
    client, answer = sign_in(world, "viewer", PASSWORD)
    assert answer.location == "/"
    assert "Dashboard" in client.get("/").text


def test_a_wrong_one_says_how_many_tries_are_left(new_world) -> None:
    world = new_world(login_tries=3)
    world.person("viewer")
    _, answer = sign_in(world, "viewer", "wrong password")
    assert answer.status_code == 401
    assert "Name or password is wrong. 2 tries left" in text_of(answer)
    assert 'value="viewer"' in answer.text


def test_an_unknown_name_is_answered_like_a_wrong_password(world: World) -> None:
    world.person("viewer")
    _, known = sign_in(world, "viewer", "wrong password")
    _, unknown = sign_in(world, "nobody", "wrong password")
    assert unknown.status_code == known.status_code
    assert text_of(unknown) == text_of(known)


def test_after_too_many_tries_the_right_password_waits_too(new_world) -> None:
    world = new_world(login_tries=2)
    world.person("viewer")
    for _ in range(2):
        sign_in(world, "viewer", "wrong password")
    _, answer = sign_in(world, "viewer", PASSWORD)
    assert answer.status_code == 429
    assert answer.headers["Retry-After"] == "900"
    assert "Wait 15 minutes" in text_of(answer)


def test_one_comes_back_to_the_page_that_was_asked_for(world: World) -> None:
    world.person("viewer")
    asked = world.browser().get("/tasks?status=failed")
    assert asked.location == "/login?next=/tasks?status%3Dfailed"
    _, answer = sign_in(world, "viewer", PASSWORD, next="/tasks?status=failed")
    assert answer.location == "/tasks?status=failed"


@pytest.mark.parametrize(
    "wanted",
    ["//evil.example", "/\\evil.example", "https://evil.example", "evil", "/\t/evil.example", "/login", ""],
)
def test_next_never_leads_to_another_site(world: World, wanted: str) -> None:
    world.person("viewer")
    _, answer = sign_in(world, "viewer", PASSWORD, next=wanted)
    assert answer.location == "/"


def test_what_the_browser_had_before_is_worth_nothing_after(world: World) -> None:
    """Session fixation: the cookie's content is new."""
    world.person("viewer")
    client = world.browser()
    csrf(client, "/login")
    with client.session_transaction() as session:
        session["planted"] = "by somebody else"
        session["sid"] = "known to somebody else"
    token = csrf(client, "/login")
    client.post("/login", data={"csrf_token": token, "name": "viewer", "password": PASSWORD})
    with client.session_transaction() as session:
        assert "planted" not in session
        assert session["sid"] != "known to somebody else"


def test_without_a_token_nobody_is_signed_in(world: World) -> None:
    """Login CSRF: somebody else's page can't sign a browser in under its own account."""
    world.person("viewer")
    answer = world.browser().post("/login", data={"name": "viewer", "password": PASSWORD})
    assert answer.status_code == 400
    assert "Load it again" in text_of(answer)


def test_from_another_site_nothing_is_taken(world: World) -> None:
    client = world.browser("viewer")
    token = csrf(client)
    answer = client.post("/logout", data={"csrf_token": token}, headers={"Origin": "https://evil.example"})
    assert answer.status_code == 403
    assert client.get("/").status_code == 200


def test_signing_out_ends_the_cookie_for_good(world: World) -> None:
    client = world.browser("viewer")
    with client.session_transaction() as session:
        secret = session["sid"]
    assert press(client, "/logout").location == "/login"
    with client.session_transaction() as session:
        session["sid"] = secret
    assert client.get("/").status_code == 302


def test_an_answer_that_changes_nothing_of_the_session_sets_no_cookie(world: World) -> None:
    """A late one would put the old cookie over a newer one, and the toast in it would be lost."""
    client, _ = sign_in(world, world.person("viewer").name, PASSWORD)
    client.get("/settings")  # makes the token of its forms
    for path in ("/", "/tasks", "/live?view=tasks", "/static/app.css", "/settings"):
        with client.get(path) as answer:
            assert answer.status_code == 200
            assert "Set-Cookie" not in answer.headers, path


def test_the_cookie_lasts_as_long_as_the_sign_in(new_world: Callable[..., World]) -> None:
    world = new_world(session_days=90)
    _, answer = sign_in(world, world.person("viewer").name, PASSWORD)
    found = re.search(r"Expires=([^;]+)", answer.headers["Set-Cookie"])
    assert found
    assert parsedate_to_datetime(found[1]) - datetime.now(UTC) > timedelta(days=89)


def test_who_is_signed_in_already_goes_on(world: World) -> None:
    assert world.browser("viewer").get("/login?next=/workers").location == "/workers"
