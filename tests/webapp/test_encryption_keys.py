"""Another encryption key: everything that is encrypted at rest comes under it, wherever it stands."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from tests.webapp.hooks import Hook, made
from tests.webapp.project_tasks import project
from tests.world import World
from webapp import instance, prepare, rekeying
from webapp.config import Settings, SettingsError
from webapp.security import Keyring

TOKEN = {"name": "deploy", "kind": "token", "host": "git.example", "token": "glpat-canary-7f3e"}


def secrets_of_every_kind(world: World) -> Hook:
    """One in each column that there is."""
    world.worker()
    world.queued_task(input={"script": "true", "env": {"TOKEN": "canary"}})
    assert world.api("admin", "POST", "/credentials", json=TOKEN).status_code == 201
    return made(world, project(world))


def ciphertexts(world: World) -> dict[str, str]:
    """{column: what is stored}, of every column that is encrypted."""
    with world.app.app_context():
        columns = rekeying.encrypted_columns()
    found = {}
    for column in columns:
        [value] = [row[column.name] for row in world.rows(column.table.name) if row[column.name]]
        found[f"{column.table.name}.{column.name}"] = str(value)
    return found


def rotate(world: World) -> Any:
    return world.app.test_cli_runner().invoke(args=["rotate-encryption-key"])


def test_everything_comes_under_the_new_key_and_the_old_one_isnt_needed(world: World) -> None:
    hook = secrets_of_every_kind(world)
    before = ciphertexts(world)
    assert set(before) >= {"tasks.secret_input", "credentials.secret", "webhooks.secret"}
    assert all(value.startswith("k1:") for value in before.values())
    said = rotate(world)
    assert (said.exit_code, said.output.splitlines()[-1]) == (0, "k2"), said.output
    assert f"anew: {len(before)}." in said.output
    assert all(value.startswith("k2:") for value in ciphertexts(world).values())
    keys = Path(world.app.instance_path) / "keys"
    assert (keys / "k2.key").stat().st_mode & 0o777 == 0o600
    (keys / "k1.key").unlink()
    world.app.extensions["keyring"] = Keyring(keys)
    assert hook.call().status_code == 200


def test_more_than_a_batch_is_brought_over(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(rekeying, "BATCH", 2)
    for number in range(5):
        world.api("admin", "POST", "/credentials", json={**TOKEN, "name": f"c{number}"})
    assert "anew: 5." in rotate(world).output
    assert "anew: 5." in rotate(world).output
    assert {row["secret"][:3] for row in world.rows("credentials")} == {"k3:"}


def test_while_a_server_runs_nothing_is_changed(world: World) -> None:
    secrets_of_every_kind(world)
    with instance.hold(Path(world.app.instance_path)), world.unchanged():
        said = rotate(world)
    assert said.exit_code == 1
    assert "Another server" in said.output
    assert not (Path(world.app.instance_path) / "keys" / "k2.key").exists()


def test_where_a_key_is_missing_that_is_said_by_name(world: World) -> None:
    secrets_of_every_kind(world)
    keys = Path(world.app.instance_path) / "keys"
    (keys / "k1.key").rename(keys / "k1.away")
    with world.unchanged():
        said = rotate(world)
    assert said.exit_code == 1
    assert "Key k1 is missing" in said.output
    assert list(keys.glob("*.key")) == []


def test_a_start_without_any_key_is_refused_whatever_is_encrypted(world: World) -> None:
    with world.app.app_context():
        assert {(column.table.name, column.name) for column in rekeying.encrypted_columns()} == set(
            prepare.ENCRYPTED
        )
    settings: Settings = world.app.config["SETTINGS"]
    (settings.instance_path / "keys" / "k1.key").rename(settings.instance_path / "k1.away")
    prepare._refuse_lost_keys(settings)
    (settings.instance_path / "k1.away").rename(settings.instance_path / "keys" / "k1.key")
    made(world, project(world))
    (settings.instance_path / "keys" / "k1.key").rename(settings.instance_path / "k1.away")
    with pytest.raises(SettingsError, match="Put the key files back"):
        prepare._refuse_lost_keys(settings)
