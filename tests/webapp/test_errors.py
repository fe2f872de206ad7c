"""What goes wrong is said as a problem document, and health says whether the server can serve."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from tests.world import World, problem
from webapp.extensions import db
from webapp.live.bus import bus


def test_an_unknown_path_of_the_api_is_a_404_problem(world: World) -> None:
    client = world.app.test_client()
    for path in (
        "/api/v1/nothing",
        "/api/",
        "/api/v2/tasks",
        "/api/v1/tasks/nonsense",
        "/api/v1/tasks/../../etc",
    ):
        problem(client.get(path), 404, "not-found")


def test_a_wrong_method_is_a_405_that_names_the_right_ones(world: World) -> None:
    answer = world.app.test_client().delete("/api/v1/tasks")
    problem(answer, 405, "method-not-allowed")
    assert {"GET", "POST"} <= set(answer.headers["Allow"].split(", "))


def test_a_body_that_is_too_large_is_a_413_problem(world: World) -> None:
    headers = {"Authorization": f"Bearer {world.api_token('operator')}"}
    answer = world.app.test_client().post("/api/v1/tasks", data=b"x" * 3_000_000, headers=headers)
    problem(answer, 413, "too-large")


def test_a_bug_of_ours_shows_an_id_that_the_log_has_and_no_trace(
    world: World, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    def breaks(*_: object, **__: object) -> None:
        raise ZeroDivisionError("a secret detail")

    world.api_token("viewer")
    monkeypatch.setattr("webapp.tasks.listing.tasks", breaks)
    answer = world.api("viewer", "GET", "/tasks")
    body = problem(answer, 500, "broken")
    assert len(body["error_id"]) >= 8
    assert body["error_id"] in body["detail"]
    [record] = [record for record in caplog.records if getattr(record, "error_id", None) == body["error_id"]]
    assert record.exc_info
    for word in ("secret detail", "ZeroDivision", "Traceback", ".py"):
        assert word not in answer.get_data(as_text=True)
    monkeypatch.undo()
    assert world.api("viewer", "GET", "/tasks").status_code == 200, "the next request works"


def test_every_answer_carries_the_headers_that_protect_it(world: World) -> None:
    client = world.app.test_client()
    for path in ("/api/v1/tasks", "/health/live", "/nowhere"):
        headers = client.get(path).headers
        assert "default-src 'none'" in headers["Content-Security-Policy"]
        assert "unsafe" not in headers["Content-Security-Policy"]
        assert headers["X-Content-Type-Options"] == "nosniff"
        assert headers["X-Frame-Options"] == "DENY"
        assert headers["Cache-Control"] == "no-store"


@pytest.fixture
def stopping() -> Iterator[None]:
    bus.stopping.set()
    yield
    bus.stopping.clear()


def test_a_server_that_works_is_live_and_ready(world: World) -> None:
    for path in ("/health/live", "/health/ready"):
        answer = world.app.test_client().get(path)
        assert (answer.status_code, answer.json) == (200, {"status": "ok"})


def test_a_server_that_stops_is_live_but_not_ready(world: World, stopping: None) -> None:
    assert world.app.test_client().get("/health/live").status_code == 200
    problem(world.app.test_client().get("/health/ready"), 503, "unavailable")


def test_a_database_of_another_version_isnt_ready_and_says_what_to_run(world: World) -> None:
    with world.app.app_context():
        with db.engine.connect().execution_options(write=True) as connection, connection.begin():
            connection.exec_driver_sql("UPDATE alembic_version SET version_num = '0000'")
        db.session.remove()
    body = problem(world.app.test_client().get("/health/ready"), 503, "unavailable")
    assert "db upgrade" in body["detail"]
    assert world.app.test_client().get("/health/live").status_code == 200
