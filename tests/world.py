"""A control plane in this process, and verbs that bring it into a state: what tests say instead of set-up."""

from __future__ import annotations

import hashlib
import secrets
import shutil
import threading
from collections.abc import Callable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import timedelta
from functools import cache
from pathlib import Path
from typing import Any, TypeVar

from argon2 import PasswordHasher
from flask import Flask
from flask.testing import FlaskClient
from flask_migrate import upgrade
from sqlalchemy import event, select

from webapp import clock, config, create_app
from webapp.auth import service, sessions, tokens
from webapp.auth.actor import Actor, system
from webapp.auth.models import Member, Organisation, User
from webapp.auth.rules import Role
from webapp.database import release, transaction
from webapp.extensions import db
from webapp.tasks import lost
from webapp.workers import join_tokens
from webapp.workers import sync as long_poll
from webapp.workers.rules import PROTOCOL

T = TypeVar("T")
PASSWORD = "correct horse battery"

# What a real agent declares of these two, in short.
TOOLS = [
    {
        "name": "shell",
        "version": 1,
        "title": "Shell",
        "description": "Run a script.",
        "schema": {
            "type": "object",
            "properties": {
                "script": {"type": "string", "maxLength": 262144, "x-widget": "textarea"},
                "argv": {"type": "array", "items": {"type": "string"}, "minItems": 1, "x-widget": "lines"},
                "env": {"type": "object", "additionalProperties": {"type": "string"}, "x-secret": True},
            },
            "additionalProperties": False,
            "oneOf": [{"required": ["script"]}, {"required": ["argv"]}],
        },
    },
    {
        "name": "noop",
        "version": 1,
        "title": "No-op",
        "schema": {"type": "object", "additionalProperties": True},
    },
]


@cache
def password_hash() -> str:
    """argon2 is slow on purpose, for who makes a hash and for everybody who checks it: thousands of sign-ins here."""
    return PasswordHasher(time_cost=1, memory_cost=8, parallelism=1).hash(PASSWORD)


def migrate(settings: config.Settings) -> None:
    """Bring a database to the newest schema, leaving no connection open."""
    app = create_app(settings)
    with app.app_context():
        upgrade()
        release()
        db.engine.dispose()


def settings_for(folder: Path, database_url: str = "", **changes: Any) -> config.Settings:
    """A test asks for more within a minute than people do."""
    changes = {"requests_per_minute": 1_000_000, "stranger_requests_per_minute": 1_000_000, **changes}
    return config.Settings(instance_path=folder, database_url=database_url, **changes)


def later(seconds: float) -> None:
    """Move the clock, the database's included."""
    clock.shift(timedelta(seconds=seconds))


def at_once(*actions: Callable[[], T]) -> list[T]:
    """Do these in threads that start together; their results, in order."""
    barrier = threading.Barrier(len(actions))

    def run(action: Callable[[], T]) -> T:
        barrier.wait(30)
        return action()

    with ThreadPoolExecutor(len(actions)) as pool:
        return [future.result(50) for future in [pool.submit(run, action) for action in actions]]


def until(is_true: Callable[[], Any], seconds: float = 30) -> None:
    """Wait for what another thread is about to do; fails the test when it doesn't."""
    pause, left = threading.Event(), seconds
    while not is_true():
        assert left > 0, "it didn't happen"
        pause.wait(0.005)
        left -= 0.005


def problem(answer: Any, status: int, slug: str) -> dict[str, Any]:
    """The answer is this error as a problem document (RFC 9457). Returns it."""
    assert answer.status_code == status, (answer.status_code, answer.get_data(as_text=True)[:500])
    assert answer.content_type == "application/problem+json"
    body = dict(answer.json)
    assert body["type"] == f"urn:garageswarm:error:{slug}", body
    assert body["status"] == status
    assert body["title"]
    assert body["detail"]
    return body


