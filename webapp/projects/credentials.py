"""What opens private remotes: tokens for https and keys for ssh. Made and deleted by people, given to tasks alone.

A credential belongs to the organisation, for any project on its host, or to one project. Wherever one is named, for a
project or for a task's data, its host must be the URL's: an operator can't have it sent to a server of their own.
"""

from collections.abc import Sequence
from datetime import timedelta
from typing import TypedDict

from sqlalchemy import or_, select, update
from sqlalchemy.exc import IntegrityError
from sqlalchemy.orm import undefer

from webapp import clock
from webapp.auth import audit
from webapp.auth.actor import Actor
from webapp.auth.rules import Role
from webapp.database import transaction
from webapp.errors import Conflict, Forbidden, Invalid, NotFound
from webapp.extensions import db
from webapp.projects import hosts, ssh_keys
from webapp.projects.credential_schemas import NewCredential
from webapp.projects.models import Credential, Project
from webapp.projects.rules import CredentialKind

# A remote takes any name beside a token, but not none.
USERNAME = "git"
USUAL_PORTS: dict[CredentialKind, int] = {"token": 443, "ssh": 22}
SCHEMES: dict[CredentialKind, set[str]] = {"token": {"https", "http"}, "ssh": {"ssh"}}
USE_SAVED_EVERY = timedelta(minutes=1)


class Given(TypedDict):
    """What a task gets: in its data, and nowhere else."""

    kind: CredentialKind
    username: str
    secret: str


def create(actor: Actor, wish: NewCredential) -> Credential:
    """Store a credential of the organisation, or of the project that the wish names. Raises Invalid, Forbidden, Conflict.

    The project may be one that is made in the same transaction, before or after.
    """
    _refuse_role(actor, wish.project_id)
    host = hosts.typed_host(wish.host, USUAL_PORTS[wish.kind])
    if host is None:
        raise Invalid(
            "Give the host alone, as it stands in the URL: git.example, or git.example:8443.", "host"
        )
    secret, public_key = _token(wish) if wish.kind == "token" else _ssh_key(wish)
    made = Credential(
        organisation_id=actor.organisation_id,
        project_id=wish.project_id,
        name=wish.name,
        kind=wish.kind,
        host=host,
        username=wish.username or USERNAME,
        secret=secret,
        public_key=public_key,
        created_by=actor.name,
    )
    with transaction() as session:
        try:
            with session.begin_nested():
                session.add(made)
        except IntegrityError:
            words = f"There is a credential {wish.name} already. Choose another name, or delete that one."
            raise Conflict(words) from None
        after = {"kind": made.kind, "host": host, "project_id": made.project_id}
        audit.record(actor, "credential.create", made.name, made.id, after=after)
    return made


def check_project(actor: Actor, project_id: str | None) -> None:
    """A project that somebody names must be here. Raises Invalid."""
    if project_id is None:
        return
    query = select(Project.id).where(
        Project.id == project_id, Project.organisation_id == actor.organisation_id
    )
    if db.session.scalar(query) is None:
        raise Invalid("There is no such project here.", "project_id")


def _refuse_role(actor: Actor, project_id: str | None) -> None:
    needed: Role = "operator" if project_id else "admin"
    whose = "a project’s" if project_id else "the organisation’s"
    if not actor.may(needed):
        raise Forbidden(f"For {whose} credentials the role {needed} is needed; yours is {actor.role}.")


def _token(wish: NewCredential) -> tuple[str, None]:
    token = (wish.token or "").strip()
    if wish.private_key is not None:
        raise Invalid("A token has no private key: leave it out, or take the kind ssh.", "private_key")
    if not token:
        raise Invalid("Paste the token that the remote made.", "token")
    if not token.isascii() or not token.isprintable() or " " in token:
        raise Invalid("A token has no spaces, line ends or special characters. Copy it again.", "token")
    return token, None


def _ssh_key(wish: NewCredential) -> tuple[str, str]:
    if wish.token is not None:
        raise Invalid("An ssh key has no token: leave it out, or take the kind token.", "token")
    comment = f"garageswarm-{'-'.join(wish.name.split())}"
    if wish.private_key is None:
        return ssh_keys.made(comment)
    try:
        return ssh_keys.read_private(wish.private_key, comment)
    except ssh_keys.KeyRefused as error:
        raise Invalid(str(error), "private_key") from None


def typed(wish: NewCredential) -> Given:
    """What a task gets whose credential was typed in for it alone. Raises Invalid."""
    secret, _ = _token(wish) if wish.kind == "token" else _ssh_key(wish)
    return {"kind": wish.kind, "username": wish.username or USERNAME, "secret": secret}


# ---- which there are


def credential_for(actor: Actor, credential_id: str) -> Credential:
    query = select(Credential).where(
        Credential.id == credential_id, Credential.organisation_id == actor.organisation_id
    )
    found = db.session.scalar(query)
    if found is None:
        raise NotFound("There is no such credential here.")
    return found


