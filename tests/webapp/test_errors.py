"""What goes wrong is said as a problem document, and health says whether the server can serve."""

from __future__ import annotations

import inspect
import re
from collections.abc import Callable, Iterator
from typing import Any, cast

import pytest

from tests.webapp.test_every_route import Everybody, Route
from tests.world import World, problem
from webapp.api.documented import Documented
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
        assert "/api/v1/openapi.json" in problem(client.get(path), 404, "not-found")["detail"]


def test_a_wrong_method_is_a_405_that_names_the_right_ones(world: World) -> None:
    answer = world.app.test_client().delete("/api/v1/tasks")
    body = problem(answer, 405, "method-not-allowed")
    assert "Use GET, POST." in body["detail"]
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


# ---- each kind of error, at every route of the API


class Walk:
    """Calls every route with the key that it wants. Each refusal must be a problem document whose id is in the log."""

    def __init__(self, world: World, caplog: pytest.LogCaptureFixture) -> None:
        caplog.set_level("INFO", "webapp")
        self.everybody, self.caplog = Everybody(world), caplog
        self.routes = [
            route
            for route in self.everybody.routes()
            if route.path.startswith("/api/v1/") and not route.is_agent_socket
        ]
        self.with_a_body = [
            route for route in self.routes if self.says(route).bodies and route.method != "GET"
        ]
        assert len(self.with_a_body) >= 10

    def says(self, route: Route) -> Documented:
        views = self.everybody.world.app.view_functions
        endpoint, _ = self.everybody.world.app.url_map.bind("").match(route.path, method=route.method)
        return cast(Documented, getattr(inspect.unwrap(views[endpoint]), "documented"))  # noqa: B009

    def call(self, route: Route, method: str = "", **said: Any) -> Any:
        world, guard = self.everybody.world, route.guard.partition(":")[0]
        headers = dict(self.everybody.worker.headers) if guard == "worker" else {}
        if guard in ("token", "either"):
            headers["Authorization"] = f"Bearer {world.api_token('admin')}"
        return world.app.test_client().open(
            route.path, method=method or route.method, headers={**headers, **said.pop("headers", {})}, **said
        )

    def refused(self, answer: Any, status: int, slug: str) -> dict[str, Any]:
        body = problem(answer, status, slug)
        found = [
            record for record in self.caplog.records if getattr(record, "error_id", "") == body["error_id"]
        ]
        assert found, "its id isn't in the log"
        return body


@pytest.fixture
def walk(world: World, caplog: pytest.LogCaptureFixture) -> Walk:
    return Walk(world, caplog)


def test_a_wrong_method_at_every_path_says_which_are_right(walk: Walk) -> None:
    for path in {route.path for route in walk.routes}:
        [first, *others] = [route for route in walk.routes if route.path == path]
        body = walk.refused(walk.call(first, "PROPFIND"), 405, "method-not-allowed")
        for route in (first, *others):
            assert route.method in body["detail"], str(route)


def test_another_type_than_json_at_every_route_says_what_to_send(walk: Walk) -> None:
    for route in walk.with_a_body:
        for kind in ("text/plain", "application/x-www-form-urlencoded", "multipart/form-data; boundary=x"):
            answer = walk.call(route, data=b"tool=shell", headers={"Content-Type": kind})
            body = walk.refused(answer, 415, "wrong-type")
            assert "Content-Type: application/json" in body["detail"], str(route)


@pytest.mark.parametrize(
    ("sent", "word"),
    [
        (b'{"tool": ', "JSON"),
        (b"\xff\xfe", "JSON"),
        (b'[{"tool": "shell"}]', "object"),
        (b'"text"', "object"),
        (b"null", "object"),
        (b'{"n": NaN}', "NaN"),
        (b'{"n": 1e999}', "1e999"),
        (b'{"a": ' * 40 + b"1" + b"}" * 40, "levels"),
    ],
)
def test_a_body_that_is_no_json_object_at_every_route_says_so(walk: Walk, sent: bytes, word: str) -> None:
    for route in walk.with_a_body:
        answer = walk.call(route, data=sent, content_type="application/json")
        assert word in walk.refused(answer, 422, "invalid")["detail"], str(route)


def test_too_large_a_body_at_every_route_says_how_large_it_may_be(walk: Walk) -> None:
    sent = b'{"a": "' + b"x" * 5_000_000 + b'"}'
    for route in walk.with_a_body:
        answer = walk.call(route, data=sent, content_type="application/json")
        assert re.search(r"\d{5,} bytes", walk.refused(answer, 413, "too-large")["detail"]), str(route)


def test_a_bug_at_every_route_is_a_500_with_an_id_and_no_trace(
    walk: Walk, monkeypatch: pytest.MonkeyPatch
) -> None:
    def breaks() -> None:
        raise ZeroDivisionError("a secret detail")

    walk.everybody.world.app.before_request_funcs.setdefault(None, []).append(breaks)
    for route in walk.routes:
        answer = walk.call(route)
        assert walk.refused(answer, 500, "broken")["error_id"] in answer.json["detail"], str(route)
        assert "secret detail" not in answer.get_data(as_text=True)


def test_too_many_requests_at_every_route_say_when_to_come_again(
    new_world: Callable[..., World], caplog: pytest.LogCaptureFixture
) -> None:
    walk = Walk(new_world(), caplog)
    settings = walk.everybody.world.app.config["SETTINGS"]
    none_left = {"requests_per_minute": 0, "stranger_requests_per_minute": 0, "registrations_per_minute": 0}
    walk.everybody.world.app.config["SETTINGS"] = settings.model_copy(update=none_left)
    tried = 0
    for route in walk.routes:
        if route.guard == "worker":
            continue  # what holds a worker up is somebody's work
        answer = walk.call(route, json={"name": "x", "machine_id": "m" * 16, "nonce": "n" * 16})
        walk.refused(answer, 429, "too-many")
        assert int(answer.headers["Retry-After"]) >= 1, str(route)
        tried += 1
    assert tried >= 15


def test_what_a_person_typed_isnt_in_the_log(walk: Walk) -> None:
    walk.everybody.world.api("viewer", "GET", "/tasks?limit=typed-by-mistake")
    walk.everybody.world.submit(tool="typed-by-mistake")
    assert [record for record in walk.caplog.records if hasattr(record, "error_id")]
    assert "typed-by-mistake" not in repr([vars(record) for record in walk.caplog.records])


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