@dataclass
class WorkerOf:
    """A worker as its agent knows itself. Calls the API with its key."""

    world: World
    id: str
    key: str
    code: str
    slots: int = 2

    @property
    def headers(self) -> dict[str, str]:
        return {"X-Worker-API-Key": self.key}

    def call(self, method: str, path: str, **kwargs: Any) -> Any:
        kwargs["headers"] = {**self.headers, **kwargs.get("headers", {})}
        return self.world.app.test_client().open(f"/api/v1{path}", method=method, **kwargs)

    def sync(self, held: list[str] | None = None, **said: Any) -> Any:
        body = {
            "session_id": "s1",
            "boot_id": "b1",
            "slots": self.slots,
            "held": held or [],
            "wait_s": 0,
            **said,
        }
        return self.call("POST", f"/workers/{self.id}/sync", json=body)

    def wait(self, held: list[str] | None = None, wait_s: float = 20, **said: Any) -> Future[Any]:
        """A sync that waits, in a thread. Returns when the call is parked (again, where one was)."""
        before = long_poll._parked.get(self.id)
        future: Future[Any] = Future()

        def run() -> None:
            try:
                future.set_result(self.sync(held, wait_s=wait_s, **said))
            except BaseException as error:  # noqa: BLE001 - the test's thread gets it
                future.set_exception(error)

        threading.Thread(target=run, daemon=True).start()
        until(lambda: future.done() or long_poll._parked.get(self.id) not in (None, before))
        return future

    def take(self) -> dict[str, Any]:
        """Sync, and be offered exactly one task."""
        offers = self.sync().json["offers"]
        assert len(offers) == 1, offers
        return dict(offers[0])

    def report(self, offer: dict[str, Any], status: str = "completed", **said: Any) -> Any:
        body = {
            "task_id": offer["task_id"],
            "attempt_id": offer["attempt_id"],
            "status": status,
            "execution_time_ms": 12,
            **said,
        }
        return self.call("POST", f"/workers/{self.id}/report-result", json=body)

    def send_log(self, offer: dict[str, Any], data: bytes, offset: int = 0, **headers: str) -> Any:
        sent = {
            "X-Log-Attempt": offer["attempt_id"],
            "X-Log-Offset": str(offset),
            "X-Log-Phase": "run",
            "X-Log-SHA256": hashlib.sha256(data).hexdigest(),
            "Content-Type": "application/octet-stream",
            **headers,
        }
        return self.call("POST", f"/agents/tasks/{offer['task_id']}/logs/chunk", data=data, headers=sent)


