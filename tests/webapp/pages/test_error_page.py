"""The page for when something went wrong, which must not go wrong itself."""

from __future__ import annotations

import pytest
from sqlalchemy.exc import OperationalError

from tests.webapp.pages.forms import text_of
from tests.world import World
from webapp.auth import sessions


def test_a_page_that_isnt_there_says_so_and_leads_back(world: World) -> None:
    answer = world.browser("viewer").get("/nope")
    assert answer.status_code == 404
    assert "There is nothing here" in text_of(answer)
    assert 'href="/"' in answer.text


def test_nobody_has_to_be_signed_in_for_it(world: World) -> None:
    assert world.browser().get("/nope").status_code == 404


def test_a_wrong_way_is_refused_with_the_right_ones(world: World) -> None:
    answer = world.browser("viewer").put("/tasks")
    assert answer.status_code in (400, 405)


def test_a_bug_shows_an_id_and_nothing_of_the_program(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    client = world.browser("viewer")
    monkeypatch.setattr("webapp.tasks.listing.tasks", lambda *_: 1 / 0)
    answer = client.get("/tasks")
    assert answer.status_code == 500
    assert "Something broke here. Look for" in text_of(answer)
    assert "ZeroDivision" not in answer.text
    assert "Traceback" not in answer.text


def test_without_a_database_it_still_renders(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    client = world.browser("viewer")

    def gone(*_: object) -> None:
        raise OperationalError("SELECT 1", {}, Exception("connection refused"))

    monkeypatch.setattr(sessions, "actor_of", gone)
    answer = client.get("/tasks")
    assert answer.status_code == 503
    assert "The database doesn't answer" in text_of(answer)


def test_whose_session_has_ended_is_told_so_where_a_redirect_would_lose_the_form(world: World) -> None:
    answer = world.browser().get("/live?view=tasks", headers={"HX-Request": "true"})
    assert answer.status_code == 401
    assert "Sign in again" in text_of(answer)
