"""Sign-ins as rows: deleting the row ends the session on the next request."""

import secrets
from datetime import timedelta

from sqlalchemy import delete, insert, select

from webapp import clock
from webapp.auth import audit
from webapp.auth.actor import Actor
from webapp.auth.models import LoginSession, Member, User
from webapp.database import after_commit, release, transaction
from webapp.errors import NotSignedIn
from webapp.extensions import db
from webapp.live.bus import bus, person_topic
from webapp.offload import offload
from webapp.security import digest, password_matches


def sign_in(name: str, password: str, address: str, days: float) -> str:
    """Check a name and a password. Returns the secret for the cookie; raises NotSignedIn."""
    query = select(User.id, User.password_hash, Member.organisation_id, Member.role)
    query = query.join(Member, Member.user_id == User.id).where(User.name == name, User.disabled_at.is_(None))
    found = db.session.execute(query.order_by(Member.id).limit(1)).first()
    release()
    if not offload(password_matches, found.password_hash if found else None, password) or found is None:
        raise NotSignedIn("Name or password is wrong.")
    secret = secrets.token_urlsafe(32)
    actor = Actor("user", name, found.organisation_id, found.role, found.id, address)
    with transaction() as session:
        session.execute(
            insert(LoginSession).values(
                digest=digest(secret),
                user_id=found.id,
                organisation_id=found.organisation_id,
                address=address,
                expires_at=clock.now() + timedelta(days=days),
            )
        )
        audit.record(actor, "session.begin", name, found.id)
    return secret


def actor_of(secret: str, address: str) -> Actor | None:
    """Who this cookie is, with the role they have now; None when the session has ended in any way."""
    query = (
        select(User.id, User.name, LoginSession.organisation_id, Member.role)
        .join(LoginSession, LoginSession.user_id == User.id)
        .join(Member, (Member.user_id == User.id) & (Member.organisation_id == LoginSession.organisation_id))
        .where(
            LoginSession.digest == digest(secret),
            LoginSession.expires_at > clock.now(),
            User.disabled_at.is_(None),
        )
    )
    row = db.session.execute(query).first()
    if row is None:
        return None
    return Actor("user", row.name, row.organisation_id, row.role, row.id, address, digest(secret))


def sign_out(actor: Actor) -> None:
    with transaction() as session:
        session.execute(delete(LoginSession).where(LoginSession.digest == actor.credential))
        audit.record(actor, "session.end", actor.name, actor.id)
        after_commit(lambda: bus.wake(person_topic(str(actor.id))))


def forget_expired() -> None:
    with transaction() as session:
        session.execute(delete(LoginSession).where(LoginSession.expires_at <= clock.now()))
