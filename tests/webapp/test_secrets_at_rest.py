"""What is entrusted to the server can’t be read in its files."""

from __future__ import annotations

import sqlite3
from pathlib import Path

from tests.webapp.project_tasks import project
from tests.webapp.test_credentials import ED25519, KEY, TOKEN, made, online, pem
from tests.webapp.test_submit import at_rest
from tests.world import World
from webapp.extensions import db


def backup_of(world: World, path: Path) -> bytes:
    """What SQLite's own backup makes of the database."""
    source = sqlite3.connect(Path(world.app.instance_path) / "garageswarm.db")
    target = sqlite3.connect(path)
    source.backup(target)
    source.close()
    target.close()
    return path.read_bytes()


def test_no_secret_is_readable_in_the_database_its_log_or_a_backup(world: World, tmp_path: Path) -> None:
    online(world)
    world.queued_task(input={"script": "echo what-isnt-secret"})
    text = pem(ED25519)
    made(world)
    made(world, wish=KEY, private_key=text)
    secret = world.api("operator", "POST", f"/projects/{project(world)}/webhooks").json["secret"]
    found = at_rest(world)
    with world.app.app_context():
        if db.engine.dialect.name == "sqlite":
            found += backup_of(world, tmp_path / "backup.db")
    for line in (TOKEN["token"], secret, *text.splitlines()[1:-1]):
        assert line.encode() not in found