class World:
    """The app and whoever is in it. People are named after their role, in organisation `organisation_id`."""

    def __init__(self, app: Flask) -> None:
        self.app = app
        self._people: dict[tuple[str, str], Actor] = {}
        self._api_tokens: dict[tuple[str, str], str] = {}
        with app.app_context():
            self.organisation_id = service.default_organisation_id()
            release()

    # ---- people

    def person(self, role: Role, organisation_id: str | None = None) -> Actor:
        organisation_id = organisation_id or self.organisation_id
        key = (role, organisation_id)
        if key not in self._people:
            name = role if organisation_id == self.organisation_id else f"{role}-of-others"
            self._people[key] = self._add(name, role, organisation_id)
        return self._people[key]

    def named(self, role: Role, name: str) -> None:
        """Who has this role here has this name: for what people look at."""
        self._people[role, self.organisation_id] = self._add(name, role, self.organisation_id)

    def _add(self, name: str, role: Role, organisation_id: str) -> Actor:
        with self.app.app_context(), transaction() as session:
            user = User(name=name, password_hash=password_hash())
            session.add(user)
            session.flush()
            session.add(Member(organisation_id=organisation_id, user_id=user.id, role=role))
            return Actor("user", name, organisation_id, role, user.id)

    def other_organisation(self) -> str:
        with self.app.app_context(), transaction() as session:
            found = session.scalar(select(Organisation.id).where(Organisation.name == "Others"))
            if found is None:
                organisation = Organisation(name="Others")
                session.add(organisation)
                session.flush()
                found = organisation.id
            return found

    def browser(self, role: Role | None = None, organisation_id: str | None = None) -> FlaskClient:
        """A browser, signed in where a role is given. CSRF tokens are `csrf(client)`."""
        client = self.app.test_client()
        if role:
            actor = self.person(role, organisation_id)
            with self.app.app_context():
                secret = sessions.sign_in(actor.name, PASSWORD, "127.0.0.1", 1)
                release()
            with client.session_transaction() as session:
                session["sid"] = secret
        return client

    def api_token(self, role: Role, organisation_id: str | None = None) -> str:
        actor = self.person(role, organisation_id)
        key = (role, actor.organisation_id)
        if key not in self._api_tokens:
            with self.app.app_context():
                self._api_tokens[key] = tokens.create(actor, "tests")
                release()
        return self._api_tokens[key]

    def api(
        self, role: Role, method: str, path: str, organisation_id: str | None = None, **kwargs: Any
    ) -> Any:
        headers = {
            "Authorization": f"Bearer {self.api_token(role, organisation_id)}",
            **kwargs.pop("headers", {}),
        }
        return self.app.test_client().open(f"/api/v1{path}", method=method, headers=headers, **kwargs)

    # ---- workers and tasks

    def registered(self, name: str = "lab-01", **said: Any) -> WorkerOf:
        body = {
            "name": name,
            "hostname": name,
            "platform": "Debian 12, x86_64",
            "machine_id": secrets.token_hex(16),
            "nonce": secrets.token_hex(16),
            "agent_version": "0.1.0",
            "protocol": PROTOCOL,
            "labels": {},
            "tools": TOOLS,
            "slots": 2,
            "plan_limit": 1,
            **said,
        }
        answer: Any = self.app.test_client().post("/api/v1/workers/register", json=body)
        assert answer.status_code == 201, answer.json
        return WorkerOf(
            self, answer.json["worker_id"], answer.json["api_key"], answer.json["code"], body["slots"]
        )

    def worker(self, name: str = "lab-01", **said: Any) -> WorkerOf:
        """An approved one, which has introduced itself."""
        worker = self.registered(name, **said)
        assert self.api("admin", "POST", f"/workers/{worker.id}/approve").status_code == 200
        return worker

    def submit(self, role: Role = "operator", **wish: Any) -> Any:
        return self.api(role, "POST", "/tasks", json={"tool": "shell", "input": {"script": "true"}, **wish})

    def queued_task(self, **wish: Any) -> str:
        answer = self.submit(**wish)
        assert answer.status_code == 201, answer.json
        return str(answer.json["id"])

    def running_task(self, worker: WorkerOf, **wish: Any) -> dict[str, Any]:
        """A task that this worker shows in `held`. Returns its offer."""
        self.queued_task(**wish)
        offer = worker.take()
        assert worker.sync(held=[offer["attempt_id"]]).status_code == 200
        return offer

    def running_task_of(self, worker: WorkerOf, **said: Any) -> dict[str, Any]:
        """The same, where its agent says more of itself."""
        self.queued_task()
        [offer] = worker.sync(**said).json["offers"]
        assert worker.sync(held=[offer["attempt_id"]], **said).status_code == 200
        return dict(offer)

    def task(self, task_id: str, role: Role = "viewer") -> dict[str, Any]:
        return dict(self.api(role, "GET", f"/tasks/{task_id}").json)

    def events(self, task_id: str) -> list[dict[str, Any]]:
        return list(self.api("viewer", "GET", f"/tasks/{task_id}/events").json["items"])

    def log_of(self, offer: dict[str, Any], **headers: str) -> Any:
        """Download an attempt's log."""
        path = f"/tasks/{offer['task_id']}/log?attempt={offer['attempt_id']}"
        return self.api("viewer", "GET", path, headers=headers)

    def join_token(self, uses: int | None = 1, hours: float | None = 24, **said: Any) -> str:
        actor = system(said.pop("organisation_id", self.organisation_id))
        with self.app.app_context():
            text = join_tokens.create(actor, "tests", uses, hours, **said)
            release()
        return text

    def end_lost(self) -> int:
        """What housekeeping does about silent workers."""
        settings = self.app.config["SETTINGS"]
        with self.app.app_context():
            count = lost.end_lost(settings.lease_s, settings.lost_after_s)
            release()
        return count

    # ---- what is stored

    def stored(self) -> dict[str, list[tuple[Any, ...]]]:
        """All rows of all tables, as the database has them."""
        with self.app.app_context(), db.engine.connect() as connection:
            return {
                table.name: sorted(
                    map(tuple, connection.exec_driver_sql(f'SELECT * FROM "{table.name}"')), key=repr
                )
                for table in db.metadata.sorted_tables
            }

    def rows(self, table: str) -> list[dict[str, Any]]:
        with self.app.app_context(), db.engine.connect() as connection:
            return [dict(row) for row in connection.exec_driver_sql(f'SELECT * FROM "{table}"').mappings()]

    def audited(self, action: str) -> list[dict[str, Any]]:
        """The audit log's entries about this, oldest first."""
        rows = [row for row in self.rows("audit_entries") if row["action"] == action]
        return sorted(rows, key=lambda row: str(row["id"]))

    @contextmanager
    def unchanged(self) -> Iterator[None]:
        """Nothing in here may leave anything in the database."""
        before = self.stored()
        yield
        after = self.stored()
        assert {name: rows for name, rows in after.items() if rows != before[name]} == {}

    @contextmanager
    def statements(self) -> Iterator[list[str]]:
        """Every statement that reaches the database in here."""
        with self.app.app_context():
            engine = db.engine
        said: list[str] = []

        def note(_c: Any, _cursor: Any, statement: str, *_: Any) -> None:
            said.append(statement)

        event.listen(engine, "before_cursor_execute", note)
        try:
            yield said
        finally:
            event.remove(engine, "before_cursor_execute", note)

    def as_system(self) -> Actor:
        return system(self.organisation_id)


def copy_of(template: Path, folder: Path) -> None:
    """A migrated, empty SQLite database in a new instance folder."""
    folder.mkdir(exist_ok=True)
    shutil.copy(template, folder / "garageswarm.db")
