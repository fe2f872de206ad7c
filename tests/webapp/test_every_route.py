"""A walk over the URL map: every route carries one guard, and answers everybody as that guard says.

New routes are covered by themselves; one with a new kind of id in its path says here what stands for it.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any, cast

import pytest
from flask.testing import FlaskClient

from tests.projects import cloned, git_worker
from tests.world import WorkerOf, World
from webapp.auth.rules import ROLES, Role

NO_SUCH = "00000000-0000-7000-8000-000000000000"
GUARD = re.compile(rf"public|worker|(user|token|either):({'|'.join(ROLES)})")
CSRF = re.compile(r'name="csrf_token"[^>]*value="([^"]+)"')
CREDENTIAL = {"name": "deploy", "kind": "token", "host": "git.example", "token": "t-0123"}
# Refused before the upgrade; further a test's client doesn't get.
SOCKETS = {"/ws/page"}
AGENT_SOCKETS = ("/api/v1/agents/control", "/ws/worker/")
UPGRADE = {"Upgrade": "websocket", "Connection": "Upgrade", "Origin": "http://localhost"}


@dataclass(frozen=True)
class Route:
    rule: str
    path: str
    method: str
    guard: str
    has_id: bool

    @property
    def is_api(self) -> bool:
        return self.path.startswith(("/api/", "/health/", "/ws/worker/")) and self.path != "/api/docs"

    @property
    def is_agent_socket(self) -> bool:
        return self.path.startswith(AGENT_SOCKETS)

    @property
    def role(self) -> Role:
        return cast(Role, self.guard.partition(":")[2])

    def __str__(self) -> str:
        return f"{self.method} {self.rule} ({self.guard})"


class Everybody:
    """A world with something behind every id, and one of each who may ask."""

    def __init__(self, world: World) -> None:
        self.world = world
        self.worker: WorkerOf = git_worker(world)
        project_id = cloned(world, self.worker)
        self.offer = world.running_task(self.worker)
        self.others = world.other_organisation()
        self.clients: dict[tuple[str, str | None], tuple[FlaskClient, str]] = {}
        world.person("operator")
        member = next(row for row in world.rows("members") if row["role"] == "operator")
        self.ids = {
            "worker_id": self.worker.id,
            "agent_id": self.worker.id,
            "name": "deploy",
            "task_id": self.offer["task_id"],
            "member_id": str(member["id"]),
            "key_id": world.join_token()[4:12],
            "project_id": project_id,
            "webhook_id": self._made(f"/projects/{project_id}/webhooks"),
            "credential_id": self._made("/credentials", **CREDENTIAL, project_id=project_id),
        }

    def _made(self, path: str, **body: Any) -> str:
        answer = self.world.api("admin", "POST", path, json=body)
        assert answer.status_code == 201, answer.json
        return str(answer.json["id"])

    def routes(self) -> list[Route]:
        found = []
        for rule in self.world.app.url_map.iter_rules():
            if rule.endpoint == "static":
                continue
            missing = set(rule.arguments) - set(self.ids)
            assert not missing, f"say what stands for {missing} in {rule.rule}"
            path = re.sub(r"<(?:\w+:)?(\w+)>", lambda match: self.ids[match[1]], rule.rule)
            guard = getattr(self.world.app.view_functions[rule.endpoint], "guard", None)
            assert guard is not None, f"{rule.rule} has no guard"
            for method in sorted((rule.methods or set()) - {"HEAD", "OPTIONS"}):
                found.append(Route(rule.rule, path, method, guard, bool(rule.arguments)))
        return found

    def page(self, route: Route, role: Role | None, organisation_id: str | None = None) -> Any:
        """As a browser, with the CSRF token of its own session."""
        client, csrf = self.browser(role, organisation_id)
        data = {"csrf_token": csrf} if route.method != "GET" else None
        return client.open(route.path, method=route.method, data=data)

    def browser(self, role: Role | None, organisation_id: str | None = None) -> tuple[FlaskClient, str]:
        key = (role or "nobody", organisation_id)
        if key not in self.clients:
            client = self.world.browser(role, organisation_id)
            token = CSRF.search(client.get("/settings" if role else "/login").get_data(as_text=True))
            assert token, "no page of theirs holds a CSRF token"
            self.clients[key] = (client, token[1])
        return self.clients[key]

    def program(self, route: Route, role: Role, organisation_id: str | None = None) -> Any:
        path = route.path.removeprefix("/api/v1")
        return self.world.api(
            role, route.method, path, organisation_id, json={} if route.method != "GET" else None
        )

    def agent(self, route: Route) -> Any:
        headers = {**self.worker.headers, "Authorization": f"Bearer {self.worker.key}"}
        headers |= UPGRADE if route.path in SOCKETS or route.is_agent_socket else {}
        return self.world.app.test_client().open(route.path, method=route.method, headers=headers, json={})

    def nobody(self, route: Route) -> Any:
        headers = UPGRADE if route.path in SOCKETS or route.is_agent_socket else {}
        body: Any = {} if route.is_api else None
        return self.world.app.test_client().open(route.path, method=route.method, json=body, headers=headers)


@pytest.fixture
def everybody(world: World) -> Everybody:
    return Everybody(world)


def guarded(everybody: Everybody, kind: str) -> Iterator[Route]:
    routes = [route for route in everybody.routes() if route.guard.startswith(kind)]
    assert routes
    return iter(routes)


def lower(role: Role) -> list[Role]:
    return list(ROLES[: ROLES.index(role)])


def test_every_route_carries_exactly_one_guard(everybody: Everybody) -> None:
    routes = everybody.routes()
    assert len(routes) >= 20
    for route in routes:
        assert GUARD.fullmatch(route.guard), str(route)
        if route.guard.startswith(("token", "either")) or route.guard == "worker":
            assert route.path.startswith(("/api/v1/", "/ws/worker/")), str(route)
        if route.guard.startswith("user"):
            assert not route.is_api, str(route)


def test_what_is_public_is_little_and_known(everybody: Everybody) -> None:
    public = {str(route) for route in everybody.routes() if route.guard == "public"}
    assert public <= {
        "GET /login (public)",
        "POST /login (public)",
        "GET /health/live (public)",
        "GET /health/ready (public)",
        "POST /api/v1/workers/register (public)",
        "GET /api/v1/openapi.json (public)",
        "GET /api/v1/agents/release (public)",
        "GET /agent.pyz (public)",
        "POST /api/v1/hooks/<webhook_id> (public)",
    }


def test_a_page_sends_nobody_to_the_sign_in_and_back(everybody: Everybody) -> None:
    for route in guarded(everybody, "user"):
        answer = everybody.nobody(route)
        if route.path in SOCKETS:
            assert answer.status_code == 401, str(route)
        elif route.method == "GET":
            assert answer.status_code == 302, str(route)
            assert answer.headers["Location"].startswith("/login?next=/"), str(route)
            fragment = everybody.world.app.test_client().get(route.path, headers={"HX-Request": "true"})
            assert fragment.status_code == 401, str(route)
        else:
            assert answer.status_code == 400, f"{route} without a CSRF token"
            assert everybody.page(route, None).status_code == 401, str(route)


def test_a_page_refuses_a_lower_role(everybody: Everybody) -> None:
    tried = 0
    for route in guarded(everybody, "user"):
        for role in lower(route.role):
            assert everybody.page(route, role).status_code == 403, f"{route} as {role}"
            tried += 1
    assert tried


def test_a_change_without_its_csrf_token_or_from_another_site_is_refused(everybody: Everybody) -> None:
    client, csrf = everybody.browser("admin")
    tried = 0
    with everybody.world.unchanged():
        for route in everybody.routes():
            if route.is_api or route.method == "GET":
                continue
            assert client.open(route.path, method=route.method).status_code == 400, str(route)
            wrong = client.open(route.path, method=route.method, data={"csrf_token": csrf + "x"})
            assert wrong.status_code == 400, str(route)
            for origin in (
                "https://evil.example",
                "null",
                "http://localhost:81",
                "http://localhost.evil.example",
            ):
                headers = {"Origin": origin}
                answer = client.open(
                    route.path, method=route.method, data={"csrf_token": csrf}, headers=headers
                )
                assert answer.status_code == 403, f"{route} from {origin}"
            tried += 1
    assert tried >= 10


def test_a_socket_from_another_site_or_from_nowhere_is_refused_before_the_upgrade(
    everybody: Everybody,
) -> None:
    client, _ = everybody.browser("admin")
    for origin in (
        "https://evil.example",
        "null",
        "http://localhost:81",
        "http://localhost.evil.example",
        None,
    ):
        headers = {**UPGRADE, "Origin": origin} if origin else {**UPGRADE, "Origin": ""}
        assert client.get("/ws/page?view=tasks", headers=headers).status_code == 403, origin


def test_a_page_hides_another_organisations_things(everybody: Everybody) -> None:
    tried = 0
    for route in guarded(everybody, "user"):
        if route.has_id:
            assert everybody.page(route, "admin", everybody.others).status_code == 404, str(route)
            tried += 1
    assert tried


def test_a_page_means_nothing_to_keys(everybody: Everybody) -> None:
    token = {"Authorization": f"Bearer {everybody.world.api_token('admin')}"}
    for route in guarded(everybody, "user"):
        if route.method == "GET":
            assert everybody.agent(route).status_code in (302, 401), str(route)
            more = UPGRADE if route.path in SOCKETS else {}
            answer = everybody.world.app.test_client().get(route.path, headers={**token, **more})
            assert answer.status_code in (302, 401), str(route)


def test_an_api_route_answers_everybody_as_its_guard_says(everybody: Everybody) -> None:
    for route in guarded(everybody, "token"):
        assert everybody.nobody(route).status_code == 401, str(route)
        assert everybody.agent(route).status_code == 401, str(route)
        for role in lower(route.role):
            assert everybody.program(route, role).status_code == 403, f"{route} as {role}"
        if route.has_id:
            assert everybody.program(route, "admin", everybody.others).status_code == 404, str(route)
        with everybody.world.browser("admin") as browser:
            assert browser.open(route.path, method=route.method, json={}).status_code == 401, str(route)


def test_an_agents_route_answers_a_worker_alone(everybody: Everybody) -> None:
    for route in guarded(everybody, "worker"):
        assert everybody.nobody(route).status_code == 401, str(route)
        token = {"Authorization": f"Bearer {everybody.world.api_token('admin')}"}
        more = UPGRADE if route.is_agent_socket else {}
        client = everybody.world.app.test_client()
        answer = client.open(route.path, method=route.method, headers={**token, **more}, json={})
        assert answer.status_code == 401, str(route)
        other = everybody.world.registered("pending").headers
        answer = client.open(route.path, method=route.method, headers={**other, **more}, json={})
        assert answer.status_code == 403, str(route)


def test_what_a_worker_and_people_may_ask_is_hidden_from_other_workers_and_organisations(
    everybody: Everybody,
) -> None:
    tried = 0
    for route in guarded(everybody, "either"):
        assert everybody.nobody(route).status_code == 401, str(route)
        assert everybody.agent(route).status_code == 200, str(route)
        assert everybody.program(route, route.role).status_code == 200, str(route)
        if route.has_id:
            tried += 1
            other = everybody.world.worker().headers
            answer = everybody.world.app.test_client().open(route.path, method=route.method, headers=other)
            # A worker's own path says that the key is another's; what else it names, it doesn't tell of.
            assert answer.status_code == (403 if "worker_id" in route.rule else 404), str(route)
            assert everybody.program(route, "admin", everybody.others).status_code == 404, str(route)
    assert tried


def test_who_may_is_let_in_everywhere(everybody: Everybody) -> None:
    """The other half: a walk that is refused everywhere would prove nothing. Last, because some of these end things."""
    for route in sorted(
        everybody.routes(), key=lambda route: (route.method != "GET", "remove" in route.path)
    ):
        if (
            route.path in SOCKETS
            or route.is_agent_socket
            or route.path == "/logout"
            or route.path.startswith("/api/v1/hooks/")  # public, and opened by a signature alone
            or route.method == "DELETE"
        ):
            continue
        if route.guard.startswith("user"):
            answer = everybody.page(route, route.role)
        elif route.guard.startswith("token"):
            # Acting on a task needs more than the guard says: who reads it is told 403, a stranger 404.
            is_act = route.method != "GET" and route.role == "viewer"
            answer = everybody.program(route, "operator" if is_act else route.role)
        elif route.guard == "worker":
            answer = everybody.agent(route)
        elif route.guard.startswith("either"):
            answer = everybody.program(route, route.role)
        else:
            answer = everybody.nobody(route) if route.is_api else everybody.page(route, None)
        refused = {401, 403} if (route.method, route.path) != ("POST", "/login") else {403}
        if route.guard == "worker" and answer.status_code == 403:
            assert answer.json["type"].endswith("worker-revoked"), str(route)  # by a route before this one
            continue
        assert answer.status_code not in refused, f"{route}: {answer.status_code}"
        assert answer.status_code < 500, f"{route}: {answer.status_code}"
        if answer.status_code == 302:
            assert not answer.headers["Location"].startswith("/login?"), str(route)