def listed(organisation_id: str, after: str | None = None, limit: int | None = None) -> Sequence[Credential]:
    """Oldest first; with a limit, one more than that."""
    query = select(Credential).where(Credential.organisation_id == organisation_id)
    if after:
        query = query.where(Credential.id > after)
    return db.session.scalars(query.order_by(Credential.id).limit(limit and limit + 1)).all()


def project_paths(organisation_id: str) -> dict[str, str]:
    """{project: its path}, for choosing whose a credential is."""
    query = select(Project.id, Project.path).where(Project.organisation_id == organisation_id)
    return {row.id: row.path for row in db.session.execute(query.order_by(Project.path_key))}


def usable_for(actor: Actor, url: str, project_id: str | None = None) -> list[Credential]:
    """Those that may be chosen for this URL."""
    query = select(Credential).where(
        Credential.organisation_id == actor.organisation_id,
        or_(Credential.project_id.is_(None), Credential.project_id == project_id),
        Credential.host == hosts.host_of(url),
    )
    found = db.session.scalars(query.order_by(Credential.name, Credential.id))
    return [credential for credential in found if _fits(credential, url, project_id)]


def checked(actor: Actor, credential_id: str, url: str, project_id: str | None = None) -> Credential:
    """The credential, for a project or a task with this URL. Raises Invalid with what to do."""
    try:
        found = credential_for(actor, credential_id)
    except NotFound as error:
        raise Invalid(error.detail, "credential_id") from None
    if _fits(found, url, project_id):
        return found
    if found.project_id not in (None, project_id):
        words = f"The credential {found.name} belongs to another project."
    elif found.host != hosts.host_of(url):
        words = f"The credential {found.name} is for {found.host}, and this URL leads to {hosts.host_of(url) or 'no host'}."
    else:
        words = f"The credential {found.name} is {_in_words(found.kind)}, which this URL can’t use."
    raise Invalid(f"{words} Choose another one.", "credential_id")


def _fits(credential: Credential, url: str, project_id: str | None) -> bool:
    remote = hosts.remote_of(url)
    return (
        remote is not None
        and credential.project_id in (None, project_id)
        and credential.host == hosts.host_of(url)
        and remote.scheme in SCHEMES[credential.kind]
    )


def _in_words(kind: CredentialKind) -> str:
    return "a token for https" if kind == "token" else "an ssh key"


# ---- for tasks


def given(organisation_id: str, credential_id: str, url: str, project_id: str | None = None) -> Given | None:
    """What a task with this URL gets, when its data is made; None where the credential has gone or leads elsewhere.

    Raises KeyMissing where it can't be decrypted.
    """
    query = select(Credential).where(
        Credential.id == credential_id, Credential.organisation_id == organisation_id
    )
    found = db.session.scalar(query.options(undefer(Credential.secret)))
    if found is None or not _fits(found, url, project_id):
        return None
    _note_use(credential_id)
    return {"kind": found.kind, "username": found.username, "secret": found.secret}


def _note_use(credential_id: str) -> None:
    """By the minute: data is asked for again and again."""
    at = clock.now()
    is_news = or_(Credential.used_at.is_(None), Credential.used_at < at - USE_SAVED_EVERY)
    query = select(Credential.id).where(Credential.id == credential_id, is_news)
    if db.session.scalar(query):
        with transaction() as session:
            # Whoever has it locked notes the same, or deletes it: a sync with many offers waits for none of them.
            if session.scalar(query.with_for_update(skip_locked=True)):
                session.execute(update(Credential).where(Credential.id == credential_id).values(used_at=at))


# ---- their end


def projects_with(organisation_id: str, credential_ids: Sequence[str]) -> dict[str, list[Project]]:
    """The projects that lose each of these, when it is deleted."""
    query = select(Project).where(
        Project.organisation_id == organisation_id, Project.credential_id.in_(credential_ids)
    )
    found: dict[str, list[Project]] = {credential_id: [] for credential_id in credential_ids}
    for project in db.session.scalars(query.order_by(Project.path_key)):
        found[str(project.credential_id)].append(project)
    return found


def delete(actor: Actor, credential_id: str) -> list[str]:
    """Returns the paths of the projects that have none any more. Tasks that wait with it will find it gone."""
    with transaction() as session:
        found = credential_for(actor, credential_id)
        _refuse_role(actor, found.project_id)
        users = select(Project.id).where(Project.credential_id == found.id)
        # In one order: whoever ends many tasks at once holds some of these projects, and waits for others.
        session.execute(users.order_by(Project.id).with_for_update())
        losing = [project.path for project in projects_with(actor.organisation_id, [found.id])[found.id]]
        session.execute(update(Project).where(Project.credential_id == found.id).values(credential_id=None))
        session.delete(found)
        before = {"kind": found.kind, "host": found.host, "projects": losing}
        audit.record(actor, "credential.delete", found.name, found.id, before=before)
    return losing


def delete_of_project(actor: Actor, project_id: str) -> None:
    """A project that is removed takes its own with it: nothing else can use them."""
    query = select(Credential.id).where(
        Credential.project_id == project_id, Credential.organisation_id == actor.organisation_id
    )
    with transaction() as session:
        for credential_id in session.scalars(query).all():
            delete(actor, credential_id)
