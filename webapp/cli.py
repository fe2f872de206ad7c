"""`flask --app wsgi …`: what an admin does with a shell on the server. What they make is on the last line."""

import secrets

import click
from flask import Flask, current_app
from flask.cli import with_appcontext

from webapp import instance, rekeying, tls
from webapp.auth import service, tokens
from webapp.auth.actor import system
from webapp.auth.rules import ROLES, Role
from webapp.config import Settings, SettingsError
from webapp.errors import GarageError
from webapp.workers import join_tokens
from webapp.workers.rules import label_problem, parse_labels


def init_app(app: Flask) -> None:
    people = (create_user, create_token, create_join_token, reset_password)
    for command in (*people, renew_certificate, rotate_encryption_key):
        app.cli.add_command(command)


class _Ours(click.ClickException):
    def __init__(self, error: GarageError) -> None:
        super().__init__(error.detail)


def new_password() -> str:
    return secrets.token_urlsafe(15)


@click.command("create-user")
@click.argument("name")
@click.option("--role", type=click.Choice(ROLES), default="operator", show_default=True)
@click.option("--password", help="Made up and printed when left out.")
def create_user(name: str, role: Role, password: str | None) -> None:
    """Add a person; print the password."""
    made = password or new_password()
    try:
        service.add_member(system(service.default_organisation_id()), name, made, role)
    except GarageError as error:
        raise _Ours(error) from error
    click.echo(f"{name} may sign in as {role}. The password:\n{made}")


@click.command("create-token")
@click.argument("user")
@click.option("--name", default="made on the command line", show_default=True)
def create_token(user: str, name: str) -> None:
    """Make an API token that acts as USER; print it."""
    try:
        text = tokens.create_for(system(service.default_organisation_id()), user, name)
    except GarageError as error:
        raise _Ours(error) from error
    click.echo(f"An API token of {user}. It is shown only now:\n{text}")


@click.command("create-join-token")
@click.option("--uses", type=int, default=1, show_default=True, help="0 for any number.")
@click.option("--hours", type=float, default=24, show_default=True, help="0 for ever.")
@click.option("--label", "labels", multiple=True, metavar="KEY=VALUE")
@click.option("--slots", type=int, help="Left out: as many as each agent says.")
@click.option("--approve/--no-approve", default=True, help="Whether its workers need no admin's approval.")
@click.option("--name", default="made on the command line", show_default=True)
def create_join_token(
    uses: int, hours: float, labels: tuple[str, ...], slots: int | None, approve: bool, name: str
) -> None:
    """Make a token with which machines join without waiting for approval; print it."""
    found = {key: value or "" for key, value in parse_labels(" ".join(labels)).items()}
    if problem := label_problem(found):
        raise click.ClickException(problem)
    try:
        actor = system(service.default_organisation_id())
        text = join_tokens.create(
            actor, name, uses or None, hours or None, found, slots=slots, approves=approve
        )
    except GarageError as error:
        raise _Ours(error) from error
    click.echo(f"A join token. It is shown only now:\n{text}")


@click.command("reset-password")
@click.argument("name")
@click.option("--password", help="Made up and printed when left out.")
def reset_password(name: str, password: str | None) -> None:
    """Give a person a new password, end their sessions; print it."""
    made = password or new_password()
    try:
        service.reset_password(system(service.default_organisation_id()), name, made)
    except GarageError as error:
        raise _Ours(error) from error
    click.echo(f"The new password of {name}:\n{made}")


@click.command("renew-certificate")
@with_appcontext
def renew_certificate() -> None:
    """Make a new certificate for TLS=self; print its fingerprint.

    The server shows it from its next start on, and every agent has to be told: --pin with the new fingerprint.
    """
    settings: Settings = current_app.config["SETTINGS"]
    if settings.tls != "self" or settings.certificate_files is None:
        raise click.ClickException("The server makes a certificate of its own only with TLS=self.")
    try:
        tls.make(settings, *settings.certificate_files)
        made = tls.fingerprint(settings.certificate_files[0])
    except SettingsError as error:
        raise click.ClickException(str(error)) from error
    click.echo(
        f"A new certificate. Restart the server, and start each agent once with --pin and this:\n{made}"
    )


@click.command("rotate-encryption-key")
@with_appcontext
def rotate_encryption_key() -> None:
    """Make a new key for secrets at rest and encrypt all of them with it; print its id. The server must be stopped.

    Older keys stay in the folder: backups from before need them.
    """
    settings: Settings = current_app.config["SETTINGS"]
    try:
        with instance.hold(settings.instance_path):
            done = rekeying.rotate()
    except (SettingsError, GarageError) as error:
        raise click.ClickException(str(error)) from error
    click.echo(f"Secrets encrypted anew: {done.count}. The key, which belongs in your backup:\n{done.key_id}")
