"""Before a start: check the settings, migrate the database, make the first admin and the local agent's join token.

A process of its own, so that the supervisor that stays doesn't carry the whole app. Words for people go to stderr, one
JSON object for the supervisor to stdout.
"""

import json
import os
import socket
import sys
from pathlib import Path

from flask import Flask
from flask_migrate import upgrade
from sqlalchemy import Connection, column, create_engine, inspect, literal, select, table
from sqlalchemy.exc import SQLAlchemyError

from webapp import config, create_app, instance, tls
from webapp.auth import service
from webapp.auth.actor import system
from webapp.cli import new_password
from webapp.errors import GarageError
from webapp.workers import join_tokens

AGENT_JOINS_WITHIN_HOURS = 1.0


def main() -> int:
    os.umask(0o077)
    try:
        settings = config.load()
        _check_port(settings)
        _refuse_lost_keys(settings)
        app = create_app(settings)
        with instance.hold(settings.instance_path):
            tls.prepare(settings)
        with app.app_context():
            print(json.dumps(_prepare(app, settings)))
    except (config.SettingsError, GarageError) as error:
        print(f"GarageSwarm can't start: {error}", file=sys.stderr)
        return 2
    except SQLAlchemyError as error:
        print(f"GarageSwarm can't start: the database doesn't answer: {_first_line(error)}", file=sys.stderr)
        return 2
    return 0


def admin_password() -> int:
    """`make admin-password`: a new one for `admin`, printed on the last line."""
    try:
        app = create_app()
        with app.app_context():
            password = new_password()
            service.reset_password(system(service.default_organisation_id()), "admin", password)
    except (config.SettingsError, GarageError, SQLAlchemyError) as error:
        print(f"No new password: {_first_line(error)}", file=sys.stderr)
        return 2
    print(f"The new password of admin:\n{password}")
    return 0


def _prepare(app: Flask, settings: config.Settings) -> dict[str, object]:
    print("Migrating the database", file=sys.stderr)
    upgrade()
    password = None
    if not service.has_users():
        password = new_password()
        service.create_first_admin(password)
    agent_folder = settings.instance_path / "agent"
    return {
        "host": settings.host,
        "port": settings.port,
        **_certificate(settings),
        "instance": str(settings.instance_path),
        "password": password,
        "agent_folder": str(agent_folder),
        "join_token": None if (agent_folder / "identity.json").exists() else _local_join_token(),
    }


def _certificate(settings: config.Settings) -> dict[str, object]:
    if settings.certificate_files is None:
        return {"fingerprint": "", "is_self_signed": False}
    certificate, _ = settings.certificate_files
    return {"fingerprint": tls.fingerprint(certificate), "is_self_signed": tls.is_self_signed(certificate)}


def _local_join_token() -> str:
    """For the agent beside the server. A task there could read the server's own keys, so it serves admins only."""
    actor = system(service.default_organisation_id())
    return join_tokens.create(actor, "agent beside the server", 1, AGENT_JOINS_WITHIN_HOURS, admins_only=True)


# Asked before the app, with the models that know them, is there; a test compares.
ENCRYPTED = (("tasks", "secret_input"), ("credentials", "secret"), ("webhooks", "secret"))


def _refuse_lost_keys(settings: config.Settings) -> None:
    """A new key beside old ciphertext would hide that the old one is missing."""
    if any((settings.instance_path / "keys").glob("*.key")):
        return
    engine = create_engine(settings.database)
    if settings.is_sqlite and not Path(engine.url.database or "").exists():
        return  # the very first start: its folder isn't there yet either
    try:
        with engine.connect() as connection:
            if any(_holds_ciphertext(connection, *where) for where in ENCRYPTED):
                raise config.SettingsError(
                    f"{settings.instance_path / 'keys'} has no key, but the database holds what one encrypted. "
                    "Put the key files back."
                )
    finally:
        engine.dispose()


def _holds_ciphertext(connection: Connection, name: str, secret: str) -> bool:
    """A database from before such a table was made has none."""
    if not inspect(connection).has_table(name):
        return False
    query = select(literal(1)).select_from(table(name)).where(column(secret).is_not(None)).limit(1)
    return connection.scalar(query) is not None


def _check_port(settings: config.Settings) -> None:
    family = socket.AF_INET6 if ":" in settings.host else socket.AF_INET
    with socket.socket(family) as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind((settings.host, settings.port))
        except OSError as error:
            raise config.SettingsError(
                f"{settings.host}:{settings.port} can't be used: {error.strerror}. Set PORT (or HOST) to another one."
            ) from error


def _first_line(error: Exception) -> str:
    return str(error).strip().splitlines()[0]


if __name__ == "__main__":
    sys.exit(admin_password() if Path(sys.argv[-1]).name == "admin-password" else main())
