"""200 workers and 100,000 tasks: pages stay small, and take few queries."""

from __future__ import annotations

import random
from collections.abc import Callable

import pytest
from sqlalchemy import insert

from tests.webapp.pages.test_workers import METRICS, rows
from tests.webapp.test_throughput import ended_tasks
from tests.world import World, later
from webapp.database import new_id, release, transaction
from webapp.workers import presence
from webapp.workers.models import Worker
from webapp.workers.schemas import Metrics

WORKERS, TASKS = 200, 100_000
KB = 1000


def workers(world: World, count: int) -> list[str]:
    """Rows as registration leaves them, each seen an hour long."""
    ids = [new_id() for _ in range(count)]
    with world.app.app_context(), transaction() as session:
        session.execute(insert(Worker), [_row(world, key, number) for number, key in enumerate(ids)])
    for _ in range(presence.SAMPLES):
        later(60)
        for key in ids:
            seen = presence.seen(key, "192.0.2.7")
            seen.metrics = Metrics.model_validate({**METRICS, "cpu_percent": random.uniform(0, 100)})
            seen.samples.append((seen.seen_at, seen.metrics))
    return ids


def _row(world: World, key: str, number: int) -> dict[str, object]:
    name = f"rack-{number:03d}"
    return {
        "id": key,
        "organisation_id": world.organisation_id,
        "name": name,
        "status": "approved",
        "code": "AAA-AAA",
        "hostname": name,
        "platform": "Debian GNU/Linux 12, x86_64",
        "agent_version": "0.1.0",
        "machine_id": name,
        "nonce_digest": name,
        "agent_labels": {"os": "linux", "arch": "x86_64", "site": f"rack{number % 7}"},
        "tools": ["shell", "git", "terraform"],
        "slots": 4,
    }


@pytest.fixture
def forget_them() -> object:
    yield
    presence._presences.clear()


@pytest.mark.slow
@pytest.mark.usefixtures("forget_them")
@pytest.mark.parametrize("new_settings", ["sqlite"], indirect=True)
def test_pages_stay_small_and_take_few_queries(new_world: Callable[..., World]) -> None:
    world = new_world()
    ids = workers(world, WORKERS)
    chance = random.Random(3)
    for worker_id in ids[:4]:
        tasks = (
            {"ago_s": chance.uniform(0, 6 * 86400), "took_s": chance.lognormvariate(3, 1)}
            for _ in range(TASKS // 4)
        )
        ended_tasks(world, *tasks, worker_id=worker_id)
    world.worker("brings the tools")
    for _ in range(20):
        world.queued_task(labels={"gpu": "none-has-this"})
    client = world.browser("admin")
    for path, most_queries, most_bytes in (
        ("/", 16, 60 * KB),
        ("/?over=week", 16, 60 * KB),
        ("/workers", 8, 80 * KB),
        (f"/workers/{ids[0]}", 20, 60 * KB),
    ):
        client.get(path)  # hours that are over are counted once
        with world.statements() as said:
            page = client.get(path)
        assert page.status_code == 200
        assert len(said) <= most_queries, (path, len(said), said)
        assert len(page.data) <= most_bytes, (path, len(page.data))
    with world.app.app_context():
        release()


@pytest.mark.usefixtures("forget_them")
@pytest.mark.parametrize("new_settings", ["sqlite"], indirect=True)
def test_many_workers_come_in_pages_that_keep_the_filter(world: World) -> None:
    workers(world, 100)
    client = world.browser("viewer")
    first = client.get("/workers?label=os%3Dlinux")
    assert rows(first) == [f"rack-{number:03d}" for number in range(30)]
    assert 'id="page-next" href="/workers?label=os%3Dlinux&amp;page=2"' in first.text
    assert "page-before" not in first.text
    last = client.get("/workers?label=os%3Dlinux&page=4")
    assert rows(last) == [f"rack-{number:03d}" for number in range(90, 100)]
    assert "page-next" not in last.text
    assert rows(client.get("/workers?page=99")) == rows(client.get("/workers?page=4"))
    for strange in ("0", "-1", "x", "1.5", "²"):
        assert rows(client.get("/workers", query_string={"page": strange}))[0] == "rack-000"
