"""API tokens: a person's programs."""

from collections.abc import Sequence
from datetime import timedelta

from sqlalchemy import bindparam, delete, insert, select

from webapp import clock
from webapp.auth import audit
from webapp.auth.actor import Actor
from webapp.auth.models import ApiToken, Member, User
from webapp.database import run, table_of, transaction
from webapp.errors import Invalid, NotFound
from webapp.extensions import db
from webapp.security import new_token, read_token, same

PREFIX = "gst"
DAYS_LONGEST = 3650

_tokens, _users, _members = table_of(ApiToken), table_of(User), table_of(Member)
_BY_KEY = (
    select(
        _tokens.c.digest,
        _tokens.c.expires_at,
        _tokens.c.organisation_id,
        _users.c.id,
        _users.c.name,
        _members.c.role,
    )
    .join(_users, _users.c.id == _tokens.c.user_id)
    .join(
        _members,
        (_members.c.user_id == _users.c.id) & (_members.c.organisation_id == _tokens.c.organisation_id),
    )
    .where(_tokens.c.key_id == bindparam("key_id"), _users.c.disabled_at.is_(None))
)


def create(actor: Actor, name: str, days: int | None = None, user_id: str | None = None) -> str:
    """Make a token for the actor (or, from the command line, for somebody else). Returns its text, shown once."""
    name = name.strip()
    if not 0 < len(name) <= 255:
        raise Invalid("Give the token a name of 1 to 255 characters: what it is for.", "name")
    if days is not None and not 1 <= days <= DAYS_LONGEST:
        raise Invalid(f"Days are 1 to {DAYS_LONGEST}; without them the token never expires.", "days")
    token = new_token(PREFIX)
    with transaction() as session:
        session.execute(
            insert(ApiToken).values(
                key_id=token.key_id,
                digest=token.digest,
                name=name,
                user_id=user_id or actor.id,
                organisation_id=actor.organisation_id,
                expires_at=clock.now() + timedelta(days=days) if days else None,
            )
        )
        audit.record(actor, "api-token.create", name, None, after={"id": token.key_id, "days": days})
    return token.text


def create_for(actor: Actor, user_name: str, name: str) -> str:
    here = select(User.id).join(Member, Member.user_id == User.id)
    here = here.where(User.name == user_name, Member.organisation_id == actor.organisation_id)
    user_id = db.session.scalar(here)
    if user_id is None:
        raise NotFound(
            f"There is no user {user_name}. Make one with: flask --app wsgi create-user {user_name}"
        )
    return create(actor, name, user_id=user_id)


def listed(actor: Actor) -> Sequence[ApiToken]:
    """The actor's own; an admin sees everybody's."""
    query = select(ApiToken).where(ApiToken.organisation_id == actor.organisation_id)
    if not actor.may("admin"):
        query = query.where(ApiToken.user_id == actor.id)
    return db.session.scalars(query.order_by(ApiToken.created_at.desc())).all()


def revoke(actor: Actor, key_id: str) -> None:
    with transaction() as session:
        token = next((token for token in listed(actor) if token.key_id == key_id), None)
        if token is None:
            raise NotFound
        session.execute(delete(ApiToken).where(ApiToken.key_id == key_id))
        audit.record(actor, "api-token.revoke", token.name, None, before={"id": key_id})


def actor_of(text: str, address: str) -> Actor | None:
    """Who this token is; None when it is malformed, unknown, expired, or its person has gone."""
    parts = read_token(text, PREFIX)
    if parts is None:
        return None
    row = run(_BY_KEY, key_id=parts.key_id).first()
    if row is None or not same(row.digest, parts.digest):
        return None
    if row.expires_at is not None and row.expires_at <= clock.now():
        return None
    return Actor("token", row.name, row.organisation_id, row.role, row.id, address, parts.key_id)
